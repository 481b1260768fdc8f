"""What executors of foreign systems share: batches, refusals as data, and the form of a recipe.

An executor says for one action how to prepare it, put it into effect, see it and take it back; it
raises whatever goes wrong. Here that becomes one outcome for each action, several side by side.
"""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import ClassVar, Final, NamedTuple, TypeVar

import msgspec

from cronos.errors import CronosError, InputError
from cronos.types import Ability, Action, Manifest, Operation, Outcome, Plan, Reversal

GivenT = TypeVar("GivenT")
GotT = TypeVar("GotT")
RecipeT = TypeVar("RecipeT", bound=msgspec.Struct)
_MAX_DETAIL_CHARS: Final = 1000
_FINAL: Final = "Nothing is left to do here."


class Prepared(NamedTuple):
    """What `ForeignExecutor.prepare` gives: what was there before, and two phrases for people.

    `before` None makes a plan that cannot be taken back: its recipe is empty, and so is the phrase
    on undoing it.
    """

    before: msgspec.Struct | None
    summary: str
    undo_summary: str


class ForeignExecutor:
    """Base of executors whose enforcement point is another system.

    `foreign` has the enforcer run it in a process of its own with its own credentials.
    """

    foreign: ClassVar[bool] = True
    manifest: Manifest

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._abilities: dict[tuple[str, str], Ability] = {
            (it.verb, it.kind): it for it in self.manifest.abilities
        }

    # --- for one action: to be written by each executor ------------------------------------------

    def prepare(self, action: Action) -> Prepared:
        """Look at what is there and say what would change, changing nothing.

        What cannot be taken back is prepared where it has happened already, too: the order may
        come again after its answer was lost.
        """
        raise NotImplementedError

    def put(self, plan: Plan) -> str:
        """Put a plan into effect, again where it is already; say what was done."""
        raise NotImplementedError

    def sees(self, plan: Plan) -> bool:
        """Say whether the effect is there, by looking."""
        raise NotImplementedError

    def take_back(self, plan: Plan) -> str:
        """Take the effect back, to what was before, and say so; harmless where it is gone."""
        raise NotImplementedError

    def observe(self) -> frozenset[str]:
        """Give the action ids of all effects that are there; see `Executor.observe`."""
        raise NotImplementedError

    # --- for batches: the port --------------------------------------------------------------------

    def plan(self, actions: Sequence[Action]) -> Sequence[Plan | Outcome]:
        """Make actions ready; see `Executor.plan`."""
        return self._each(actions, self._planned)

    def apply(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """Put plans into effect; see `Executor.apply`."""
        return self._each(plans, lambda plan: self._done(plan, Operation.APPLY, self.put))

    def verify(self, plans: Sequence[Plan]) -> Sequence[bool]:
        """Say which effects are there; see `Executor.verify`.

        Raises:
            CronosError: the system cannot be asked.
        """
        return self._each(plans, self.sees)

    def renew(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """Keep effects as they are, putting back what vanished; see `Executor.renew`."""
        return self._each(plans, lambda plan: self._done(plan, Operation.RENEW, self._kept))

    def undo(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """Take effects back; see `Executor.undo`."""
        return self._each(plans, lambda plan: self._done(plan, Operation.UNDO, self._taken_back))

    def _planned(self, action: Action) -> Plan | Outcome:
        ability = self._abilities.get((action.verb, action.target.kind))
        if ability is None:
            why = f"{self.manifest.name} cannot {action.verb} a {action.target.kind}."
            return _said(action, Operation.APPLY, why, ok=False)
        try:
            ready = self.prepare(action)
        except CronosError as error:
            return _said(action, Operation.APPLY, str(error), ok=False)
        recipe = b"" if ready.before is None else msgspec.json.encode(ready.before)
        if bool(recipe) is (ability.reversal is Reversal.NONE):
            why = f"{self.manifest.name} prepared what its manifest does not say of it."
            return _said(action, Operation.APPLY, why, ok=False)
        return Plan(action, recipe, ready.summary, ready.undo_summary)

    def keep(self, plan: Plan) -> str:
        """Keep an effect for a further lease, putting back what vanished; say what was done."""
        return "It stays." if self.sees(plan) else self.put(plan)

    def _kept(self, plan: Plan) -> str:
        if not plan.recipe:
            raise refusal("What cannot be taken back is not held, so it cannot be renewed.", _FINAL)
        return self.keep(plan)

    def _taken_back(self, plan: Plan) -> str:
        if not plan.recipe:
            raise refusal("It cannot be taken back.", _FINAL)
        return self.take_back(plan)

    def _done(self, plan: Plan, operation: Operation, step: Callable[[Plan], str]) -> Outcome:
        try:
            return _said(plan.action, operation, step(plan), ok=True, undo=plan.undo_summary)
        except CronosError as error:
            return _said(plan.action, operation, str(error), ok=False)

    def _each(self, items: Sequence[GivenT], step: Callable[[GivenT], GotT]) -> list[GotT]:
        if min(self._at_once, len(items)) <= 1:
            return [step(item) for item in items]
        with ThreadPoolExecutor(min(self._at_once, len(items))) as pool:
            return list(pool.map(step, items))


def recipe_of(plan: Plan, kind: type[RecipeT]) -> RecipeT:
    """Read a recipe, which may be older than this process and its configuration.

    Raises:
        InputError: it is damaged.
    """
    try:
        return msgspec.json.decode(plan.recipe, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InputError(
            "link.recipe_damaged",
            f"The recipe for {plan.action.target.value!r:.100} is damaged: {error!s:.100}.",
            f"By hand: {plan.undo_summary:.200}.",
        ) from None


def refusal(sentence: str, remedy: str = "Choose another target.") -> InputError:
    """Make the error of an action that cannot be carried out as it stands."""
    return InputError("link.foreign_target", sentence, remedy)


def _said(
    action: Action, operation: Operation, detail: str, *, ok: bool, undo: str = ""
) -> Outcome:
    text = detail if len(detail) <= _MAX_DETAIL_CHARS else detail[:_MAX_DETAIL_CHARS] + "…"
    return Outcome(action.action_id, action.incident_id, operation, ok, False, text, undo)
