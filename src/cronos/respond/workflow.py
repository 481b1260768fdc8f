"""Pauses or reroutes work that depends on an isolated asset, and restores it after.

What pauses a workload is a hook (`Workflow`): a command, a web hook, a scheduler's own interface.
A hook that can look (`Watching`) is asked what was before, and whether the effect is there. Of the
others what they said last is all that is known here, so after a restart of the enforcer a
workload that should be paused is paused once more.
"""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, Final, Protocol, TypeVar, runtime_checkable

import msgspec
from msgspec.structs import replace

from cronos.config import Positive, Section
from cronos.errors import CronosError, InputError
from cronos.link.openc2target import target_name
from cronos.ports import Workflow
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

GivenT = TypeVar("GivenT")
GotT = TypeVar("GotT")
_STEPS: Final = {Verb.PAUSE: "pause", Verb.REDIRECT: "reroute"}
_TAKEN_BACK: Final = (Reversal.LEASED, Blast.SERVICE, 5_000)


class _Recipe(msgspec.Struct, frozen=True):
    """What a plan keeps: the hook and its steps, however the configuration changes after.

    `former` is what a hook that looks saw before; the others leave it empty.
    """

    hook: str
    workload: str
    step: str
    undo: str
    former: str = ""


@runtime_checkable
class Watching(Protocol):
    """What a hook offers besides `Workflow` when it can look at the workload itself."""

    def former(self, workload: str, verb: str) -> str:
        """Give the state to go back to, for `put_back`; may refuse the step.

        Raises:
            CronosError: the workload is not known, or nobody answers.
        """
        ...

    def put_back(self, workload: str, former: str) -> str:
        """Bring a state back; harmless where it is that. Give a sentence on what was done."""
        ...

    def sees(self, workload: str, verb: str) -> bool:
        """Say whether a step is in effect, by looking."""
        ...


class WorkflowExecutorConfig(Section, frozen=True):
    """Which hook serves which workload, by catalogue name."""

    hook: str = "command"
    hooks: dict[str, str] = msgspec.field(default_factory=dict[str, str])
    # Hooks wait for foreign systems, so several run at once.
    at_once: Positive = 8
    # How long 64 workloads may take; then the process that runs their hooks is killed.
    deadline_ms: Positive = 60_000


