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
