"""Try a changed policy, or other playbooks, on recorded incidents and say what would differ."""

from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from cronos.config import Config
from cronos.front.documents_policy import Change, Judgement, StepChange
from cronos.front.plugins import load
from cronos.front.policy_cases import Case, Judged
from cronos.front.policy_change import Covers, under
from cronos.types import (
    Ability,
    Action,
    Answer,
    Decision,
    Disposition,
    LossTable,
    Operation,
    Option,
    Outcome,
    Snapshot,
    action_id,
)

MAX_ROUNDS: Final = 32
_CAUTION: Final = {disposition.value: rank for rank, disposition in enumerate(Disposition)}


class Side(NamedTuple):
    """A configuration, what its enforcement points can do, and its planner."""

    config: Config
    options: Any
    planner: Any


def points_of(config: Config) -> dict[str, tuple[Ability, ...]]:
    """Say what each configured enforcement point can do; workloads add one."""
    names = (*config.executors, "workflow") if config.workload else config.executors
    return {name: load("executor", name).manifest.abilities for name in names}


def options_of(config: Config) -> Any:
    """Give the kernel's own knowledge of what may be done.

    Raises:
        InputError: a dial or budget is set for something that does not exist, or an entry of
            `protected` would protect nothing: no node would start with it.
    """
    for entry in config.policy.protected:
        load("entry", "protected-entry")(entry)
    return load("entry", "policy-options")(config, points_of(config), LossTable())


class Trial:
    """Judges recorded cases under an old and a new configuration."""

    def __init__(self, old: Side, new: Side) -> None:
        self._old = old
        self._new = new
        self._covers: Covers = load("entry", "policy-protected")(new.config.policy).covers
        self._decide: Callable[[Snapshot], Decision] = load("entry", "decide")
        self.decisions = 0
        self.reproduced = 0
        self.bolder = 0
        self.more_careful = 0

    def changes(self, incident_id: str, case: Case) -> list[Change]:
        """Give the decisions of a case that would be other ones."""
        found: list[Change] = []
        for number, judged in enumerate(case.judged, 1):
            self.decisions += 1
            self.reproduced += shown(self._decide(judged.snapshot)) == shown(judged.decision)
            old, new = shown(judged.decision), shown(self._decide(self._renewed(judged)))
            if (old.disposition, old.action, old.proposal) != (
                new.disposition,
                new.action,
                new.proposal,
            ):
                self._count(old.disposition, new.disposition)
                found.append(Change(incident_id, number, judged.step, old, new))
        return found

    def steps(self, incident_id: str, case: Case) -> list[StepChange]:
        """Give the steps of playbooks that would be proposed, or decided, otherwise."""
        if not case.judged:
            return []
        last = case.judged[-1]
        old = self._proposed(self._old, case, last.snapshot)
        new = self._proposed(self._new, case, self._renewed(last))
        found = [
            StepChange(incident_id, action, old.get(action, ""), new.get(action, ""))
            for action in {**old, **new}
            if old.get(action) != new.get(action)
        ]
        for one in found:
            self._count(one.old or Disposition.REFUSED.value, one.new or Disposition.REFUSED.value)
        return found

    def _renewed(self, judged: Judged) -> Snapshot:
        return under(judged.snapshot, self._old.config, self._new.config, self._covers)

    def _proposed(self, side: Side, case: Case, snapshot: Snapshot) -> dict[str, str]:
        """Say how each step would be decided, were all before it done and all questions granted."""
        incident = case.incident()
        found: dict[str, str] = {}
        history: list[Outcome | Answer] = []
        for _ in range(MAX_ROUNDS if incident is not None else 0):
            due: Sequence[Option] = side.planner.plan(incident, tuple(history))
            fresh = [one for one in due if _named(one) not in found]
            for option in fresh:
                completed = side.options.complete(option, snapshot.now)
                if completed is not None:
                    asked = replace(snapshot, options=(completed,), protected=False)
                    found[_named(option)] = self._decide(asked).disposition.value
            if not fresh:
                break
            history += [one for option in fresh for one in _done(option, snapshot.incident_id)]
        return found

    def _count(self, old: str, new: str) -> None:
        self.bolder += _CAUTION[new] < _CAUTION[old]
        self.more_careful += _CAUTION[new] > _CAUTION[old]


def shown(decision: Decision) -> Judgement:
    """Show a decision as people compare it."""
    return Judgement(
        decision.disposition.value,
        _action(decision.action),
        decision.cell,
        _action(decision.proposal),
        decision.reasons,
    )


def _action(action: Action | None) -> str:
    if action is None:
        return ""
    target = action.target
    return f"{action.verb} {target.kind} {target.value} at {action.enforcement_point}"


def _named(option: Option) -> str:
    target = option.target
    return f"{option.verb} {target.kind} {target.value} at {option.enforcement_point}"


def _done(option: Option, incident_id: str) -> tuple[Outcome, Answer]:
    name = action_id(option.enforcement_point, option.verb, option.target)
    return (
        Outcome(name, incident_id, Operation.APPLY, ok=True, verified=True, detail=""),
        Answer("", incident_id, name, granted=True, subject=""),
    )
