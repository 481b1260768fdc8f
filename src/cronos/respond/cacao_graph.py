"""The graph of a playbook: every way leads on, none leads back, and all of it can be reached.

What is checked here once is what lets a playbook be followed in bounded time ever after: no
cycles (a `while-condition` is the only repetition), few steps, little nesting.
"""

from collections import Counter, deque

from cronos.respond.cacao_condition import outcomes_named
from cronos.respond.cacao_place import Place
from cronos.respond.playbook_steps import (
    MAX_NESTING,
    Act,
    If,
    Manual,
    Playbook,
    Start,
    Step,
    While,
    branches_of,
    following,
)


def check(playbook: Playbook, workflow: Place) -> None:
    """Require that the steps form a workflow.

    Raises:
        InputError: they do not; names the step.
    """
    steps = playbook.steps
    if playbook.start not in steps:
        raise workflow.refuse("the step that `workflow_start` names is missing", "Add it.")
    for step in steps.values():
        _check_step(step, playbook, workflow.at(step.step_id))
    _check_order(playbook, workflow)


def _check_step(step: Step, playbook: Playbook, place: Place) -> None:
    steps, kind = playbook.steps, step.kind
    for other in following(kind):
        if other not in steps:
            raise place.refuse(f"it leads to `{other:.80}`, which is missing", "Add that step.")
    if isinstance(kind, Start) and step.step_id != playbook.start:
        raise place.refuse("a workflow has one start", "Lead to the step after it instead.")
    if isinstance(kind, Manual) and not isinstance(steps[kind.then].kind, Act):
        raise place.refuse(
            "a question must be about the action that follows it",
            "Let `on_success` lead to an action step with an OpenC2 command.",
        )
    if isinstance(kind, If | While):
        for named in sorted(outcomes_named(kind.condition)):
            if named not in steps or not isinstance(steps[named].kind, Act):
                raise place.at("condition").refuse(
                    f"it asks for the outcome of `{named:.80}`, which is no action step",
                    "Name an action step with an OpenC2 command by its id.",
                )


def _check_order(playbook: Playbook, workflow: Place) -> None:
    """Walk the steps in an order in which all that lead to one come before it."""
    steps = playbook.steps
    waits = Counter(other for step in steps.values() for other in following(step.kind))
    for orphan in steps:
        if not waits[orphan] and orphan != playbook.start:
            raise workflow.at(orphan).refuse("no step leads here", "Lead to it, or remove it.")
    nesting = dict.fromkeys(steps, 0)
    ready = deque([playbook.start] if not waits[playbook.start] else [])
    while ready:
        step_id = ready.popleft()
        if nesting[step_id] > MAX_NESTING:
            raise workflow.at(step_id).refuse(
                f"it is nested more than {MAX_NESTING} deep", "Write the inner part flat."
            )
        kind = steps[step_id].kind
        inner = len(branches_of(kind))
        for number, other in enumerate(following(kind)):
            nesting[other] = max(nesting[other], nesting[step_id] + (number < inner))
            waits[other] -= 1
            if not waits[other]:
                ready.append(other)
    for again in (step_id for step_id in steps if waits[step_id]):
        raise workflow.at(again).refuse(
            "it leads back to itself", "Repeat with a `while-condition` step instead."
        )
