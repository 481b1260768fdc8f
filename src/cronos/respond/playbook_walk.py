"""Follow a playbook through what has happened so far, and say which steps are due.

Nothing is remembered between two calls: where a playbook stands is the fold of the incident's
history over its steps, so that the same history gives the same answer in any process. Rules:

1. A step counts as done once the history says so; each outcome is used up by one visit, so that
   a loop which repeats an action waits for another outcome.
2. A question that was not granted, or not answered, ends the whole playbook: nothing is due any
   more. Its action is proposed as one that only a person can allow.
3. However a playbook is written, one call visits at most `MAX_VISITS` steps and names at most
   `MAX_DUE` actions.
"""

import enum
from collections.abc import Callable, Iterable
from typing import Final, TypeVar, assert_never

from cronos.respond.cacao_condition import OUTCOME, Fact, holds
from cronos.respond.playbook_figures import asking
from cronos.respond.playbook_steps import (
    Act,
    End,
    If,
    Manual,
    Parallel,
    Playbook,
    Start,
    Step,
    Wanted,
    While,
)
from cronos.types import Answer, Dial, Operation, Option, Outcome, action_id

Event = TypeVar("Event", Outcome, Answer)

MAX_VISITS: Final = 2_048
MAX_DUE: Final = 32


class _Flow(enum.Enum):
    """How a branch stands."""

    ENDED = enum.auto()
    WAITS = enum.auto()
    DENIED = enum.auto()


class History:
    """What has become of an incident's actions: outcomes and answers by action id, each in order.

    Nothing is taken from the order between an outcome and an answer: they come by different ways.
    """

    def __init__(self, incident_id: str, events: Iterable[Outcome | Answer]) -> None:
        self.outcomes: dict[str, list[Outcome]] = {}
        self.answers: dict[str, list[Answer]] = {}
        for event in events:
            if event.incident_id != incident_id:
                continue
            if isinstance(event, Answer):
                self.answers.setdefault(event.action_id, []).append(event)
            elif event.operation is Operation.APPLY:
                # Renewals and undoing say nothing of a step.
                self.outcomes.setdefault(event.action_id, []).append(event)


class Walk:
    """One pass through one playbook; `due` and `questions` are what came of it.

    Args:
        playbook: what to follow.
        facts: what conditions may ask, outcomes left out.
        resolve: gives the option that a step wants, None where the incident holds no such target
            or no enforcement point is able.
        history: what has happened so far.
    """

    def __init__(
        self,
        playbook: Playbook,
        facts: dict[str, Fact],
        resolve: Callable[[Wanted], Option | None],
        history: History,
    ) -> None:
        self.due: list[Option] = []
        self.questions: list[tuple[str, Option]] = []
        self.exhausted = False
        self._steps = playbook.steps
        self._facts = dict(facts)
        self._resolve = resolve
        self._history = history
        self._outcomes: dict[str, int] = {}  # how many of each action are used up
        self._answers: dict[str, int] = {}
        self._granted: set[str] = set()
        self._visits = 0
        if self._branch(playbook.start) is _Flow.DENIED:
            self.due, self.questions = [], []

    def _branch(self, step_id: str) -> _Flow:
        """Follow a branch until it ends or waits; recursion is as deep as branches are nested."""
        while step_id:
            self._visits += 1
            if self._visits > MAX_VISITS:
                self.exhausted = True
                return _Flow.WAITS
            flow, step_id = self._visit(self._steps[step_id])
            if flow is not _Flow.ENDED:
                return flow
        return _Flow.ENDED

    def _visit(self, step: Step) -> tuple[_Flow, str]:
        """Visit a step; give how it stands and what comes next, "" for nothing."""
        kind = step.kind
        match kind:
            case Start(then):
                after = _Flow.ENDED, then
            case End():
                after = _Flow.ENDED, ""
            case Act():
                after = self._act(step.step_id, kind)
            case Manual():
                after = self._ask(kind)
            case If(condition, on_true, on_false, then):
                after = self._branch(on_true if holds(condition, self._facts) else on_false), then
            case While():
                after = self._repeat(kind), kind.then
            case Parallel(branches, then):
                after = self._beside(branches), then
            case _:
                assert_never(kind)
        return after

    def _repeat(self, kind: While) -> _Flow:
        for _ in range(kind.most):
            if not holds(kind.condition, self._facts):
                break
            flow = self._branch(kind.on_true)
            if flow is not _Flow.ENDED:
                return flow
        return _Flow.ENDED

    def _beside(self, branches: tuple[str, ...]) -> _Flow:
        """Take every branch, whichever of them waits; a refusal in one counts for all."""
        flows = {self._branch(one) for one in branches}
        if _Flow.DENIED in flows:
            return _Flow.DENIED
        return _Flow.WAITS if _Flow.WAITS in flows else _Flow.ENDED

    def _act(self, step_id: str, kind: Act) -> tuple[_Flow, str]:
        option = self._resolve(kind.wanted)
        done = self._become_of(option) if option is not None else False
        if done is None:
            return _Flow.WAITS, ""
        self._facts[f"{OUTCOME}{step_id}"] = "ok" if done else "failed"
        return _Flow.ENDED, kind.on_success if done else kind.on_failure

    def _become_of(self, option: Option) -> bool | None:
        """Say whether an action was carried out; None, and it is due, while nobody knows."""
        name = _named(option)
        asked = name in self._granted
        self._granted.discard(name)
        outcome = self._take(self._history.outcomes, self._outcomes, name)
        # A question of the matrix was answered before its outcome; one of ours is used up already.
        answer = None if asked else self._take(self._history.answers, self._answers, name)
        if outcome is not None:
            return outcome.ok and outcome.verified
        if answer is not None and not answer.granted:
            return False
        if not asked and answer is None:
            self._propose(option)
        return None

    def _ask(self, kind: Manual) -> tuple[_Flow, str]:
        """Look whether a person has said yes to the action that follows."""
        act = self._steps[kind.then].kind
        option = self._resolve(act.wanted) if isinstance(act, Act) else None
        if option is None:
            return _Flow.DENIED, ""  # nobody can be asked about what cannot be done
        name = _named(option)
        answer = self._take(self._history.answers, self._answers, name)
        if answer is None:
            asked = asking(option)
            self.questions.append((kind.question, asked))
            self._propose(asked)
            return _Flow.WAITS, ""
        if not answer.granted:
            return _Flow.DENIED, ""
        self._granted.add(name)
        return _Flow.ENDED, kind.then

    def _take(
        self, events: dict[str, list[Event]], used: dict[str, int], name: str
    ) -> Event | None:
        """Use up the next event of an action; None where there is none yet."""
        known, number = events.get(name, []), used.get(name, 0)
        if number >= len(known):
            return None
        used[name] = number + 1
        return known[number]

    def _propose(self, option: Option) -> None:
        """Add what is due, once; of two that name the same effect the more careful one stays."""
        for number, known in enumerate(self.due):
            if _named(known) == _named(option):
                if option.dial is Dial.ASK:
                    self.due[number] = option
                return
        if len(self.due) < MAX_DUE:
            self.due.append(option)


def _named(option: Option) -> str:
    return action_id(option.enforcement_point, option.verb, option.target)
