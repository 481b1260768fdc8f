"""How a benchmark tells its figures: as text, or as one JSON document with --json."""

import json
import os
import platform
import statistics
import sys
from collections.abc import Sequence


class Report:
    """Figures of one benchmark, each with every round that was measured."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.figures: list[dict[str, object]] = []

    def add(self, what: str, rounds: Sequence[float], unit: str, n: int, must: str = "") -> None:
        """Add a figure: its median stands for it, its rounds are shown beside."""
        self.figures.append(
            {
                "what": what,
                "median": round(statistics.median(rounds), 4),
                "unit": unit,
                "n": n,
                "rounds": [round(one, 4) for one in rounds],
                "must": must,
            }
        )

    def show(self) -> None:
        """Print everything."""
        machine = (
            f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
        )
        if "--json" in sys.argv:
            document = {"schema": "cronos.bench/1", "name": self.name, "machine": machine}
            print(json.dumps({**document, "figures": self.figures}, indent=2))
            return
        print(f"{self.name} ({machine})")
        for one in self.figures:
            rounds = ", ".join(f"{value:,.4g}" for value in one["rounds"])
            must = f"   must {one['must']}" if one["must"] else ""
            print(
                f"  {one['what']:<46} {one['median']:>12,.4g} {one['unit']:<10}"
                f" n={one['n']:<8}{must}   ({rounds})"
            )


def quantile(values: Sequence[float], q: float) -> float:
    """Give the quantile `q` of `values`."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(q * len(ordered)))]
