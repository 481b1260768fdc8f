"""The gate in memory keeps the port's contract."""

from cronos.ports import Egress
from cronos.testing.conformance.egress import EgressConformance
from cronos.testing.memory_ops import MemoryEgress


class TestMemoryEgress(EgressConformance):
    def make(self, *allowed: tuple[str, int]) -> Egress:
        return MemoryEgress(*allowed)
