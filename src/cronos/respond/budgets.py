"""How many actions may start: tokens for all of them, and more of them for what takes away more.

A bucket holds a minute's worth at most and refills evenly. What was spent before a crash stays
spent, or crashing the enforcer would be a way around it: the lease book remembers.
"""

import threading
from collections.abc import Iterable, Mapping
from typing import Final

from cronos.ports import Executor
from cronos.types import Ability, Action, Blast, EntityKind, Reversal, Verb

SECOND_NS: Final = 1_000_000_000
MINUTE_NS: Final = 60 * SECOND_NS

# What is done to whom, without the whom: all that an action's weight depends on.
Deed = tuple[str, Verb, EntityKind]

# Where no manifest says it: by what the target is.
_BLAST_OF: Final = {
    EntityKind.NETWORK: Blast.FLEET,
    EntityKind.SEGMENT: Blast.FLEET,
    EntityKind.HOST: Blast.HOST,
    EntityKind.MACHINE: Blast.HOST,
    EntityKind.USER: Blast.IDENTITY,
    EntityKind.CREDENTIAL: Blast.IDENTITY,
    EntityKind.SERVICE: Blast.SERVICE,
    EntityKind.POD: Blast.SERVICE,
}
_FINAL: Final = frozenset({Verb.STOP, Verb.DELETE})


def deed_of(action: Action) -> Deed:
    """Name what is done to what kind of thing, and where."""
    return action.enforcement_point, action.verb, action.target.kind


class Abilities:
    """What the executors' manifests say of an action: how much it takes away, who takes it back."""

    def __init__(self, executors: Mapping[str, Executor]) -> None:
        self._known: dict[Deed, Ability] = {
            (point, ability.verb, ability.kind): ability
            for point, executor in executors.items()
            for ability in executor.manifest.abilities
        }

    def blast_of(self, deed: Deed) -> Blast:
        """Say how much it takes away at most."""
        known = self._known.get(deed)
        return known.blast if known is not None else _BLAST_OF.get(deed[2], Blast.NARROW)

    def is_final(self, deed: Deed) -> bool:
        """Say whether nobody can take it back; for what no manifest lists, by its verb."""
        known = self._known.get(deed)
        return known.reversal is Reversal.NONE if known is not None else deed[1] in _FINAL


class Budget:
    """Tokens for actions: a minute's worth at most, refilled evenly; for any thread."""

    def __init__(self, per_minute: int, now_ns: int, spent: int = 0) -> None:
        self._per_minute = per_minute
        self._tokens = float(max(0, per_minute - spent))
        self._at_ns = now_ns
        self._lock = threading.Lock()

    def take(self, now_ns: int) -> bool:
        """Take one token, or say that none is left."""
        with self._lock:
            refill = max(0, now_ns - self._at_ns) * self._per_minute / MINUTE_NS
            self._tokens = min(float(self._per_minute), self._tokens + refill)
            self._at_ns = max(now_ns, self._at_ns)
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True

    def give_back(self) -> None:
        """Put back a token that was taken for nothing."""
        with self._lock:
            self._tokens = min(float(self._per_minute), self._tokens + 1)

    def spend(self, tokens: int) -> None:
        """Take tokens that were spent before, as far as there are any."""
        with self._lock:
            self._tokens = max(0.0, self._tokens - tokens)


class Budgets:
    """The budget of all actions, and those of the blast classes that have one; for any thread.

    Args:
        per_minute: for all together.
        by_blast: for each class that is limited further.
        now_ns: boot time.
        spent: the blast of each action of the last minute.
    """

    def __init__(
        self, per_minute: int, by_blast: Mapping[str, int], now_ns: int, spent: Iterable[Blast]
    ) -> None:
        self._per_minute = per_minute
        self._limits = dict(by_blast)
        self._whole = Budget(per_minute, now_ns)
        self._parts = {name: Budget(most, now_ns) for name, most in by_blast.items()}
        self.spend(spent)

    def take(self, blast: Blast, now_ns: int) -> str | None:
        """Take a token, or give a sentence on which budget is spent."""
        part = self._parts.get(blast.value)
        if part is not None and not part.take(now_ns):
            most = self._limits[blast.value]
            return f"The budget of {most} actions a minute of the blast class {blast} is spent."
        if self._whole.take(now_ns):
            return None
        if part is not None:
            part.give_back()
        return f"The budget of {self._per_minute} actions a minute is spent."

    def spend(self, spent: Iterable[Blast]) -> None:
        """Take what was spent before, as far as there is any."""
        for blast in spent:
            self._whole.spend(1)
            if (part := self._parts.get(blast.value)) is not None:
                part.spend(1)
