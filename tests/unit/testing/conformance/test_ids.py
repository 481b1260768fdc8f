"""Counted identifiers keep the port's contract, across a restart too."""

from collections.abc import Sequence

from cronos.ports import Ids
from cronos.testing.clock import SequenceIds
from cronos.testing.conformance.ids import IdsConformance


class TestSequenceIds(IdsConformance):
    def make(self) -> Ids:
        return SequenceIds()

    def incarnations(self) -> Sequence[Ids]:
        return [SequenceIds(incarnation=n) for n in (1, 2, 3)]
