"""What the stories about the enforcer need: a clock to turn, actions, and an enforcer to ask."""

import time
from pathlib import Path

import msgspec

from cronos.respond.enforcer import Enforcer
from cronos.respond.guards import EnforcerConfig
from cronos.respond.leasebook import LeaseBook
from cronos.respond.recording import RecordingConfig, RecordingExecutor
from cronos.testing.memory_govern import MemorySealer
from cronos.types import (
    Action,
    Entity,
    EntityKind,
    Now,
    Operation,
    Order,
    Outcome,
    Plan,
    Verb,
    action_id,
)

S = 1_000_000_000
MS = 1_000_000


class TurnedClock:
    """Boot time that a story turns forward."""

    def __init__(self, boot_ns: int = 1000 * S, boot: str = "boot-1") -> None:
        self.boot_ns = boot_ns
        self.boot = boot

    def now(self) -> Now:
        return Now(self.boot_ns, 1_700_000_000 * S + self.boot_ns)

    def boot_id(self) -> str:
        return self.boot

    def turn(self, seconds: float) -> None:
        self.boot_ns += int(seconds * S)


class BootClock:
    """The machine's own boot time, for stories about real processes."""

    def now(self) -> Now:
        return Now(time.clock_gettime_ns(time.CLOCK_BOOTTIME), time.time_ns())

    def boot_id(self) -> str:
        return Path("/proc/sys/kernel/random/boot_id").read_text("ascii").strip()


class WorldExecutor:
    """Effects in a "world" that outlives the executor, and a switch for each of its moods."""

    manifest = RecordingExecutor.manifest
    config_type = RecordingConfig

    def __init__(self, world: dict[str, Action], *, kernel_timeout: bool = False) -> None:
        self.world = world
        self.kernel_timeout = kernel_timeout
        self.refuses_undo = False
        self.swallows_apply = False
        self.raises: Exception | None = None
        self.calls: list[tuple[str, tuple[str, ...]]] = []

    def plan(self, actions):
        return [
            Plan(a, b"{}", "block", f"unblock {a.target.value}", self.kernel_timeout)
            for a in actions
        ]

    def apply(self, plans):
        self._called("apply", plans)
        if not self.swallows_apply:
            self.world.update({p.action.action_id: p.action for p in plans})
        return [self._said(p, Operation.APPLY) for p in plans]

    def verify(self, plans):
        return [p.action.action_id in self.world for p in plans]

    def renew(self, plans):
        self._called("renew", plans)
        self.world.update({p.action.action_id: p.action for p in plans})
        return [self._said(p, Operation.RENEW) for p in plans]

    def undo(self, plans):
        self._called("undo", plans)
        if self.refuses_undo:
            return [self._said(p, Operation.UNDO, ok=False) for p in plans]
        for p in plans:
            self.world.pop(p.action.action_id, None)
        return [self._said(p, Operation.UNDO) for p in plans]

    def observe(self):
        return frozenset(self.world)

    def _called(self, name, plans):
        self.calls.append((name, tuple(p.action.target.value for p in plans)))
        if self.raises is not None:
            raise self.raises

    def _said(self, plan, operation, ok=True):
        a = plan.action
        return Outcome(a.action_id, a.incident_id, operation, ok, False, "as told")


def deny(
    address: str,
    incident: str = "inc-1",
    *,
    lease_s: float = 300,
    epoch: int = 1,
    point: str = "world",
    kind: EntityKind = EntityKind.ADDRESS,
    verb: Verb = Verb.DENY,
) -> Action:
    target = Entity(kind, address)
    return Action(
        action_id(point, verb, target), point, verb, target, incident, int(lease_s * S), epoch
    )


def apply(*actions: Action, order_id: int = 1) -> Order:
    return Order(order_id, Operation.APPLY, actions)


def renew(*actions: Action, order_id: int = 1) -> Order:
    return Order(order_id, Operation.RENEW, actions)


def undo(*actions: Action, order_id: int = 1) -> Order:
    return Order(order_id, Operation.UNDO, actions)


class Stage:
    """One machine: its state folder, its world, and the enforcer that may crash and come back."""

    def __init__(self, folder: Path, *, kernel_timeout: bool = False, **terms: object) -> None:
        self.folder = folder
        self.clock = TurnedClock()
        self.world: dict[str, Action] = {}
        self.kernel_timeout = kernel_timeout
        self.own: dict[str, str] = {}  # the machine's addresses
        self.terms = {"protected": ("127.0.0.1", "::1"), **terms}
        self.start()

    def start(self) -> None:
        self.executor = WorldExecutor(self.world, kernel_timeout=self.kernel_timeout)
        self.book = LeaseBook(self.folder, MemorySealer())
        config = msgspec.convert(self.terms, EnforcerConfig)
        self.enforcer = Enforcer(
            config, {"world": self.executor}, self.book, self.clock, lambda: self.own
        )

    def crash_and_restart(self) -> None:
        self.book.close()
        self.start()

    def one(self, order: Order) -> Outcome:
        (outcome,) = self.enforcer.handle(order).outcomes
        return outcome

    def blocked(self) -> set[str]:
        return {action.target.value for action in self.world.values()}
