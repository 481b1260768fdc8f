"""An enforcement point and a workflow that live in memory."""

from collections.abc import Sequence
from typing import ClassVar, Final

from cronos.errors import InputError
from cronos.ports import Clock
from cronos.types import Action, Entity, Manifest, Operation, Outcome, Plan

_VERBS: Final = ("pause", "reroute", "restore")


class MemoryExecutor:
    """Holds effects in a table, each until its lease ends, as a kernel's timeout would.

    Args:
        clock: leases are counted on its boot time.
        refused: targets at which `plan` refuses to act.
        broken: targets at which `apply` reports success and nothing happens; `verify` sees it.
    """

    manifest: ClassVar[Manifest] = Manifest("memory-executor", "Effects in a table.")

    def __init__(
        self, clock: Clock, refused: frozenset[Entity] = frozenset(), *, broken: bool = False
    ) -> None:
        self._clock = clock
        self._refused = refused
        self._broken = broken
        self._expires_ns: dict[str, int] = {}

    def plan(self, actions: Sequence[Action]) -> Sequence[Plan | Outcome]:
        """Plan to put an entry into the table, or refuse."""
        return [
            self._outcome(action, Operation.APPLY, "This target may not be touched.", ok=False)
            if action.target in self._refused
            else Plan(
                action,
                action.action_id.encode(),
                f"Deny {action.target.value}.",
                f"Allow {action.target.value} again.",
                kernel_timeout=True,
            )
            for action in actions
        ]

    def apply(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """Put entries into the table, keeping those that are there."""
        return [self._put(plan, Operation.APPLY) for plan in plans]

    def verify(self, plans: Sequence[Plan]) -> Sequence[bool]:
        """Look each entry up."""
        there = self.observe()
        return [plan.action.action_id in there for plan in plans]

    def renew(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """Let entries last from now on."""
        return [self._put(plan, Operation.RENEW) for plan in plans]

    def undo(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """Take entries out; one that is gone is a success."""
        for plan in plans:
            self._expires_ns.pop(plan.action.action_id, None)
        return [self._outcome(plan.action, Operation.UNDO, plan.undo_summary) for plan in plans]

    def observe(self) -> frozenset[str]:
        """Give the entries whose lease has not ended."""
        now = self._clock.now().boot_ns
        return frozenset(name for name, until in self._expires_ns.items() if until > now)

    def _put(self, plan: Plan, operation: Operation) -> Outcome:
        if not self._broken:
            until = self._clock.now().boot_ns + plan.action.lease_ns
            self._expires_ns[plan.action.action_id] = until
        return self._outcome(plan.action, operation, plan.summary)

    def _outcome(
        self, action: Action, operation: Operation, detail: str, *, ok: bool = True
    ) -> Outcome:
        return Outcome(
            action_id=action.action_id,
            incident_id=action.incident_id,
            operation=operation,
            ok=ok,
            verified=False,
            detail=detail,
            at_boot_ns=self._clock.now().boot_ns,
        )


class MemoryWorkflow:
    """Work that is paused, rerouted or running, in a table.

    Attributes:
        states: workload -> the last verb that was carried out.
    """

    manifest: ClassVar[Manifest] = Manifest("memory-workflow", "Workloads in a table.")

    def __init__(self, workloads: Sequence[str]) -> None:
        self.states: dict[str, str] = dict.fromkeys(workloads, "restore")

    def adjust(self, workload: str, verb: str) -> str:
        """Carry the verb out.

        Raises:
            InputError: no such workload or verb.
        """
        if workload not in self.states or verb not in _VERBS:
            raise InputError(
                "testing.no_workload",
                f"Cannot {verb!r} the workload {workload!r}.",
                f"Name one of {sorted(self.states)} and one of {_VERBS}.",
            )
        self.states[workload] = verb
        return f"{workload}: {verb} done."
