"""The enforcement points behind one face: each batch goes to its executor and is looked at after.

An executor is a plug-in and may fail in any way; nothing it does ends the process that must undo
what the others did.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import msgspec

from cronos.errors import CronosError
from cronos.ports import Clock, Executor
from cronos.types import Action, Operation, Outcome, Plan

Given = TypeVar("Given", bound=Action | Plan)
Got = TypeVar("Got")


def outcome_of(action: Action, operation: Operation, detail: str, *, ok: bool) -> Outcome:
    """Say in one sentence what became of an action; `verified` is left to those who look."""
    return Outcome(action.action_id, action.incident_id, operation, ok, False, detail)


class Points:
    """Executors by the name of their enforcement point. Every answer keeps the order asked in."""

    def __init__(self, executors: Mapping[str, Executor], clock: Clock) -> None:
        self._executors = dict(executors)
        self._clock = clock

    def plan(self, actions: Sequence[Action]) -> list[Plan | Outcome]:
        """Make actions ready, changing nothing; a refusal is an outcome."""

        def failed(action: Action, why: str) -> Plan | Outcome:
            return outcome_of(action, Operation.APPLY, why, ok=False)

        return self._spread(actions, lambda executor, batch: executor.plan(batch), failed)

    def apply(self, plans: Sequence[Plan]) -> list[Outcome]:
        """Put plans into effect and look; what is not there afterwards has failed."""
        answers = self._spread(plans, lambda e, batch: e.apply(batch), _failure(Operation.APPLY))
        return self._looked_at(plans, answers)

    def renew(self, plans: Sequence[Plan]) -> list[Outcome]:
        """Begin leases anew and look."""
        answers = self._spread(plans, lambda e, batch: e.renew(batch), _failure(Operation.RENEW))
        return self._looked_at(plans, answers)

    def undo(self, plans: Sequence[Plan]) -> list[Outcome]:
        """Take effects back and look; what is still there has failed."""
        answers = self._spread(plans, lambda e, batch: e.undo(batch), _failure(Operation.UNDO))
        there = self.present(plans, in_doubt=True)
        at = self._clock.now().boot_ns
        return [
            msgspec.structs.replace(
                answer,
                ok=answer.ok and not seen,
                verified=not seen,
                detail="It was undone, but is still there."
                if answer.ok and seen
                else answer.detail,
                at_boot_ns=at,
            )
            for answer, seen in zip(answers, there, strict=True)
        ]

    def present(self, plans: Sequence[Plan], *, in_doubt: bool) -> list[bool]:
        """Say which effects are there, by looking; `in_doubt` where nobody can say."""
        return self._spread(
            plans, lambda executor, batch: executor.verify(batch), lambda _plan, _why: in_doubt
        )

    def held(self, actions: Sequence[Action]) -> set[str]:
        """Name the effects of some actions that are there, by looking once at each of their points.

        What nobody can look at counts as there: to end it then fails, and is not said to be done.
        """
        asked: dict[str, set[str]] = {}
        for action in actions:
            asked.setdefault(action.enforcement_point, set()).add(action.action_id)
        found: set[str] = set()
        for point, ids in asked.items():
            executor = self._executors.get(point)
            try:
                found |= ids & executor.observe() if executor is not None else set()
            except Exception:  # noqa: BLE001 - a plug-in's fault must not end the reaper
                found |= ids
        return found

    def _looked_at(self, plans: Sequence[Plan], answers: list[Outcome]) -> list[Outcome]:
        at = self._clock.now().boot_ns  # the effect began now; looking comes after
        done = [i for i, answer in enumerate(answers) if answer.ok]
        seen = dict(zip(done, self.present([plans[i] for i in done], in_doubt=False), strict=True))
        return [
            msgspec.structs.replace(
                answer,
                ok=seen.get(i, False),
                verified=seen.get(i, False),
                detail=answer.detail
                if seen.get(i, True)
                else "Accepted, but not there afterwards.",
                undo=answer.undo or plans[i].undo_summary,
                at_boot_ns=at,
            )
            for i, answer in enumerate(answers)
        ]

    def _spread(
        self,
        items: Sequence[Given],
        call: Callable[[Executor, list[Given]], Sequence[Got]],
        failed: Callable[[Given, str], Got],
    ) -> list[Got]:
        """Give each executor its part of `items` as one batch and put the answers in order."""
        parts: dict[str, list[int]] = {}
        for i, item in enumerate(items):
            action = item.action if isinstance(item, Plan) else item
            parts.setdefault(action.enforcement_point, []).append(i)
        answers: dict[int, Got] = {}
        for point, places in parts.items():
            batch = [items[i] for i in places]
            got = self._ask(point, batch, call, failed)
            answers.update(zip(places, got, strict=True))
        return [answers[i] for i in range(len(items))]

    def _ask(
        self,
        point: str,
        batch: list[Given],
        call: Callable[[Executor, list[Given]], Sequence[Got]],
        failed: Callable[[Given, str], Got],
    ) -> Sequence[Got]:
        executor = self._executors.get(point)
        if executor is None:
            why = f"No executor serves the enforcement point {point!r}."
            return [failed(item, why) for item in batch]
        try:
            answers = call(executor, batch)
        except CronosError as error:
            why = str(error)
        except Exception as error:  # noqa: BLE001 - a plug-in's fault must not end the reaper
            why = f"The executor {point} failed: {error!r:.200}"
        else:
            if len(answers) == len(batch):
                return answers
            why = f"The executor {point} gave {len(answers)} answers to {len(batch)} actions."
        return [failed(item, why) for item in batch]


def _failure(operation: Operation) -> Callable[[Plan, str], Outcome]:
    return lambda plan, why: outcome_of(plan.action, operation, why, ok=False)
