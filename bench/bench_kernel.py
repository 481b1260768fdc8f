"""How long the kernel thinks: one strong finding through all four agencies.

`finding → order` is one `step`; `outcome → confirmed` is the next one, in which operations,
communication and audit have their turn. The empty Python call beside them tells how fast the
machine is now.
"""

import gc
import time

from report import Report

from cronos.config import Config, Policy
from cronos.kernel.node import Kernel
from cronos.testing.story import POINTS, finding, obedient
from cronos.types import Do, Now, Operation

COUNT = 5_000
ROUNDS = 7


def one_round() -> tuple[float, float, float]:
    kernel = Kernel(Config(policy=Policy(actions_per_minute=1_000_000)), 1, POINTS)
    findings = [finding(n, attacker=f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}") for n in range(COUNT)]
    now = Now(1, 1)
    gc.collect()
    gc.disable()
    began = time.perf_counter_ns()
    stepped = [kernel.step(one, now) for one in findings]
    first = time.perf_counter_ns() - began
    orders = [one.action for effects in stepped for one in effects if isinstance(one, Do)]
    outcomes = [obedient(Operation.APPLY, action) for action in orders]
    began = time.perf_counter_ns()
    for outcome in outcomes:
        kernel.step(outcome, now)
    second = time.perf_counter_ns() - began
    began = time.perf_counter_ns()
    for _ in findings:
        empty(now)
    bare = time.perf_counter_ns() - began
    gc.enable()
    return first / COUNT / 1e3, second / COUNT / 1e3, bare / COUNT / 1e3


def empty(_now: Now) -> None:
    """Do nothing."""


def main() -> None:
    report = Report("kernel")
    rounds = [one_round() for _ in range(ROUNDS)]
    report.add("finding to order", [one[0] for one in rounds], "us", COUNT, "<= 10")
    report.add("outcome to confirmed", [one[1] for one in rounds], "us", COUNT)
    report.add("an empty call, for the machine", [one[2] for one in rounds], "us", COUNT)
    report.show()


if __name__ == "__main__":
    main()
