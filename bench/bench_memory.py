"""What an open incident weighs, and what happens when more is under way than there is room for.

The kernel and the shell around it, with an enforcer and a ledger that answer at once: 100,000
attackers are isolated and stay so. Each measurement has its own process. "Resident" is what the
process grew by, timers and all; "traced" is what Python says its objects take, without the shell's
own bound on what it shows of old cases.

Then 30,000 findings at once while the enforcer is silent: 10,000 go under way, the others wait,
and all are dealt with once it speaks again.
"""

import asyncio
import gc
import resource
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path

from msgspec.structs import replace
from report import Report

from cronos.config import Config, Policy
from cronos.kernel.node import Kernel
from cronos.runtime.reflex import Reflex
from cronos.runtime.telemetry import Log
from cronos.runtime.world import SystemClock
from cronos.testing.story import POINTS, finding, obedient
from cronos.types import (
    Append,
    Appended,
    Datum,
    Entity,
    EntityKind,
    Finding,
    Order,
    Outcomes,
    Reported,
    State,
)
from cronos.types import Report as Findings

OPEN = 100_000
TRACED = 20_000  # tracing makes everything several times slower
ACTIVE, BURST = 10_000, 30_000
BATCH = 250
ROUNDS = 3
CONFIG = Config(policy=Policy(actions_per_minute=10**9, max_active_incidents=ACTIVE))


class World:
    """A shell whose enforcer and ledger answer at once, or stay silent until told."""

    def __init__(self) -> None:
        clock = SystemClock()
        self.silent = False
        self.reported = 0
        self.orders: list[Order] = []
        self.appends: list[Append] = []
        self.reflex = Reflex(
            Kernel(CONFIG, 1, POINTS),
            "bench",
            clock,
            Log("bench", clock, least="error"),
            self.order,
            self.append,
        )

    def order(self, datum: Datum) -> bool:
        """Be the enforcer's connection."""
        assert isinstance(datum, Order)
        self.orders.append(datum)
        return True

    def append(self, datum: Datum) -> bool:
        """Be the ledger's connection."""
        assert isinstance(datum, Append)
        self.appends.append(datum)
        return True

    def answer(self) -> int:
        """Answer everything so far, as the enforcer and the ledger; give how much that was."""
        orders, self.orders = ([], self.orders) if self.silent else (self.orders, [])
        for order in orders:
            outcomes = tuple(obedient(order.operation, action) for action in order.actions)
            self.reflex.on_enforcer(Outcomes(order.order_id, outcomes))
        appends, self.appends = self.appends, []
        for append in appends:
            self.reflex.on_ledger(Appended(append.request_id, 1))
        return len(orders) + len(appends)

    def report(self, begin: int, count: int) -> None:
        """Tell of so many attackers."""
        made = tuple(_finding(number) for number in range(begin, begin + count))
        self.reflex.on_report(Findings(begin, made), self._took)

    def _took(self, datum: Datum) -> bool:
        self.reported += isinstance(datum, Reported)
        return True

    async def settle(self) -> None:
        """Let everything happen that can."""
        while True:
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            if not self.answer():
                return


def _finding(number: int) -> Finding:
    """Make a finding of which nothing is shared with another's but the rule's own words.

    There are a hundred controllers: 10,000 cases about one of them would be a flood, and one case.
    """
    made = finding(number, attacker=f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}")
    attacked = Entity(EntityKind.ADDRESS, f"198.51.100.{number % 100}")
    seen = (f"plant.pcap#{number}",)
    return replace(made, target=attacked, observations=seen)


async def opened(world: World, count: int) -> None:
    for begin in range(0, count, BATCH):
        world.report(begin, BATCH)
        await world.settle()
    cases = world.reflex.kernel.cases
    assert len(cases.open) == count
    assert {one.state for one in cases.open.values()} == {State.CONFIRMED}


def resident_bytes() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


async def weigh(traced: bool) -> float:
    world, count = World(), TRACED if traced else OPEN
    world.report(OPEN, 1)
    await world.settle()
    world.reflex.kernel.cases.open.clear()
    gc.collect()
    if traced:
        tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0] if traced else resident_bytes()
    await opened(world, count)
    gc.collect()
    after = tracemalloc.get_traced_memory()[0] if traced else resident_bytes()
    return (after - before) / count


async def overload() -> tuple[float, float, float, float, float]:
    world = World()
    world.silent = True
    kernel = world.reflex.kernel
    began = time.perf_counter()
    for begin in range(0, BURST, BATCH):
        world.report(begin, BATCH)
        await world.settle()
    took_s = time.perf_counter() - began
    active, metrics = kernel.cases.active, world.reflex.metrics.read()
    waiting, deferred = metrics["backlog"], metrics["deferred"]
    assert active == ACTIVE and waiting == BURST - ACTIVE, (active, waiting)  # noqa: PT018
    assert deferred > 0
    world.silent = False
    began = time.perf_counter()
    await world.settle()
    drained_s = time.perf_counter() - began
    states = [one.state for one in kernel.cases.open.values()]
    stuck = sum(state is not State.CONFIRMED for state in states)
    lost = BURST - len(states) + (BURST // BATCH - world.reported)
    return took_s * 1e3, drained_s * 1e3, waiting, stuck, lost


def main() -> None:
    verb = sys.argv[1] if len(sys.argv) > 1 else ""
    if verb in ("--resident", "--traced"):
        print(asyncio.run(weigh(verb == "--traced")))
        return
    if verb == "--overload":
        print(*asyncio.run(overload()))
        return
    report = Report("memory")

    def each(role: str) -> list[list[float]]:
        command = [sys.executable, __file__, role]
        said = [
            subprocess.run(command, check=True, capture_output=True, text=True).stdout
            for _ in range(ROUNDS)
        ]
        return [[float(word) for word in one.split()] for one in said]

    for role in ("resident", "traced"):
        weights = [one[0] for one in each(f"--{role}")]
        count = TRACED if role == "traced" else OPEN
        report.add(f"an open incident, {role}", weights, "bytes", count, "<= 4,096")
    rounds = each("--overload")
    names = (
        ("30,000 findings taken, enforcer silent", "ms", ""),
        ("the same dealt with once it answers", "ms", ""),
        ("waiting beyond 10,000 under way", "findings", ""),
        ("stuck in the end", "incidents", "0"),
        ("lost, or never acknowledged", "findings", "0"),
    )
    for place, (name, unit, must) in enumerate(names):
        report.add(name, [one[place] for one in rounds], unit, BURST, must)
    report.show()


if __name__ == "__main__":
    main()
