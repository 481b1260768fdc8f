"""What every `Executor` must do whose effects nobody can take back: kill, delete, end.

That two persons approved is the enforcer's to check. An executor owes that its plan says openly
that there is no undo (no recipe, no summary of one), that doing it twice is doing it once, that
it looks whether it happened, and that nobody else is hit.
"""

from collections.abc import Sequence

from cronos.ports import Executor
from cronos.testing.conformance.base import require, same
from cronos.testing.conformance.crashes import count_lines, folder_of, killed_at, spread
from cronos.types import Action, Operation, Outcome, Plan, Reversal


class IrreversibleExecutorConformance:
    """Subclass and write `make`, `actions` and `is_done`.

    Attributes:
        crash_points: at how many lines a process is killed while it applies.
    """

    crash_points = 24

    def make(self) -> Executor:
        """Give a fresh executor at an enforcement point with fresh victims."""
        raise NotImplementedError

    def again(self) -> Executor:
        """Give another executor at the enforcement point as it is, as after a crash."""
        raise NotImplementedError

    def actions(self) -> Sequence[Action]:
        """Give at least two different actions on the victims of the last `make`."""
        raise NotImplementedError

    def is_done(self, action: Action) -> bool:
        """Look, without the executor, whether it happened to the victim."""
        raise NotImplementedError

    def bystanders(self) -> object:
        """Give the state of all that must not be hit, to be compared."""
        return None

    def impossible(self) -> Action | None:
        """Give an action that `plan` must refuse, or None where there is none."""
        return None

    def test_the_manifest_says_that_nobody_takes_it_back(self) -> None:
        """Look each action up among the abilities."""
        abilities = {(one.verb, one.kind): one for one in self.make().manifest.abilities}
        for action in self.actions():
            ability = abilities.get((action.verb, action.target.kind))
            require(
                ability is not None and ability.reversal is Reversal.NONE,
                f"The manifest lists {action.verb} {action.target.kind} as irreversible.",
            )

    def test_a_plan_changes_nothing_and_says_that_there_is_no_undo(self) -> None:
        """Plan, and look."""
        executor = self.make()
        around = self.bystanders()
        for plan in self._plans(executor):
            same((plan.recipe, plan.undo_summary), (b"", ""), "No recipe, and no promise of one.")
            require(not plan.kernel_timeout, "No timer takes it back either.")
            require(bool(plan.summary), "A plan explains itself.")
        same([self.is_done(one) for one in self.actions()], self._all(False), "Nothing happened.")
        same(list(executor.verify(self._plans(executor))), self._all(False), "And it says so.")
        same(self.bystanders(), around, "Planning changes nothing.")

    def test_what_is_applied_has_happened_and_is_looked_at(self) -> None:
        """Apply, verify, and look without the executor."""
        executor = self.make()
        around = self.bystanders()
        plans = self._plans(executor)
        self._expect(executor.apply(plans))
        same([self.is_done(one) for one in self.actions()], self._all(True), "It happened.")
        same(list(executor.verify(plans)), self._all(True), "`verify` says so.")
        same(self.bystanders(), around, "Nobody else was hit.")

    def test_one_is_done_without_the_others(self) -> None:
        """Apply the first alone."""
        executor = self.make()
        plans = self._plans(executor)
        executor.apply(plans[:1])
        expected = [True, *self._all(False)[1:]]
        same([self.is_done(one) for one in self.actions()], expected, "Only it is done.")
        same(list(executor.verify(plans)), expected, "`verify` tells one from another.")

    def test_done_twice_is_done_once(self) -> None:
        """Apply again: the same plans, and new ones of another process."""
        executor = self.make()
        plans = self._plans(executor)
        self._expect(executor.apply(plans))
        around = self.bystanders()
        self._expect(executor.apply(plans))
        other = self.again()
        self._expect(other.apply(self._plans(other)))
        same(list(other.verify(plans)), self._all(True), "Another process sees it as well.")
        same(self.bystanders(), around, "Nobody else was hit.")

    def test_it_cannot_be_undone_nor_renewed_and_says_so(self) -> None:
        """Try both."""
        executor = self.make()
        plans = self._plans(executor)
        self._expect(executor.apply(plans))
        for outcome in (*executor.undo(plans), *executor.renew(plans)):
            require(not outcome.ok and bool(outcome.detail), "It says that it cannot be.")
        same([self.is_done(one) for one in self.actions()], self._all(True), "It stays done.")
        same(executor.observe() & self._ids(), frozenset[str](), "Nothing is held.")

    def test_killed_while_it_applies_the_same_order_again_ends_it(self) -> None:
        """Kill it at each line, and give the order to another one."""
        executor = self.make()
        plans = self._plans(executor)
        total = count_lines(lambda: executor.apply(plans), folder_of(executor))
        for line in spread(total, self.crash_points):
            doomed = self.make()
            around = self.bystanders()
            planned = self._plans(doomed)
            killed_at(lambda: doomed.apply(planned), folder_of(doomed), line)  # noqa: B023 - now
            other = self.again()
            self._expect(other.apply(self._plans(other)))
            done = [self.is_done(one) for one in self.actions()]
            same(done, self._all(True), f"It is done in the end (line {line} of {total}).")
            same(self.bystanders(), around, "Nobody else was hit.")

    def test_nothing_asked_is_nothing_done(self) -> None:
        """Give every method an empty batch."""
        executor = self.make()
        given = [executor.plan([]), executor.apply([]), executor.verify([])]
        given += [executor.renew([]), executor.undo([])]
        same([len(entries) for entries in given], [0] * 5, "Nothing is answered with nothing.")
        same([self.is_done(one) for one in self.actions()], self._all(False), "Nothing happened.")

    def test_a_refusal_is_an_outcome_in_its_place(self) -> None:
        """Plan what cannot be done between what can."""
        executor = self.make()
        impossible = self.impossible()
        if impossible is None:
            return
        first, *others = self.actions()
        answers = executor.plan([first, impossible, *others])
        refusal = answers[1]
        require(isinstance(refusal, Outcome), "What cannot be done is refused when planned.")
        if isinstance(refusal, Outcome):
            same(refusal.action_id, impossible.action_id, "Answers stand in order.")
            require(not refusal.ok and bool(refusal.detail), "A refusal says why.")
        require(isinstance(answers[0], Plan), "A refusal stops none of the others.")

    def _plans(self, executor: Executor) -> list[Plan]:
        answers = executor.plan(self.actions())
        plans = [answer for answer in answers if isinstance(answer, Plan)]
        same(len(plans), len(self.actions()), f"The sample's actions can be planned: {answers}.")
        require(len(plans) >= 2, "The sample has at least two actions.")
        return plans

    def _all(self, value: bool) -> list[bool]:
        return [value] * len(self.actions())

    def _ids(self) -> frozenset[str]:
        return frozenset(action.action_id for action in self.actions())

    def _expect(self, outcomes: Sequence[Outcome]) -> None:
        """State that there is one success for each action, in order."""
        same(
            [(outcome.action_id, outcome.operation) for outcome in outcomes],
            [(action.action_id, Operation.APPLY) for action in self.actions()],
            "There is one outcome for each plan, in order.",
        )
        for outcome in outcomes:
            require(outcome.ok, f"It succeeds: {outcome.detail}")
