"""A person and an analyst that live in memory."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from cronos.types import Answer, Assessment, Finding, Incident, Manifest, Question


class MemoryAsker:
    """Answers at once what it was told to answer; all else is silence, so not granted.

    Attributes:
        asked: every question, in order.
    """

    def __init__(self, answers: Mapping[str, bool] | None = None, subject: str = "tester") -> None:
        self._answers = dict(answers or {})
        self._subject = subject
        self.asked: list[Question] = []

    async def ask(self, question: Question) -> Answer:
        """Give the answer that was prepared for this question."""
        self.asked.append(question)
        granted = self._answers.get(question.question_id)
        return Answer(
            question.question_id,
            question.incident_id,
            question.action.action_id,
            granted is True,
            "" if granted is None else self._subject,
        )


class MemoryAnalyst:
    """Says how many findings there are."""

    manifest: ClassVar[Manifest] = Manifest("memory-analyst", "Counts findings.")

    async def assess(self, incident: Incident, findings: Sequence[Finding]) -> Assessment:
        """Give a sentence of ours alone: no foreign text is repeated."""
        return Assessment(
            incident.incident_id,
            self.manifest.name,
            f"{len(findings)} findings.",
            incident.severity,
        )
