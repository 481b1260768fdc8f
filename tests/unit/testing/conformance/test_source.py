"""The source in memory keeps the port's contract."""

from cronos.ports import Source
from cronos.testing.conformance.source import SourceConformance
from cronos.testing.memory_sense import MemorySource

_DATA = b"one\ntwo\nthree\n" * 20


class TestMemorySource(SourceConformance):
    def make(self) -> Source:
        return MemorySource(_DATA)

    def content(self) -> bytes:
        return _DATA


class TestMemorySourceInPieces(SourceConformance):
    def make(self) -> Source:
        return MemorySource(_DATA, (1, 0, 5, 100, 0, 0))

    def content(self) -> bytes:
        return _DATA
