"""Simulating the losses of 50 assets, 10,000 events each: CPU time, and reading them back.

Usage: python bench/bench_fair.py [--json]
"""

import tempfile
import time
from pathlib import Path
from typing import Literal

from report import Report

from cronos.config import Asset
from cronos.intel.fair import FairConfig, loss_table

ROUNDS = 5
COUNT = 50
CLASSES: tuple[Literal["personal", "health", "card", "essential"], ...] = (
    "personal",
    "health",
    "card",
    "essential",
)


def main() -> None:
    """Simulate, then read back."""
    report = Report("fair")
    for name, classes in (("no data of a class", 0), ("one class of data", 1), ("all four", 4)):
        assets = [Asset(f"asset-{n}", (), data=CLASSES[:classes]) for n in range(COUNT)]
        simulated: list[float] = []
        for seed in range(ROUNDS):
            begun = time.process_time()
            loss_table(assets, FairConfig(seed=seed), None)
            simulated.append(time.process_time() - begun)
        report.add(f"50 assets, {name}", simulated, "s", COUNT, "<= 2" if classes < 2 else "")
    kept: list[float] = []
    with tempfile.TemporaryDirectory() as folder:
        loss_table(assets, FairConfig(), Path(folder))
        for _ in range(ROUNDS):
            begun = time.process_time()
            loss_table(assets, FairConfig(), Path(folder))
            kept.append((time.process_time() - begun) * 1e3)
    report.add("50 assets, read back", kept, "ms", COUNT)
    report.show()


if __name__ == "__main__":
    main()
