"""What every `Workflow` must do."""

from cronos.errors import CronosError
from cronos.ports import Workflow
from cronos.testing.conformance.base import refused, require


class WorkflowConformance:
    """Subclass and write `make` and `workload`."""

    def make(self) -> Workflow:
        """Give the workflow."""
        raise NotImplementedError

    def workload(self) -> str:
        """Name a workload that can be paused, rerouted and restored."""
        raise NotImplementedError

    def test_it_pauses_reroutes_and_restores(self) -> None:
        """Carry each verb out twice: a repetition is harmless."""
        workflow = self.make()
        for verb in ("pause", "pause", "restore", "reroute", "restore", "restore"):
            require(bool(workflow.adjust(self.workload(), verb)), f"{verb!r} says what was done.")

    def test_a_verb_it_does_not_know_is_refused(self) -> None:
        """Ask for something else."""
        workflow = self.make()
        error = refused(
            CronosError, lambda: workflow.adjust(self.workload(), "explode"), "It is refused."
        )
        require(bool(error.remedy), "The refusal has a remedy.")
