"""The workflow in memory keeps the port's contract."""

from cronos.ports import Workflow
from cronos.testing.conformance.workflow import WorkflowConformance
from cronos.testing.memory_respond import MemoryWorkflow


class TestMemoryWorkflow(WorkflowConformance):
    def make(self) -> Workflow:
        return MemoryWorkflow(["billing"])

    def workload(self) -> str:
        return "billing"
