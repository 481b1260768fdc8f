"""What a person waits for: `cronos --help`, and `cronos run` on a small capture, both cold."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from capture_generator import generate
from report import Report

ROUNDS = 15


def seconds(*arguments: str) -> float:
    began = time.perf_counter()
    subprocess.run(
        [sys.executable, "-m", "cronos.front.cli", *arguments], capture_output=True, check=False
    )
    return time.perf_counter() - began


def main() -> None:
    report = Report("startup")
    with tempfile.TemporaryDirectory() as folder:
        capture = Path(folder) / "small.pcap"
        generate(capture, 100_000)
        bare = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", ""], check=True)
            bare.append((time.perf_counter() - began) * 1e3)
        helps = [seconds("--help") * 1e3 for _ in range(ROUNDS)]
        runs = [seconds("run", str(capture), "--state", f"{folder}/s") for _ in range(5)]
    report.add("cronos --help", helps, "ms", ROUNDS, "<= 300")
    report.add("cronos run, 100 KB capture", runs, "s", 5, "<= 2")
    report.add("an empty Python, for the machine", bare, "ms", ROUNDS)
    report.show()


if __name__ == "__main__":
    main()
