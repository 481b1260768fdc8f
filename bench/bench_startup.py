"""What a person waits for: `cronos --help`, and `cronos run` on a small capture, both cold.

A run starts a key agent and seals what it keeps; the same run with readable state stands beside it,
in turn within each round.
"""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

from capture_generator import generate
from report import Report

ROUNDS = 15
RUNS = 7


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
        settings = Path(folder) / "cronos.toml"
        settings.write_text('sealer = "plaintext"\n', encoding="utf-8")
        runs, readable = [], []
        for _ in range(RUNS):
            runs.append(seconds("run", str(capture), "--state", f"{folder}/s"))
            again = ("run", str(capture), "--state", f"{folder}/p", "--config", str(settings))
            readable.append(seconds(*again))
    report.add("cronos --help", helps, "ms", ROUNDS, "<= 300")
    report.add("cronos run, 100 KB capture, sealed", runs, "s", RUNS, "<= 2")
    report.add("cronos run, 100 KB capture, readable", readable, "s", RUNS)
    ratios = [a / b for a, b in zip(runs, readable, strict=True)]
    report.add("  sealed / readable", ratios, "", RUNS)
    report.add("an empty Python, for the machine", bare, "ms", ROUNDS)
    report.show()


if __name__ == "__main__":
    main()
