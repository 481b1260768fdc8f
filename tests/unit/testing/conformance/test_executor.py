"""The executor in memory keeps the port's contract; executors that break it are caught."""

from collections.abc import Sequence

import pytest

from cronos.ports import Executor
from cronos.testing.clock import VirtualClock
from cronos.testing.conformance.executor import ReversibleExecutorConformance
from cronos.testing.conformance.samples import deny
from cronos.testing.memory_respond import MemoryExecutor
from cronos.testing.recorders import ExecutorRecorder
from cronos.types import Action, Plan


class TestMemoryExecutor(ReversibleExecutorConformance):
    def make(self) -> Executor:
        return MemoryExecutor(VirtualClock(), frozenset({self.impossible().target}))

    def actions(self) -> Sequence[Action]:
        return [deny("memory", f"192.0.2.{n}") for n in (7, 8, 9)]

    def impossible(self) -> Action:
        return deny("memory", "198.51.100.1")


class TestExecutorRecorder(TestMemoryExecutor):
    def make(self) -> Executor:
        return ExecutorRecorder(super().make())


class _Stacking(MemoryExecutor):
    """Stacks effects, so that one undo is not enough."""

    def __init__(self) -> None:
        super().__init__(VirtualClock())
        self.applied: list[str] = []

    def apply(self, plans):
        self.applied += [plan.action.action_id for plan in plans]
        return super().apply(plans)

    def undo(self, plans: Sequence[Plan]):
        for plan in plans:
            if plan.action.action_id in self.applied:
                self.applied.remove(plan.action.action_id)
        return super().undo(plans)

    def observe(self) -> frozenset[str]:
        return frozenset(self.applied)


def test_an_executor_that_only_says_so_is_caught():
    suite = TestMemoryExecutor()
    suite.make = lambda: MemoryExecutor(VirtualClock(), broken=True)
    with pytest.raises(AssertionError, match="verifies"):
        suite.test_what_is_applied_is_there()


def test_an_executor_that_stacks_effects_is_caught():
    suite = TestMemoryExecutor()
    suite.make = _Stacking
    with pytest.raises(AssertionError, match="One undo"):
        suite.test_applied_twice_is_one_effect()


class _Leftover(MemoryExecutor):
    """Leaves something behind that `observe` does not show."""

    def __init__(self, left: set[str]) -> None:
        super().__init__(VirtualClock())
        self.left = left

    def apply(self, plans: Sequence[Plan]):
        self.left |= {plan.action.action_id for plan in plans}
        return super().apply(plans)


def test_an_executor_that_leaves_something_behind_is_caught():
    left = set()
    suite = TestMemoryExecutor()
    suite.make, suite.state = lambda: _Leftover(left), lambda: frozenset(left)
    with pytest.raises(AssertionError, match="as it was before"):
        suite.test_what_is_undone_is_gone_and_undoing_again_is_harmless()


class _FolderExecutor(MemoryExecutor):
    """Effects are files, written in two steps of which the second tells the undo what to do."""

    def __init__(self, folder) -> None:
        super().__init__(VirtualClock())
        self.folder = folder

    def apply(self, plans: Sequence[Plan]):
        for plan in plans:
            (self.folder / f"{plan.action.action_id}.effect").touch()
            (self.folder / f"{plan.action.action_id}.note").touch()
        return super().apply(plans)

    def undo(self, plans: Sequence[Plan]):
        for plan in plans:
            note = self.folder / f"{plan.action.action_id}.note"
            if note.exists():
                (self.folder / f"{plan.action.action_id}.effect").unlink(missing_ok=True)
                note.unlink()
        return super().undo(plans)

    def verify(self, plans: Sequence[Plan]):
        return [(self.folder / f"{p.action.action_id}.effect").exists() for p in plans]

    def observe(self) -> frozenset[str]:
        return frozenset(path.stem for path in self.folder.glob("*.note"))


def test_an_executor_that_a_kill_between_two_lines_leaves_half_done_is_caught(tmp_path):
    suite = TestMemoryExecutor()
    suite.make = suite.again = lambda: _FolderExecutor(tmp_path)
    suite.state = lambda: sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(AssertionError, match="as it was before"):
        suite.test_killed_while_it_applies_all_can_be_undone()
