"""Budgets: how many actions may start, by how much they take away; refilled evenly.

A federation's budget is split in advance: a node has its share and never borrows another's.
"""

from typing import Final

from cronos.config import Policy
from cronos.errors import InputError
from cronos.types import Blast, Now

MINUTE_NS: Final = 60_000_000_000
_NARROW: Final = Blast.NARROW


class Budgets:
    """A bucket of tokens for each blast class, and one for all of them.

    Raises:
        InputError: a budget names no blast class.
    """

    def __init__(self, policy: Policy) -> None:
        for name in policy.blast_per_minute:
            if name not in set(Blast):
                raise InputError(
                    "policy.unknown_blast",
                    f"[policy] blast_per_minute names {name!r:.80}, which is no blast class.",
                    f"Name one of: {', '.join(Blast)}.",
                )
        per_minute = {Blast(name): float(most) for name, most in policy.blast_per_minute.items()}
        per_minute[_NARROW] = float(policy.actions_per_minute)
        self._most = {name: most * policy.budget_share for name, most in per_minute.items()}
        self._tokens = dict(self._most)
        self._at_ns = 0

    def left(self, blast: Blast, now: Now) -> int:
        """Say how many actions of a class may still start."""
        if now.boot_ns > self._at_ns:
            self._refill(now.boot_ns)
        tokens = self._tokens[_NARROW]
        if blast is not _NARROW and blast in self._tokens:
            tokens = min(tokens, self._tokens[blast])
        return int(tokens + 1e-9)

    def spend(self, blast: Blast) -> None:
        """Note that one has started."""
        self._tokens[_NARROW] -= 1
        if blast is not _NARROW and blast in self._tokens:
            self._tokens[blast] -= 1

    def _refill(self, boot_ns: int) -> None:
        minutes = (boot_ns - self._at_ns) / MINUTE_NS
        self._at_ns = boot_ns
        for name, most in self._most.items():
            self._tokens[name] = min(most, self._tokens[name] + most * minutes)
