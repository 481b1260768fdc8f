"""Members with certificates of one authority, on an event loop: for the tests of the mesh."""

import asyncio
import functools
import pathlib
import tempfile

from tests.unit.crypto.pki.plant import Plant

from cronos.crypto.pki.node import own_bound
from cronos.crypto.pki.profile import MLDSA
from cronos.mesh.cards import Cards
from cronos.mesh.copies import CopyingMesh
from cronos.mesh.datagrams import SealedDatagrams
from cronos.mesh.swim import Swim
from cronos.mesh.udp import UdpSocket
from cronos.runtime.world import SystemClock
from cronos.testing.memory_mesh import MemoryNetwork
from cronos.testing.tasks import InlineTasks
from cronos.types import Lane, Peer

ROLES = ("defense", "audit")


class Unrevoked:
    """Nothing is revoked, until a test says so."""

    def __init__(self):
        self.revoked = set()

    def is_revoked(self, issuer, serial):
        return serial in self.revoked


@functools.cache
def plant(domain="plant.example"):
    folder = tempfile.TemporaryDirectory(prefix="cronos-mesh-")
    made = Plant(pathlib.Path(folder.name) / "plant", domain, SystemClock())
    made.keep = folder
    return made


@functools.cache
def credential(name, roles=ROLES, domain="plant.example"):
    return plant(domain).joined(name, roles).membership().credential


def cards(name, roles=ROLES, domain="plant.example", clock=None):
    held = credential(name, roles, domain)
    made = Cards(
        name,
        own_bound(held.keys),
        lambda: held.chains.of(MLDSA),
        held.trust,
        Unrevoked,
        clock or SystemClock(),
    )
    made.claim(roles)
    return made


class Lossy:
    """A UDP socket whose network a test can break."""

    def __init__(self):
        self.socket = UdpSocket("127.0.0.1", 0)
        self.sent = []
        self.drops = lambda _address, _data: False

    async def start(self, receive):
        await self.socket.start(receive)

    def send(self, address, data):
        self.sent.append((address, data))
        if not self.drops(address, data):
            self.socket.send(address, data)

    def stop(self):
        self.socket.stop()


class Node:
    """One member: real certificates, real datagrams on loopback, streams in memory."""

    def __init__(self, name, network, roles=ROLES):
        self.name = name
        self.clock = SystemClock()
        self.tasks = InlineTasks()
        self.wire = Lossy()
        self.datagrams = SealedDatagrams(self.wire, cards(name, roles), self.clock, self.tasks)
        self.streams = network.join(name)
        self.mesh = CopyingMesh(self.streams, self.datagrams, self.clock, self.tasks)
        self.roles = roles
        self.changes = []
        self.blamed = []
        self.threats = []
        self.incarnation = 0

    async def start(self, places, *seeds):
        """Begin; streams in memory are dialled by name, datagrams by what `places` says."""
        await self.datagrams.start()
        host, port = self.wire.socket.address
        places[self.name] = f"{host}:{port}"
        self.datagrams.place = functools.partial(self._place, self.datagrams.place, places)
        me = Peer(self.name, self.name, self.incarnation, roles=self.roles)
        self.swim = Swim(me, self.mesh, self.datagrams, self.clock, self.tasks, self._changed)
        self.swim.blamed = lambda peer, why, code="": self.blamed.append((peer, why))
        await self.mesh.start(self._receive, self.swim.linked)
        self.swim.join(())
        for seed in seeds:
            self.mesh.connect(seed, seed)

    def _place(self, place, places, peer, _address):
        if peer in places:
            place(peer, places[peer])

    def _changed(self, peer, unwitnessed):
        self.changes.append((peer, unwitnessed))

    async def _receive(self, peer, lane, data):
        if lane is Lane.THREAT:
            self.threats.append((peer, data))
        else:
            await self.swim.receive(peer, lane, data)

    def sees(self, name):
        return next((str(p.status) for p in self.swim.members() if p.instance == name), "")

    async def stop(self):
        self.swim.stop()
        await self.mesh.stop()
        self.datagrams.stop()
        await self.tasks.cancel()
        assert self.tasks.errors == []


def seals(sender, receiver):
    """Say whether one can seal for another that can open it: the answer to an offer has come."""
    return (
        sender.datagrams.keys.ready(receiver.name) and sender.name in receiver.datagrams.keys._order
    )


async def cluster(*names):
    """Start members that find one another through the first."""
    network, places = MemoryNetwork(), {}
    nodes = {name: Node(name, network) for name in names}
    for name, node in nodes.items():
        await node.start(places, *[one for one in names[:1] if one != name])
    await until(
        lambda: all(
            seals(node, nodes[other]) and node.sees(other) == "alive"
            for name, node in nodes.items()
            for other in names
            if other != name
        )
    )
    return network, nodes


async def stop(nodes):
    for node in nodes.values():
        await node.stop()


async def until(holds, within_s=10.0):
    """Wait until something holds; says what did not."""
    for _ in range(int(within_s / 0.01)):
        if holds():
            return
        await asyncio.sleep(0.01)
    raise AssertionError("it never came true")
