"""The lookout: enters, finds, says once when the registry is away, and withdraws."""

import asyncio

from tests.unit.mesh.nodes import until

from cronos.errors import UnreachableError
from cronos.mesh.lookout import Lookout
from cronos.testing.memory_registry import MemoryRegistry
from cronos.types import Peer

ALPHA = Peer("alpha", "192.0.2.1:7443")
BETA = Peer("beta", "192.0.2.2:7443")


class Away(MemoryRegistry):
    away = False

    def enter(self, me):
        if self.away:
            raise UnreachableError("testing.away", "It is away.", "Wait.")
        super().enter(me)


def lookout(registry):
    joined, reports = [], []
    made = Lookout(registry, lambda: ALPHA, joined.extend, lambda *said, **_: reports.append(said))
    return made, joined, reports


def test_others_are_dialled_once_and_oneself_never():
    registry = MemoryRegistry()
    registry.enter(BETA)
    watch, joined, _ = lookout(registry)

    async def story():
        for _ in range(3):
            await watch.look()

    asyncio.run(story())

    assert joined == ["beta@192.0.2.2:7443"]
    assert registry.found() == ("alpha@192.0.2.1:7443", "beta@192.0.2.2:7443")


def test_a_registry_that_is_away_is_told_once_and_so_is_its_return():
    registry = Away()
    watch, joined, reports = lookout(registry)

    async def story():
        registry.away = True
        for _ in range(3):
            await watch.look()
        registry.away = False
        registry.enter(BETA)
        for _ in range(2):
            await watch.look()

    asyncio.run(story())

    assert reports == [("warning", "testing.away"), ("info", "mesh.registry_back")]
    assert joined == ["beta@192.0.2.2:7443"]


def test_what_a_registry_makes_up_is_left_out():
    registry = MemoryRegistry({"x": "rubbish", "y": "BETA@host:1", "z": "beta@h:99999"})
    watch, joined, _ = lookout(registry)

    asyncio.run(watch.look())

    assert joined == []


def test_it_withdraws_when_it_is_stopped():
    registry = MemoryRegistry()
    watch, _, _ = lookout(registry)

    async def story():
        running = asyncio.ensure_future(watch.run(0.01))
        await until(lambda: registry.found() != ())
        watch.stop()
        await running

    asyncio.run(story())

    assert registry.found() == ()
