"""The sealers keep the port's contract."""

from cronos.govern.sealer import PlaintextConfig, PlaintextSealer
from cronos.ports import Sealer
from cronos.testing.conformance.sealer import SealerConformance
from cronos.testing.memory_govern import MemorySealer


class TestPlaintextSealer(SealerConformance):
    binds = False
    hides = False
    shreds = False

    def make(self) -> Sealer:
        return PlaintextSealer(PlaintextConfig())


class TestMemorySealer(SealerConformance):
    hides = False  # a double

    def make(self) -> Sealer:
        return MemorySealer()
