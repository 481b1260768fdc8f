"""The double of a root key keeps the port's contract."""

from cronos.ports import RootKey
from cronos.testing.conformance.root_key import RootKeyConformance
from cronos.testing.memory_govern import MemoryRootKey


class TestMemoryRootKey(RootKeyConformance):
    hides = False  # a double

    def make(self) -> RootKey:
        return MemoryRootKey()

    def other(self) -> RootKey:
        return MemoryRootKey(b"another key")
