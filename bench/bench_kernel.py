"""How long the kernel thinks: one strong finding through all four agencies.

`finding to order` is one `step`; `outcome to confirmed` is the next one, in which operations,
communication and audit have their turn. Steps are timed fifty at a time; a round is the median of
its fifties, so that what other tenants of the machine take away from one does not count, and the
mean of all stands beside it. The empty Python call tells how fast the machine is now. `decide`
alone is timed on the snapshots that those findings led to.
"""

import gc
import statistics
import time

from report import Report, quantile

from cronos.config import Config, Policy
from cronos.kernel.node import Kernel
from cronos.kernel.policy import decide
from cronos.testing.story import POINTS, finding, obedient
from cronos.types import Do, Note, Now, Operation, Snapshot

FIFTIES = 100
ROUNDS = 7
CONFIG = Config(policy=Policy(actions_per_minute=1_000_000))
NOW = Now(1, 1)


def timed(kernel: Kernel, events: list) -> tuple[float, list]:
    """Step through events; give microseconds for each, and what came of them."""
    began = time.perf_counter_ns()
    effects = [kernel.step(event, NOW) for event in events]
    return (time.perf_counter_ns() - began) / len(events) / 1e3, effects


def one_round() -> tuple[list[float], list[float], float]:
    kernel = Kernel(CONFIG, 1, POINTS)
    first, second = [], []
    gc.collect()
    gc.disable()
    for fifty in range(FIFTIES):
        numbers = range(fifty * 50, fifty * 50 + 50)
        findings = [finding(n, attacker=f"10.0.{n >> 8 & 255}.{n & 255}") for n in numbers]
        took, stepped = timed(kernel, findings)
        first.append(took)
        orders = [one.action for effects in stepped for one in effects if isinstance(one, Do)]
        outcomes = [obedient(Operation.APPLY, action) for action in orders]
        took, _ = timed(kernel, outcomes)
        second.append(took)
    began = time.perf_counter_ns()
    for _ in range(5_000):
        empty(NOW)
    bare = (time.perf_counter_ns() - began) / 5_000 / 1e3
    gc.enable()
    return first, second, bare


def decided() -> list[float]:
    """Give microseconds for a decision, fifty at a time, on snapshots of two options each."""
    kernel = Kernel(CONFIG, 1, POINTS)
    numbers = range(FIFTIES * 50)
    findings = [finding(n, attacker=f"10.0.{n >> 8 & 255}.{n & 255}") for n in numbers]
    notes = [one for told in findings for one in kernel.step(told, NOW) if isinstance(one, Note)]
    snapshots = [note.body for note in notes if isinstance(note.body, Snapshot)]
    taken = []
    for begin in range(0, len(snapshots), 50):
        fifty = snapshots[begin : begin + 50]
        began = time.perf_counter_ns()
        for snapshot in fifty:
            decide(snapshot)
        taken.append((time.perf_counter_ns() - began) / len(fifty) / 1e3)
    return taken


def empty(_now: Now) -> None:
    """Do nothing."""


def main() -> None:
    report = Report("kernel")
    rounds = [one_round() for _ in range(ROUNDS)]
    count = FIFTIES * 50
    for name, at, must in (("finding to order", 0, "<= 10"), ("outcome to confirmed", 1, "")):
        report.add(f"{name}, median", [statistics.median(r[at]) for r in rounds], "us", count, must)
        report.add(f"{name}, mean", [statistics.fmean(r[at]) for r in rounds], "us", count)
    alone = [decided() for _ in range(ROUNDS)]
    medians = [statistics.median(one) for one in alone]
    report.add("decide alone, median", medians, "us", count, "<= 50")
    report.add("decide alone, p99 of fifties", [quantile(one, 0.99) for one in alone], "us", count)
    report.add("an empty call, for the machine", [one[2] for one in rounds], "us", count)
    report.show()


if __name__ == "__main__":
    main()
