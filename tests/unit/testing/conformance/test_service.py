"""The service in memory keeps the port's contract."""

from cronos.ports import Service
from cronos.testing.conformance.service import ServiceConformance
from cronos.testing.memory_ops import MemoryService


class TestMemoryService(ServiceConformance):
    async def make(self) -> Service:
        return MemoryService()
