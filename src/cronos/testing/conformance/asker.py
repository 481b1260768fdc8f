"""What every `Asker` must do."""

from typing import ClassVar

from cronos.ports import Asker
from cronos.testing.conformance.base import require, run, same
from cronos.testing.conformance.samples import question
from cronos.types import Answer


class AskerConformance:
    """Subclass and write `make`.

    Attributes:
        deadline_ns: how long a question waits for its answer in these tests.
    """

    deadline_ns: ClassVar[int] = 50_000_000

    async def make(self, granted: bool | None) -> Asker:
        """Give an asker whose person says yes, no, or (None) nothing to question ``test-1-q1``."""
        raise NotImplementedError

    def test_a_yes_names_who_said_it_and_what_was_granted(self) -> None:
        """Grant."""
        answer = run(self._answer(granted=True))
        require(answer.granted, "A yes is a yes.")
        require(bool(answer.subject), "An answer names its person.")
        asked = question(self.deadline_ns)
        same(
            (answer.question_id, answer.incident_id, answer.action_id),
            (asked.question_id, asked.incident_id, asked.action.action_id),
            "An answer is bound to its question and action.",
        )

    def test_a_no_is_a_no(self) -> None:
        """Deny."""
        require(not run(self._answer(granted=False)).granted, "A no is a no.")

    def test_silence_until_the_deadline_is_not_granted(self) -> None:
        """Say nothing."""
        answer = run(self._answer(granted=None))
        require(not answer.granted, "Silence grants nothing, and raises nothing.")
        same(answer.question_id, "test-1-q1", "Silence, too, is an answer to its question.")

    async def _answer(self, *, granted: bool | None) -> Answer:
        asker = await self.make(granted)
        return await asker.ask(question(self.deadline_ns))
