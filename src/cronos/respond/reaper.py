"""The reaper: undoes what has expired though everyone else is dead, and puts back what vanished.

It never gives up on an effect whose lease has ended: a failed undo is tried again, a little
later each time, up to a bound.
"""

import heapq
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from cronos.ports import Clock
from cronos.respond.guards import EnforcerConfig
from cronos.respond.leasebook import Key, LeaseBook, key_of
from cronos.respond.points import Points, outcome_of
from cronos.types import Lease, Operation, Outcome, Plan

_MS_NS: Final = 1_000_000
_MAX_DOUBLINGS: Final = 16
_FEW_STALE: Final = 1024


class Reaper:
    """Ends leases: in memory, in the world and in the book."""

    def __init__(
        self, config: EnforcerConfig, points: Points, book: LeaseBook, clock: Clock
    ) -> None:
        self._config = config
        self._points = points
        self._book = book
        self._clock = clock
        self.is_killed: Callable[[], bool] = lambda: False  # then nothing is renewed
        self._failures: dict[Key, int] = {}
        self._unseen: list[str] = []  # the effects that a pass of `reconcile` has still to look at
        self._due_ns: dict[Key, int] = {}
        # Entries that no longer agree with `_due_ns` are stale and are stepped over.
        self._heap: list[tuple[int, Key]] = []
        for key, lease in book.leases.items():
            self.watch(key, lease.expires_boot_ns)

    def watch(self, key: Key, due_ns: int) -> None:
        """Look at a lease again at `due_ns`, and not before."""
        if self._due_ns.get(key) == due_ns:
            return
        self._due_ns[key] = due_ns
        heapq.heappush(self._heap, (due_ns, key))
        # Whoever renews without end leaves no more behind than this.
        if len(self._heap) > _FEW_STALE + 4 * len(self._due_ns):
            self._heap = [(due, one) for one, due in self._due_ns.items()]
            heapq.heapify(self._heap)

    def next_due_ns(self) -> int | None:
        """Give the boot time of the next thing to do, or None."""
        while self._heap:
            due, key = self._heap[0]
            if self._due_ns.get(key) == due:
                return due
            heapq.heappop(self._heap)
        return None

    def expire(self) -> list[Outcome]:
        """Undo all leases that have ended by now and whose turn it is."""
        now = self._clock.now().boot_ns
        due: list[Key] = []
        while (at := self.next_due_ns()) is not None and at <= now:
            key = heapq.heappop(self._heap)[1]
            del self._due_ns[key]
            lease = self._book.leases.get(key)
            if lease is None:
                continue
            if lease.expires_boot_ns > now:
                self.watch(key, lease.expires_boot_ns)
            else:
                due.append(key)
        return self.undo(due)

    def undo(self, keys: Sequence[Key]) -> list[Outcome]:
        """End leases that the book shows as ended; one outcome each, in order.

        An effect that another incident still holds stays, for that incident's time.
        """
        ending = set(keys)
        leases = [self._book.leases[key] for key in keys]
        sole = {
            lease.plan.action.action_id: lease.plan
            for lease in leases
            if not self._others(lease, ending)
        }
        undone = dict(zip(sole, self._points.undo(list(sole.values())), strict=True))
        outcomes = [
            self._shared(lease, ending)
            if lease.plan.action.action_id not in undone
            else msgspec.structs.replace(
                undone[lease.plan.action.action_id], incident_id=lease.plan.action.incident_id
            )
            for lease in leases
        ]
        self._book.note([outcome for outcome in outcomes if outcome.ok])
        for key, outcome in zip(keys, outcomes, strict=True):
            self._settle(key, done=outcome.ok)
        return outcomes

    def tidy(self) -> None:
        """Forget what is long past, and a pass of `reconcile` that was under way."""
        self._unseen = []
        now = self._clock.now().boot_ns
        self._book.tidy(now - self._config.memory_s * 1000 * _MS_NS)

    @property
    def looking(self) -> bool:
        """Say whether `reconcile` has not looked at everything yet since it began."""
        return bool(self._unseen)

    def reconcile(self, most: int | None = None) -> list[Outcome]:
        """Put back effects that a lease holds but that are gone; forget what is long past.

        Looks at `most` effects at once, so that no order waits while thousands are held: the next
        call goes on where this one ended, and begins anew once all have been looked at.
        """
        now = self._clock.now().boot_ns
        if not self._unseen:
            self.tidy()
            names = (lease.plan.action.action_id for lease in self._book.leases.values())
            self._unseen = list(dict.fromkeys(names))
        seen = self._unseen[:most]
        del self._unseen[:most]
        until: dict[str, Lease] = {}
        for name in seen:
            held = [one for one in self._book.holders(name) if one.applied]
            longest = max(held, key=lambda one: one.expires_boot_ns, default=None)
            if longest is not None and longest.expires_boot_ns > now:
                until[name] = longest
        plans = [remaining(le.plan, le.expires_boot_ns - now) for le in until.values()]
        there = self._points.present(plans, in_doubt=True)
        gone = [plan for plan, seen in zip(plans, there, strict=True) if not seen]
        return [
            msgspec.structs.replace(
                outcome,
                operation=Operation.RENEW,
                detail=f"It had vanished and was put back. {outcome.detail}"
                if outcome.ok
                else f"It has vanished and could not be put back. {outcome.detail}",
            )
            for outcome in self._points.apply(gone)
        ]

    def _others(self, lease: Lease, ending: set[Key]) -> list[Lease]:
        return [
            other
            for other in self._book.holders(lease.plan.action.action_id)
            if key_of(other.plan.action) not in ending
        ]

    def _shared(self, lease: Lease, ending: set[Key]) -> Outcome:
        """Release one lease of several; the kernel's timeout follows the longest that stays."""
        others = self._others(lease, ending)
        longest = max(others, key=lambda other: other.expires_boot_ns)
        now = self._clock.now().boot_ns
        if longest.expires_boot_ns > now and not self.is_killed():
            self._points.renew([remaining(longest.plan, longest.expires_boot_ns - now)])
        detail = f"Released; incident {longest.plan.action.incident_id} still holds it."
        released = outcome_of(lease.plan.action, Operation.UNDO, detail, ok=True)
        return msgspec.structs.replace(released, verified=True, at_boot_ns=now)

    def _settle(self, key: Key, *, done: bool) -> None:
        if done:
            self._failures.pop(key, None)
            self._due_ns.pop(key, None)
            return
        failures = self._failures.get(key, 0)
        self._failures[key] = failures + 1
        wait_ms = min(
            self._config.retry_first_ms << min(failures, _MAX_DOUBLINGS),
            self._config.retry_cap_ms,
        )
        self.watch(key, self._clock.now().boot_ns + wait_ms * _MS_NS)


def remaining(plan: Plan, lease_ns: int) -> Plan:
    """Give the plan with the lease that is left of it."""
    return msgspec.structs.replace(
        plan, action=msgspec.structs.replace(plan.action, lease_ns=max(1, lease_ns))
    )
