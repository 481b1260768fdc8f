"""What the tap costs: time added to a Modbus request, and bytes per second through one flow.

Plant, tap and feed reader are processes of their own; direct and tapped rounds are interleaved.
The direct plant is the bare peer.
"""

import json
import pathlib
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time

from report import Report

ROUNDS = 5
COUNT = 2_000
ROOT = pathlib.Path(__file__).resolve().parents[1]
TAP = ROOT / "tests" / "integration" / "tap_process.py"
READ = struct.pack(">HHHBBHH", 1, 0, 6, 1, 3, 0, 2)
BULK_BYTES = 256 << 20
DRAIN = (
    "import sys;from cronos.sense.tap import *;from cronos.sense.tapfeed import *\n"
    "s=TapFeedSource(TapFeedConfig(sys.argv[1]));a=TapSensor(TapSensorConfig())\n"
    "for b in a.read(s):\n  b and hasattr(b[-1],'seq') and s.acknowledge(b[-1].seq)\n"
)


def start(*command):
    child = subprocess.Popen(
        [sys.executable, *map(str, command)],
        stdout=subprocess.PIPE,
        text=True,
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": "/usr/bin:/bin"},
    )
    return child, json.loads(child.stdout.readline())["port"]


def tap_before(port, folder):
    config = {
        "upstream_host": "127.0.0.1",
        "upstream_port": port,
        "feed": f"{folder}/feed",
        "control": f"{folder}/control",
    }
    return start(TAP, json.dumps(config))


def requests_us(port, count):
    """Time `count` requests on one connection, each sent after the last answer."""
    with socket.create_connection(("127.0.0.1", port)) as caller:
        caller.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        times = []
        for _ in range(count):
            begin = time.perf_counter_ns()
            caller.sendall(READ)
            assert len(caller.recv(300)) == 13
            times.append((time.perf_counter_ns() - begin) / 1000)
    times.sort()
    return times[count // 2], times[count * 99 // 100]


def bulk_mb_s(port):
    """Send `BULK_BYTES` through one flow to the sink behind `port`, until it says it has all."""
    block = b"x" * (1 << 18)
    begin = time.perf_counter()
    with socket.create_connection(("127.0.0.1", port)) as caller:
        for _ in range(BULK_BYTES // len(block)):
            caller.sendall(block)
        caller.shutdown(socket.SHUT_WR)
        assert caller.recv(1) == b"."
    return BULK_BYTES / (time.perf_counter() - begin) / 1e6


def sink(listener):
    while True:
        try:
            connected, _ = listener.accept()
        except OSError:
            return
        with connected:
            while connected.recv(1 << 18):
                pass
            connected.sendall(b".")


def latency(rounds, count):
    with tempfile.TemporaryDirectory() as folder:
        plant, plant_port = start("-m", "cronos.testing.plant", "server")
        tap, tap_port = tap_before(plant_port, folder)
        env = {"PYTHONPATH": str(ROOT / "src")}
        drain = subprocess.Popen([sys.executable, "-c", DRAIN, f"{folder}/feed"], env=env)
        rows = [
            (*requests_us(plant_port, count), *requests_us(tap_port, count)) for _ in range(rounds)
        ]
        for child in (drain, tap, plant):
            child.terminate()
            child.wait()
    return rows


def throughput(rounds):
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    thread = threading.Thread(target=sink, args=(listener,), daemon=True)
    thread.start()
    with tempfile.TemporaryDirectory() as folder:
        tap, tap_port = tap_before(port, folder)
        rows = [(bulk_mb_s(port), bulk_mb_s(tap_port)) for _ in range(rounds)]
        tap.terminate()
        tap.wait()
    listener.close()
    return rows


def main():
    report = Report("tap")
    rounds = list(latency(ROUNDS, COUNT))
    for name, at in (
        ("direct, p50", 0),
        ("direct, p99", 1),
        ("tapped, p50", 2),
        ("tapped, p99", 3),
    ):
        report.add(name, [one[at] for one in rounds], "us", COUNT)
    report.add("added by the tap, p50", [one[2] - one[0] for one in rounds], "us", COUNT)
    report.add("added by the tap, p99", [one[3] - one[1] for one in rounds], "us", COUNT)
    bulk = list(throughput(ROUNDS))
    report.add("one flow, direct", [one[0] for one in bulk], "MB/s", BULK_BYTES)
    report.add("one flow, tapped, feed unread", [one[1] for one in bulk], "MB/s", BULK_BYTES)
    report.show()


if __name__ == "__main__":
    main()
