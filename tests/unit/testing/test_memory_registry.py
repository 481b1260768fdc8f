"""The registry in memory passes its port's suite."""

from cronos.ports import Registry
from cronos.testing.conformance.registry import RegistryConformance
from cronos.testing.memory_registry import MemoryRegistry


class TestMemoryRegistry(RegistryConformance):
    def make(self) -> tuple[Registry, Registry]:
        registry = MemoryRegistry()
        return registry, registry.client()
