"""The lookout: enters, finds, says once when the registry is away, and withdraws."""

import asyncio

from tests.unit.mesh.nodes import until

from cronos.errors import UnreachableError
from cronos.mesh.lookout import MOST_DIALLED, Dialling, Lookout
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


class Watch:
    """A lookout with a membership that only remembers."""

    def __init__(self, registry, every_s=0.01):
        self.joined, self.released, self.reports, self.members = [], [], [], []
        self.registry = registry
        dialling = Dialling(
            lambda: ALPHA, self.joined.extend, lambda: self.members, self.released.extend
        )
        self.lookout = Lookout(
            registry, dialling, lambda *said, **_: self.reports.append(said), every_s
        )

    def look(self, times=1):
        async def story():
            for _ in range(times):
                await self.lookout.look()

        asyncio.run(story())


def test_others_are_dialled_once_and_oneself_never():
    registry = MemoryRegistry()
    registry.enter(BETA)
    watch = Watch(registry)
    watch.look(3)

    assert watch.joined == ["beta@192.0.2.2:7443"]
    assert registry.found() == ("alpha@192.0.2.1:7443", "beta@192.0.2.2:7443")


def test_who_is_a_member_already_needs_no_dialling_and_who_became_one_is_let_go():
    registry = MemoryRegistry()
    registry.enter(BETA)
    registry.enter(Peer("gamma", "192.0.2.3:7443"))
    watch = Watch(registry)
    watch.members = ["gamma"]
    watch.look()
    assert watch.joined == ["beta@192.0.2.2:7443"]
    watch.members = ["beta", "gamma"]
    watch.look()

    assert watch.released == ["beta"]
    watch.members = ["gamma"]
    watch.look()
    assert watch.joined == ["beta@192.0.2.2:7443"] * 2


def test_what_a_registry_makes_up_is_given_up_and_never_takes_more_than_its_room():
    made_up = {f"n{n:03}": f"n{n:03}@192.0.2.9:{n + 1}" for n in range(200)}
    watch = Watch(MemoryRegistry(made_up))
    dialled = []
    for _ in range(40):
        watch.look()
        dialled.append(len(watch.joined) - len(watch.released))

    assert max(dialled) <= MOST_DIALLED
    assert len(set(watch.joined)) > 2 * MOST_DIALLED


def test_who_is_listed_no_more_is_let_go_and_dialled_anew_when_it_is_back():
    registry = MemoryRegistry()
    registry.enter(BETA)
    watch = Watch(registry)
    watch.look()
    registry.withdraw(BETA)
    watch.look()
    registry.enter(BETA)
    watch.look()

    assert watch.released == ["beta"]
    assert watch.joined == ["beta@192.0.2.2:7443"] * 2


def test_a_registry_that_is_away_is_told_once_and_so_is_its_return():
    registry = Away()
    watch = Watch(registry)
    registry.away = True
    watch.look(3)
    registry.away = False
    registry.enter(BETA)
    watch.look(2)

    assert watch.reports == [("warning", "testing.away"), ("info", "mesh.registry_back")]
    assert watch.joined == ["beta@192.0.2.2:7443"]


def test_what_a_registry_makes_up_is_left_out():
    made_up = {"x": "rubbish", "y": "BETA@host:1", "z": "beta@h:99999", "w": "192.0.2.7:1"}
    watch = Watch(MemoryRegistry(made_up))
    watch.look()

    assert watch.joined == []


def test_it_withdraws_when_it_is_stopped():
    registry = MemoryRegistry()
    watch = Watch(registry)

    async def story():
        running = asyncio.ensure_future(watch.lookout.run())
        await until(lambda: registry.found() != ())
        watch.lookout.stop()
        await watch.lookout.ended()
        await running

    asyncio.run(story())

    assert registry.found() == ()
