"""What every reversible `Executor` must do.

The irreversible (kill, delete) has a suite of its own, `cronos.testing.conformance.irreversible`.
"""

from collections.abc import Callable, Sequence

from cronos.ports import Executor
from cronos.testing.conformance.base import require, same
from cronos.testing.conformance.crashes import count_lines, folder_of, killed_at, spread
from cronos.types import Action, Operation, Outcome, Plan


class ReversibleExecutorConformance:
    """Subclass and write `make` and `actions`, and what else there is to say.

    Attributes:
        crash_points: at how many lines of each step a process is killed.
    """

    crash_points = 24

    def make(self) -> Executor:
        """Give a fresh executor at a fresh enforcement point, with no effect in place."""
        raise NotImplementedError

    def actions(self) -> Sequence[Action]:
        """Give at least two different actions that can be carried out there."""
        raise NotImplementedError

    def impossible(self) -> Action | None:
        """Give an action that `plan` must refuse, or None where there is none."""
        return None

    def again(self) -> Executor | None:
        """Give another executor at the enforcement point as it is, as after a crash.

        None where effects live in the executor and end with it.
        """
        return None

    def state(self) -> object:
        """Give all of the enforcement point that an effect may change, to be compared."""
        return None

    def test_a_plan_changes_nothing_and_says_how_to_undo(self) -> None:
        """Plan, and look."""
        executor = self.make()
        before = self.state()
        plans = self._plans(executor)
        same(executor.observe(), frozenset[str](), "Planning changes nothing.")
        same(self.state(), before, "Planning changes nothing that can be seen.")
        same(list(executor.verify(plans)), [False] * len(plans), "What was planned is not there.")
        for plan, action in zip(plans, self.actions(), strict=True):
            same(plan.action, action, "A plan is for its action.")
            require(bool(plan.recipe), "A plan carries all that undoing it needs.")
            require(bool(plan.summary and plan.undo_summary), "A plan explains itself.")

    def test_planning_is_the_same_each_time(self) -> None:
        """Plan twice."""
        executor = self.make()
        same(self._plans(executor), self._plans(executor), "The same action gives the same plan.")

    def test_what_is_applied_is_there(self) -> None:
        """Apply, then verify and observe."""
        executor = self.make()
        plans = self._plans(executor)
        self._expect(executor.apply(plans), Operation.APPLY)
        same(list(executor.verify(plans)), [True] * len(plans), "What was applied verifies.")
        same(executor.observe(), self._ids(), "What was applied is observed.")

    def test_applied_twice_is_one_effect(self) -> None:
        """Apply twice, undo once."""
        executor = self.make()
        plans = self._plans(executor)
        executor.apply(plans)
        self._expect(executor.apply(plans), Operation.APPLY)
        same(executor.observe(), self._ids(), "Applying again adds nothing.")
        executor.undo(plans)
        same(
            executor.observe(), frozenset[str](), "One undo ends an effect that was applied twice."
        )

    def test_renewing_keeps_the_effect(self) -> None:
        """Apply, renew, verify."""
        executor = self.make()
        plans = self._plans(executor)
        executor.apply(plans)
        self._expect(executor.renew(plans), Operation.RENEW)
        same(list(executor.verify(plans)), [True] * len(plans), "A renewed effect is still there.")
        same(executor.observe(), self._ids(), "Renewing neither adds nor removes.")

    def test_what_is_undone_is_gone_and_undoing_again_is_harmless(self) -> None:
        """Undo three times: once for the effect, twice for nothing."""
        executor = self.make()
        before = self.state()
        plans = self._plans(executor)
        executor.apply(plans)
        for _ in range(3):
            self._expect(executor.undo(plans), Operation.UNDO)
            same(executor.observe(), frozenset[str](), "What was undone is gone.")
            same(self.state(), before, "All is as it was before.")
        same(list(executor.verify(plans)), [False] * len(plans), "What was undone is not there.")

    def test_undoing_one_leaves_the_others(self) -> None:
        """Undo the first alone."""
        executor = self.make()
        plans = self._plans(executor)
        executor.apply(plans)
        executor.undo(plans[:1])
        same(executor.observe(), self._ids() - {plans[0].action.action_id}, "Only it is undone.")
        same(
            list(executor.verify(plans)),
            [False] + [True] * (len(plans) - 1),
            "`verify` tells one from another.",
        )

    def test_undone_effects_can_be_applied_again(self) -> None:
        """Apply, undo, apply."""
        executor = self.make()
        plans = self._plans(executor)
        executor.apply(plans)
        executor.undo(plans)
        self._expect(executor.apply(plans), Operation.APPLY)
        same(executor.observe(), self._ids(), "What was undone can be applied again.")

    def test_undone_in_any_order_all_is_as_before(self) -> None:
        """Apply one by one, undo the first first, then the last first."""
        executor = self.make()
        before = self.state()
        plans = self._plans(executor)
        for order in (plans, plans[::-1]):
            for plan in plans:
                executor.apply([plan])
            for plan in order:
                executor.undo([plan])
            same(executor.observe(), frozenset[str](), "Each undo ends its own effect.")
            same(self.state(), before, "All is as it was before, in whatever order.")

    def test_what_was_never_applied_is_undone_without_harm(self) -> None:
        """Undo what was only planned, as after a crash between the two."""
        executor = self.make()
        before = self.state()
        self._expect(executor.undo(self._plans(executor)), Operation.UNDO)
        same(self.state(), before, "Undoing nothing changes nothing.")

    def test_another_process_sees_and_undoes_what_one_that_is_gone_applied(self) -> None:
        """Apply, forget the executor, verify and undo with another one."""
        executor = self.make()
        before = self.state()
        plans = self._plans(executor)
        executor.apply(plans)
        other = self.again()
        if other is None:
            return
        same(list(other.verify(plans)), [True] * len(plans), "What was applied still verifies.")
        same(other.observe(), self._ids(), "What was applied is still observed.")
        self._expect(other.renew(plans), Operation.RENEW)
        self._expect(other.undo(plans), Operation.UNDO)
        same(self.state(), before, "The plan holds all that undoing it needs.")

    def test_killed_while_it_applies_all_can_be_undone(self) -> None:
        """Kill it at each line, undo with another one."""
        self._killed(lambda executor, plans: executor.apply(plans), applied=False)

    def test_killed_while_it_looks_or_renews_all_can_be_undone(self) -> None:
        """Kill it at each line, undo with another one."""
        self._killed(lambda executor, plans: executor.verify(plans), applied=True)
        self._killed(lambda executor, plans: executor.renew(plans), applied=True)

    def test_killed_while_it_undoes_the_undoing_can_be_ended(self) -> None:
        """Kill it at each line, undo with another one."""
        self._killed(lambda executor, plans: executor.undo(plans), applied=True)

    def test_nothing_asked_is_nothing_done(self) -> None:
        """Give every method an empty batch."""
        executor = self.make()
        given = [executor.plan([]), executor.apply([]), executor.verify([])]
        given += [executor.renew([]), executor.undo([])]
        same([len(entries) for entries in given], [0] * 5, "Nothing is answered with nothing.")
        same(executor.observe(), frozenset[str](), "Nothing was done.")

    def test_a_refusal_is_an_outcome_in_its_place(self) -> None:
        """Plan what cannot be done between what can."""
        impossible = self.impossible()
        if impossible is None:
            return
        executor = self.make()
        first, *others = self.actions()
        answers = executor.plan([first, impossible, *others])
        refusal = answers[1]
        same(len(answers), 2 + len(others), "There is one answer for each action.")
        require(isinstance(refusal, Outcome), "What cannot be done is refused when planned.")
        if isinstance(refusal, Outcome):
            same(refusal.action_id, impossible.action_id, "Answers stand in order.")
            require(not refusal.ok and bool(refusal.detail), "A refusal says why.")
        require(isinstance(answers[0], Plan), "A refusal stops none of the others.")

    def _killed(self, step: Callable[[Executor, Sequence[Plan]], object], *, applied: bool) -> None:
        """Carry a step out in a process that is killed, and undo it with another executor."""
        executor = self.make()
        if self.again() is None:
            return
        before = self.state()
        plans = self._plans(executor)
        total = self._cut(step, plans, None, applied=applied)
        require(total > 0, "A step runs through lines of its own.")
        for line in spread(total, self.crash_points):
            self._cut(step, plans, line, applied=applied)
            survivor = self.again() or executor
            self._expect(survivor.undo(plans), Operation.UNDO)
            same(survivor.observe(), frozenset[str](), f"Nothing is left ({line} of {total}).")
            same(self.state(), before, f"All is as it was before ({line} of {total}).")

    def _cut(
        self,
        step: Callable[[Executor, Sequence[Plan]], object],
        plans: Sequence[Plan],
        line: int | None,
        *,
        applied: bool,
    ) -> int:
        """Carry a step out in a fork that is killed at a line, or to its end to count them."""
        doomed = self.again()
        if doomed is None:
            return 0
        if applied:
            self._expect(doomed.apply(plans), Operation.APPLY)
        if line is None:
            return count_lines(lambda: step(doomed, plans), folder_of(doomed))
        killed_at(lambda: step(doomed, plans), folder_of(doomed), line)
        return line

    def _plans(self, executor: Executor) -> list[Plan]:
        answers = executor.plan(self.actions())
        plans = [answer for answer in answers if isinstance(answer, Plan)]
        same(len(plans), len(self.actions()), f"The sample's actions can be planned: {answers}.")
        require(len(plans) >= 2, "The sample has at least two actions.")
        return plans

    def _ids(self) -> frozenset[str]:
        return frozenset(action.action_id for action in self.actions())

    def _expect(self, outcomes: Sequence[Outcome], operation: Operation) -> None:
        """State that there is one success for each action, in order."""
        same(
            [(outcome.action_id, outcome.operation) for outcome in outcomes],
            [(action.action_id, operation) for action in self.actions()],
            "There is one outcome for each plan, in order.",
        )
        for outcome in outcomes:
            require(outcome.ok, f"{operation.value} succeeds: {outcome.detail}")
