"""The model in memory keeps the port's contract."""

from collections.abc import Sequence

from cronos.ports import Model
from cronos.testing.conformance.model import ModelConformance
from cronos.testing.memory_bulk import MemoryModel


class TestMemoryModel(ModelConformance):
    def make(self) -> Model:
        return MemoryModel((1.0, 2.0))

    def usual(self) -> Sequence[float]:
        return (1.0, 2.5)

    def odd(self) -> Sequence[float]:
        return (40.0, -3.0)
