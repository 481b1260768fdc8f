"""The stream in memory keeps the port's contract."""

from cronos.ports import Stream
from cronos.testing.conformance.stream import StreamConformance
from cronos.testing.memory_bulk import MemoryStream


class TestMemoryStream(StreamConformance):
    async def make(self) -> Stream:
        return MemoryStream()