class WorkflowExecutor:
    """Adjusts workloads through their hooks.

    Args:
        config: which workload has which hook.
        hooks: by catalogue name.

    Raises:
        InputError: the configuration names a hook that is not there.
    """

    manifest = Manifest(
        "workflow",
        "Pauses, reroutes and restores workloads that depend on an isolated asset",
        abilities=tuple(
            Ability(
                verb, EntityKind.WORKLOAD, target_name(EntityKind.WORKLOAD), "D3-SM", *_TAKEN_BACK
            )
            for verb in _STEPS
        ),
    )
    config_type: ClassVar[type[Section]] = WorkflowExecutorConfig
    foreign: ClassVar[bool] = True

    def __init__(self, config: WorkflowExecutorConfig, hooks: Mapping[str, Workflow]) -> None:
        for name in (config.hook, *config.hooks.values()):
            if name not in hooks:
                raise InputError(
                    "respond.hook_unknown",
                    f"[plugin.workflow] names the hook {name!r}, which is not configured.",
                    f"Configure it as [plugin.{name}], or name one of: {', '.join(sorted(hooks))}.",
                )
        self._config = config
        self._hooks = dict(hooks)
        self._adjusted: set[str] = set()

    def plan(self, actions: Sequence[Action]) -> Sequence[Plan | Outcome]:
        """Find the step of each action; see `Executor.plan`."""
        return self._each(actions, self._plan)

    def apply(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """Pause or reroute; see `Executor.apply`."""
        return self._each(plans, self._apply_one)

    def verify(self, plans: Sequence[Plan]) -> Sequence[bool]:
        """Say which workloads are adjusted; see the module for who can say."""
        return self._each(plans, self._is_adjusted)

    def renew(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """Keep the workloads as they are, adjusting those that are not; see `Executor.renew`."""
        return self._each(plans, self._renew_one)

    def undo(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """Restore the workloads; see `Executor.undo`."""
        return self._each(plans, self._undo_one)

    def observe(self) -> frozenset[str]:
        """Give the ids of what was adjusted by this process and not restored."""
        return frozenset(self._adjusted)

    def _plan(self, action: Action) -> Plan | Outcome:
        step = _STEPS.get(action.verb)
        workload = action.target.value
        if step is None or action.target.kind is not EntityKind.WORKLOAD:
            why = f"A workflow cannot {action.verb} a {action.target.kind}."
            return _said(action, Operation.APPLY, why, ok=False)
        hook = self._hook_name(workload)
        try:
            watching = self._watching(hook)
            former = watching.former(workload, step) if watching is not None else ""
        except CronosError as error:
            return _said(action, Operation.APPLY, str(error), ok=False)
        return Plan(
            action,
            msgspec.json.encode(_Recipe(hook, workload, step, "restore", former)),
            f"{step} {workload} by the hook {hook}",
            f"restore {workload} by the hook {hook}",
        )

    def _hook_name(self, workload: str) -> str:
        return self._config.hooks.get(workload, self._config.hook)

    def _watching(self, name: str) -> Watching | None:
        hook: object = self._hooks.get(name)
        return hook if isinstance(hook, Watching) else None

    def _is_adjusted(self, plan: Plan) -> bool:
        try:
            recipe = _read(plan)
        except ValueError:
            return plan.action.action_id in self._adjusted
        watching = self._watching(recipe.hook)
        if watching is None or not recipe.former:
            return plan.action.action_id in self._adjusted
        return watching.sees(recipe.workload, recipe.step)

    def _apply_one(self, plan: Plan) -> Outcome:
        outcome = self._adjust(plan, Operation.APPLY)
        if outcome.ok:
            self._adjusted.add(plan.action.action_id)
        return outcome

    def _renew_one(self, plan: Plan) -> Outcome:
        try:
            stays = self._is_adjusted(plan)
        except CronosError as error:
            return _said(plan.action, Operation.RENEW, str(error), ok=False)
        if not stays:
            return replace(self._apply_one(plan), operation=Operation.RENEW)
        return _said(plan.action, Operation.RENEW, f"{plan.action.target.value} stays.", ok=True)

    def _undo_one(self, plan: Plan) -> Outcome:
        outcome = self._adjust(plan, Operation.UNDO)
        if outcome.ok:
            self._adjusted.discard(plan.action.action_id)
        return outcome

    def _adjust(self, plan: Plan, operation: Operation) -> Outcome:
        """Do what the recipe says, which may be older than this process and its configuration."""
        try:
            recipe = _read(plan)
        except ValueError as error:
            return _said(plan.action, operation, f"The recipe is damaged: {error}.", ok=False)
        hook = self._hooks.get(recipe.hook)
        if hook is None:
            why = (
                f"{plan.action.target.value} was adjusted by the hook {recipe.hook}, which is not "
                f"configured any more; configure [plugin.{recipe.hook}] again to restore it."
            )
            return _said(plan.action, operation, why, ok=False)
        step = recipe.undo if operation is Operation.UNDO else recipe.step
        try:
            watching = self._watching(recipe.hook) if operation is Operation.UNDO else None
            said = (
                watching.put_back(recipe.workload, recipe.former)
                if watching is not None and recipe.former
                else hook.adjust(recipe.workload, step)
            )
        except CronosError as error:
            return _said(plan.action, operation, str(error), ok=False)
        return _said(plan.action, operation, said, ok=True)

    def _each(self, items: Sequence[GivenT], step: Callable[[GivenT], GotT]) -> Sequence[GotT]:
        if len(items) <= 1:
            return [step(item) for item in items]
        with ThreadPoolExecutor(min(self._config.at_once, len(items))) as pool:
            return list(pool.map(step, items))


def _said(action: Action, operation: Operation, detail: str, *, ok: bool) -> Outcome:
    return Outcome(
        action.action_id, action.incident_id, operation, ok=ok, verified=False, detail=detail
    )


def _read(plan: Plan) -> _Recipe:
    """Read a recipe, which is for the workload of its action.

    Raises:
        ValueError: it is damaged, or for another one.
    """
    try:
        recipe = msgspec.json.decode(plan.recipe, type=_Recipe)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(str(error)) from error
    if recipe.workload != plan.action.target.value:
        raise ValueError("it is for another workload")
    return recipe
