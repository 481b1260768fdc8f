"""Read a generated capture on one core: MB/s, packets/s, and the peak of memory.

Usage: ``python bench/bench_capture.py [bytes] [rounds]``. Also prints what one packet costs by
`struct` and by dpkt, which is why `sense/packets.py` has both.
"""

import resource
import sys
import tempfile
import time
from pathlib import Path

from bench.capture_generator import generate

from cronos.sense.capture import CaptureReader
from cronos.sense.files import FileConfig, FileSource
from cronos.sense.packets import PacketDecoder
from cronos.sense.pcap import PcapConfig, PcapSensor


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


def main() -> None:
    """Generate, read in rounds, print each."""
    size, rounds = (int(sys.argv[1]) if len(sys.argv) > 1 else 10**9), int((sys.argv[2:] or [5])[0])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "generated.pcap"
        count = generate(path, size)
        size = path.stat().st_size
        print(f"{count} packets, mean {(size - 24) / count - 16:.0f} bytes")
        fast, general = decoders(path)
        print(f"decode: struct {fast:.0f} ns, dpkt {general:.0f} ns a packet")
        for _ in range(rounds):
            seconds, readings = whole(path)
            rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
            print(
                f"{size / seconds / 1e6:.1f} MB/s, {count / seconds:.0f} packets/s, "
                f"{readings} readings, peak {rss:.0f} MiB"
            )


if __name__ == "__main__":
    main()
