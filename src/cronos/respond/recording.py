"""The recording executor, the default: a dry run that plans all and changes nothing.

What it "applied" shows in `observe`, so that everything above it works as with a real one; its
outcomes say `dry_run`, and so does whatever is shown to people.
"""

from collections.abc import Sequence
from typing import ClassVar, Final

import msgspec

from cronos.config import Positive, Section
from cronos.link.openc2target import target_name
from cronos.types import (
    Ability,
    Action,
    Blast,
    EntityKind,
    Manifest,
    Operation,
    Outcome,
    Plan,
    Reversal,
    Verb,
)

_DENY: Final = Verb.DENY
_CONTAIN: Final = Verb.CONTAIN
_FLOW: Final = EntityKind.FLOW
_NARROW: Final = (Reversal.LEASED, Blast.NARROW, 50)
_WIDE: Final = (Reversal.LEASED, Blast.HOST, 50)
_ONE: Final = (Reversal.LEASED, Blast.IDENTITY, 50)
_ACCOUNT: Final = target_name(EntityKind.USER)


class RecordingConfig(Section, frozen=True):
    """Bounds of the dry run."""

    max_effects: Positive = 100_000


class RecordingExecutor:
    """Holds effects in memory only."""

    manifest = Manifest(
        "recording",
        "Dry run: records what would be done and changes nothing",
        abilities=(
            Ability(_DENY, EntityKind.ADDRESS, "ipv4_net", "D3-NTF", *_NARROW, 0.40, 0.95, 0.20),
            Ability(_DENY, _FLOW, "ipv4_connection", "D3-NTF", *_NARROW, 0.30, 0.50, 0.05),
            Ability(_CONTAIN, EntityKind.HOST, "device", "D3-NI", *_WIDE, 0.75, 0.95, 0.60),
            Ability(_CONTAIN, EntityKind.USER, _ACCOUNT, "D3-AL", *_ONE, 0.70, 0.90, 0.40),
        ),
    )
    config_type: ClassVar[type[Section]] = RecordingConfig

    def __init__(self, config: RecordingConfig) -> None:
        self._config = config
        self._effects: dict[str, Action] = {}

    def plan(self, actions: Sequence[Action]) -> Sequence[Plan | Outcome]:
        """Work out what would be done; see `Executor.plan`."""
        return [
            Plan(
                action,
                msgspec.json.encode({"action_id": action.action_id}),
                f"would {action.verb} {action.target.value}",
                f"would end {action.verb} {action.target.value}",
            )
            for action in actions
        ]

    def apply(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """Remember the effects; see `Executor.apply`."""
        return [self._remember(plan, Operation.APPLY) for plan in plans]

    def verify(self, plans: Sequence[Plan]) -> Sequence[bool]:
        """Say which are remembered; see `Executor.verify`."""
        return [plan.action.action_id in self._effects for plan in plans]

    def renew(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """Keep what is remembered; see `Executor.renew`."""
        return [self._remember(plan, Operation.RENEW) for plan in plans]

    def undo(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """Forget the effects; see `Executor.undo`."""
        for plan in plans:
            self._effects.pop(plan.action.action_id, None)
        return [_said(plan, Operation.UNDO, plan.undo_summary) for plan in plans]

    def observe(self) -> frozenset[str]:
        """Give the ids of all remembered effects."""
        return frozenset(self._effects)

    def _remember(self, plan: Plan, operation: Operation) -> Outcome:
        name = plan.action.action_id
        if name not in self._effects and len(self._effects) >= self._config.max_effects:
            full = f"The dry run holds {self._config.max_effects} effects, the most it may."
            return _said(plan, operation, full, ok=False)
        self._effects[name] = plan.action
        return _said(plan, operation, plan.summary)


def _said(plan: Plan, operation: Operation, detail: str, *, ok: bool = True) -> Outcome:
    return Outcome(
        plan.action.action_id,
        plan.action.incident_id,
        operation,
        ok=ok,
        verified=False,
        detail=detail,
        undo=plan.undo_summary,
        dry_run=True,
    )
