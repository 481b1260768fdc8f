"""Stories of the kernel in virtual time: events in, effects out, timers that never really wait."""

import heapq
import itertools
from collections.abc import Callable

from cronos.config import Config
from cronos.kernel.node import Kernel
from cronos.types import (
    Ability,
    Action,
    After,
    Blast,
    Do,
    Effect,
    Entity,
    EntityKind,
    Event,
    EvidenceClass,
    Finding,
    Incident,
    Now,
    Operation,
    Outcome,
    Provenance,
    Reversal,
    Verb,
    flow_entity,
)

POINTS: dict[str, tuple[Ability, ...]] = {
    "recording": tuple(
        Ability(verb, kind, "", "", Reversal.LEASED, blast, 50, *figures)
        for verb, kind, blast, figures in (
            (Verb.DENY, EntityKind.ADDRESS, Blast.NARROW, (0.40, 0.95, 0.20)),
            (Verb.DENY, EntityKind.FLOW, Blast.NARROW, (0.30, 0.50, 0.05)),
            (Verb.CONTAIN, EntityKind.HOST, Blast.HOST, (0.75, 0.95, 0.60)),
        )
    )
}

World = Callable[[Operation, Action], Outcome | None]


def obedient(operation: Operation, action: Action) -> Outcome | None:
    """Be an enforcer that does what it is told and sees that it is done."""
    return Outcome(
        action.action_id, action.incident_id, operation, ok=True, verified=True, detail="done"
    )


class Story:
    """One kernel, a clock that is turned by hand, and a world that answers orders.

    Args:
        config: the kernel's configuration.
        world: answers each `Do`; None leaves it unanswered.
    """

    def __init__(self, config: Config | None = None, world: World = obedient) -> None:
        self.kernel = Kernel(config or Config(), 1, POINTS)
        self.world = world
        self.boot_ns = 1_000_000_000
        self.effects: list[Effect] = []
        self._timers: list[tuple[int, int, Event]] = []
        self._order = itertools.count()

    @property
    def now(self) -> Now:
        """Give the virtual time; the wall stands 10⁹ seconds ahead of boot."""
        return Now(self.boot_ns, self.boot_ns + 10**18)

    def tell(self, event: Event) -> list[Effect]:
        """Give the kernel an event, and the world what follows from it."""
        effects = self.kernel.step(event, self.now)
        self.effects += effects
        for effect in effects:
            match effect:
                case After(delay_ns, later):
                    due_ns = self.boot_ns + delay_ns
                    heapq.heappush(self._timers, (due_ns, next(self._order), later))
                case Do(operation, action):
                    outcome = self.world(operation, action)
                    if outcome is not None:
                        self.tell(outcome)
                case _:
                    pass
        return effects

    def wait(self, seconds: float) -> None:
        """Let virtual time pass, and every timer that falls due within it."""
        until_ns = self.boot_ns + int(seconds * 1e9)
        while self._timers and self._timers[0][0] <= until_ns:
            due_ns, _, event = heapq.heappop(self._timers)
            self.boot_ns = max(self.boot_ns, due_ns)
            self.tell(event)
        self.boot_ns = until_ns

    def only_incident(self) -> Incident:
        """Give the one incident there is, open or closed."""
        cases = self.kernel.cases
        (incident,) = [*cases.open.values(), *cases.closed.values()]
        return incident

    def said(self, kind: type[Effect]) -> list[Effect]:
        """List the effects of a kind, in order."""
        return [effect for effect in self.effects if isinstance(effect, kind)]


def finding(
    number: int = 1,
    *,
    attacker: str = "192.0.2.66",
    confidence: float = 0.97,
    evidence: EvidenceClass = EvidenceClass.DECLARED,
    provenance: Provenance = Provenance.BIDIRECTIONAL,
) -> Finding:
    """Make a finding about `attacker` and a controller at 198.51.100.2."""
    return Finding(
        f"modbus-policy:story#{number}",
        "modbus-policy",
        "Forbidden write to a controller",
        f"{attacker} wrote register 3, which the policy allows to nobody.",
        evidence,
        provenance,
        confidence,
        4,
        1_700_000_000_000_000_000 + number,
        ("T0855",),
        Entity(EntityKind.ADDRESS, attacker),
        Entity(EntityKind.ADDRESS, "198.51.100.2"),
        flow_entity("tcp", attacker, 40_000 + number, "198.51.100.2", 502),
    )
