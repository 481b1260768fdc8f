"""Tasks on the test's own event loop keep the port's contract."""

from collections.abc import Sequence

from cronos.ports import Tasks
from cronos.testing.conformance.tasks import TasksConformance
from cronos.testing.tasks import InlineTasks


class TestInlineTasks(TasksConformance):
    def make(self) -> Tasks:
        return InlineTasks()

    def reported(self, tasks: Tasks) -> Sequence[str]:
        assert isinstance(tasks, InlineTasks)
        return [name for name, _ in tasks.errors]
