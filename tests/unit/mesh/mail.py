"""Nodes that deliver to one another over a network in memory, each with a folder of its own."""

import asyncio
import hashlib

from cronos.crypto.signatures import ML_DSA_87, SigningKey
from cronos.mesh.batches import MerkleSeals
from cronos.mesh.delivery import Delivery
from cronos.mesh.outbox import Outbox, OutboxConfig
from cronos.testing.clock import VirtualClock
from cronos.testing.memory_govern import MemorySealer
from cronos.testing.memory_mesh import MemoryNetwork
from cronos.testing.tasks import InlineTasks
from cronos.types import (
    Bulletin,
    BulletinKind,
    Entity,
    EntityKind,
    Lane,
    Receipt,
)

SECOND = 1_000_000_000


def bulletin(origin, sequence, *, incarnation=1, ttl_s=3600, name=""):
    return Bulletin(
        name or f"{origin}-{incarnation}-b{sequence}",
        BulletinKind.ISOLATED,
        origin,
        f"{origin}-{incarnation}-i{sequence}",
        sequence,
        Entity(EntityKind.ADDRESS, "192.0.2.7"),
        Entity(EntityKind.ADDRESS, "198.51.100.2"),
        ("T0855",),
        0.97,
        None,
        ttl_s * SECOND,
    )


class OneKey:
    """A key provider that holds one ML-DSA-87 key."""

    def __init__(self, seed):
        self.key = SigningKey(ML_DSA_87, hashlib.sha256(seed).digest())
        self.signatures = 0

    def public(self, key_id):
        return self.key.public

    def sign(self, key_id, message, context):
        self.signatures += 1
        return self.key.sign(message, context)


class Node:
    """One node: restart it as often as wanted; what it heard stays."""

    def __init__(self, network, name, folder, *, signs=True, clock=None, config=None, sealer=None):
        self.network = network
        self.name = name
        self.folder = folder
        self.signs = signs
        self.clock = clock or VirtualClock()
        self.config = config or OutboxConfig()
        self.sealer = sealer or MemorySealer()
        self.keys = OneKey(name.encode())
        self.bound = {}
        self.heard = []
        self.reports = []
        self.answers = False
        self.incarnation = 0
        self.peers = ()

    async def start(self):
        self.incarnation += 1
        self.tasks = InlineTasks()
        self.mesh = self.network.join(self.name)
        self.outbox = Outbox(
            self.config, self.folder, self.sealer, self.clock, self.incarnation, signs=self.signs
        )
        seals = MerkleSeals(self.keys, self.name, self.bound.get) if self.signs else None
        self.delivery = Delivery(
            self.name,
            self.incarnation,
            self.mesh,
            self.outbox,
            seals,
            self.clock,
            self.tasks,
            self._hear,
            self._report,
        )
        await self.delivery.start()
        await self.mesh.start(self.delivery.receive, self.delivery.linked)
        for peer in self.peers:
            self.mesh.connect(peer, peer)

    async def stop(self):
        await self.mesh.stop()
        await self.delivery.stop()
        await self.tasks.cancel()
        assert self.tasks.errors == []

    async def vanish(self):
        """End without a word, as a killed process does."""
        await self.mesh.stop()
        await self.tasks.cancel()
        self.outbox.close()

    def _hear(self, peer, datum, signed):
        self.heard.append((peer, datum, signed))
        if self.answers and isinstance(datum, Bulletin) and not signed:
            receipt = Receipt(self.name, datum.origin, datum.sequence)
            self.tasks.spawn(self._answer(receipt), "answer")

    async def _answer(self, receipt):
        await self.delivery.post(receipt, receipt.origin)

    def _report(self, peer, code, sentence):
        self.reports.append((peer, code))

    def holds(self, peer):
        """Say whether a peer has acknowledged all that was posted, signatures too."""
        last = max((one.position for one in self.outbox.posted()), default=0)
        told = self.outbox.told(peer)
        return told.held >= last and told.signed >= (last if self.signs else 0)

    def bulletins(self, *, signed=False):
        return [one.bulletin_id for _, one, marked in self.heard
                if isinstance(one, Bulletin) and marked == signed]  # fmt: skip

    def receipts(self, *, signed=False):
        return [one for _, one, marked in self.heard
                if isinstance(one, Receipt) and marked == signed]  # fmt: skip


async def federation(folder, *names, **given):
    network = MemoryNetwork()
    clock = given.pop("clock", None) or VirtualClock()
    nodes = [Node(network, name, folder / name, clock=clock, **given) for name in names]
    for node in nodes:
        node.peers = tuple(one.name for one in nodes if one.name > node.name)
        for other in nodes:
            node.bound[other.name] = hashlib.sha384(other.keys.key.public).digest()
        await node.start()
    return nodes


async def until(holds, *, ticking=(), turns=4_000):
    """Let the loop turn until something holds; real work is done in threads meanwhile."""
    for turn in range(turns):
        if holds():
            return
        if turn % 50 == 49:
            for node in ticking:
                node.delivery.tick()
        await asyncio.sleep(0.001)
    raise AssertionError("it never came to hold")


async def end(*nodes):
    for node in nodes:
        await node.stop()


THREAT = Lane.THREAT
