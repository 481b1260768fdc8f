"""Read a generated capture on one core: MB/s, packets/s, and the peak of memory.

First the sensor alone (CPU time), then `cronos run` with all its processes (wall time). What one
packet costs by `struct` and by dpkt is why `link/packets.py` has both.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from capture_generator import generate
from report import Report

from cronos.link.capture import CaptureReader
from cronos.link.packets import PacketDecoder
from cronos.sense.files import FileConfig, FileSource
from cronos.sense.pcap import PcapConfig, PcapSensor

SIZE = 10**9
ROUNDS = 3


def whole(path: Path) -> tuple[float, int]:
    """Read all of it; give CPU seconds and how many readings came out."""
    source = FileSource(FileConfig(path=str(path)))
    began = time.process_time()
    readings = sum(len(batch) for batch in PcapSensor(PcapConfig()).read(source))
    source.close()
    return time.process_time() - began, readings


def decoders(path: Path) -> tuple[float, float]:
    """Give ns per packet by the fast path and by dpkt, over the first megabytes."""
    reader = CaptureReader()
    with path.open("rb") as file:
        packets = reader.feed(file.read(8 << 20))
    decoder, buffer = PacketDecoder(), reader.buffer
    began = time.process_time_ns()
    for _, link, start, end in packets:
        decoder.decode(buffer, start, end, link)
    fast = time.process_time_ns() - began
    began = time.process_time_ns()
    for _, _, start, end in packets:
        decoder._general_v4(buffer[start + 14 : end])
    return fast / len(packets), (time.process_time_ns() - began) / len(packets)


def run(path: Path, state: Path) -> float:
    """Give the seconds that `cronos run` takes for the file, start-up and all."""
    began = time.perf_counter()
    command = [sys.executable, "-m", "cronos.front.cli", "run", str(path), "--json"]
    done = subprocess.run([*command, "--state", str(state)], capture_output=True, check=False)
    seconds = time.perf_counter() - began
    assert json.loads(done.stdout)["sources"][0]["complete"]
    return seconds


def main() -> None:
    """Generate, read in rounds, print each."""
    report = Report("capture")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "generated.pcap"
        count = generate(path, SIZE)
        size = path.stat().st_size
        fast, general = decoders(path)
        sensor, whole_runs = [], []
        for number in range(ROUNDS):
            sensor.append(whole(path)[0])
            whole_runs.append(run(path, Path(folder) / f"state{number}"))
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    report.add("sensor alone", [size / s / 1e6 for s in sensor], "MB/s", count, ">= 50")
    report.add("sensor alone", [count / s for s in sensor], "packets/s", count)
    report.add(
        "cronos run, all of it", [size / s / 1e6 for s in whole_runs], "MB/s", count, ">= 50"
    )
    report.add("largest process, peak memory", [peak], "MiB", count, "<= 200")
    report.add("mean packet", [(size - 24) / count - 16], "B", count)
    report.add("decode a common packet: struct", [fast], "ns", count)
    report.add("decode a common packet: dpkt", [general], "ns", count)
    report.show()


if __name__ == "__main__":
    main()
