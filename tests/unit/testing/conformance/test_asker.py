"""The person in memory keeps the port's contract."""

from cronos.ports import Asker
from cronos.testing.conformance.asker import AskerConformance
from cronos.testing.memory_people import MemoryAsker


class TestMemoryAsker(AskerConformance):
    async def make(self, granted: bool | None) -> Asker:
        return MemoryAsker({} if granted is None else {"test-1-q1": granted})
