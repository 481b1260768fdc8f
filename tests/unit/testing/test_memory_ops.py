"""The gate remembers every call; a service is as well as it is told to be."""

import asyncio

import pytest

from cronos.errors import DeniedError
from cronos.testing.memory_ops import MemoryEgress, MemoryService


def test_the_gate_remembers_refused_calls_too():
    gate = MemoryEgress()
    with pytest.raises(DeniedError, match=r"siem\.example:443"):
        gate.permit("siem.example", 443, "alerts")
    assert gate.asked == [("siem.example", 443, "alerts")]


def test_a_service_tells_its_ailment():
    async def story() -> str:
        service = MemoryService()
        await service.start()
        service.ailment = "The disk is full."
        return await service.health()

    assert asyncio.run(story()) == "The disk is full."
