"""Deliveries and copies over real streams: mutual TLS, credits, and keys that certificates bind."""

import asyncio

from tests.unit.mesh.copies import Owner
from tests.unit.mesh.grpc_nodes import Node as Streams
from tests.unit.mesh.grpc_nodes import holder
from tests.unit.mesh.mail import bulletin, until

from cronos.crypto.pki.profile import MLDSA
from cronos.crypto.signatures import ML_DSA_87, VerifyingKey
from cronos.govern.copies import LedgerSource
from cronos.mesh.batches import MerkleSeals
from cronos.mesh.delivery import Delivery
from cronos.mesh.keeper import Keeper
from cronos.mesh.outbox import Outbox, OutboxConfig
from cronos.mesh.postroom import PostRoom
from cronos.mesh.recovery import Recovery
from cronos.mesh.replica import Replica
from cronos.runtime.world import SystemClock
from cronos.testing.memory_govern import MemorySealer
from cronos.testing.memory_mesh import MemoryNetwork
from cronos.types import Bulletin, Receipt

NAMES = ("node-1", "node-2", "node-3")


class CertifiedKey:
    """The ML-DSA-87 key that a node's own certificate binds."""

    def __init__(self, name):
        self._credential = holder(name).membership().credential
        self._key = self._credential.keys.of(MLDSA)

    def public(self, key_id):
        return self._credential.public(MLDSA)

    def sign(self, key_id, message, context):
        return self._key.sign(message, context)


def bound(peer):
    return holder(peer).own().mldsa_hash


class Member:
    """A node with streams, delivery and copies, which can be ended and begun again."""

    def __init__(self, name, folder):
        self.name, self.folder = name, folder
        self.incarnation = 0
        self.heard, self.reports = [], []
        self.files = Owner(MemoryNetwork(), name, folder)

    async def start(self):
        self.incarnation += 1
        self.streams = Streams(self.name)
        tasks, mesh, clock = self.streams.tasks, self.streams.mesh, SystemClock()
        outbox = Outbox(
            OutboxConfig(), self.folder / "outbox", MemorySealer(), clock, self.incarnation
        )
        seals = MerkleSeals(CertifiedKey(self.name), self.name, bound)
        delivery = Delivery(
            self.name, self.incarnation, mesh, outbox, seals, clock, tasks, self.hear, self.report
        )
        keeper = Keeper(mesh, self.files.place, tasks, self.report)
        self.replica = Replica(
            self.name,
            mesh,
            LedgerSource(self.folder / "ledger"),
            keeper,
            clock,
            tasks,
            report=self.report,
        )
        self.room = PostRoom(delivery, self.replica)
        await self.room.start()
        await mesh.start(self.room.receive, self.room.linked)

    async def stop(self):
        await self.streams.mesh.stop()
        await self.room.stop()
        await self.streams.tasks.cancel()
        assert self.streams.tasks.errors == []

    def hear(self, peer, datum, signed):
        self.heard.append((datum, signed))
        if isinstance(datum, Bulletin) and not signed:
            receipt = Receipt(self.name, peer, datum.sequence)
            self.streams.tasks.spawn(self.answer(receipt), "answer")

    async def answer(self, receipt):
        await self.room.post(receipt, receipt.origin)

    def report(self, peer, code, sentence):
        self.reports.append((peer, code))

    def bulletins(self, *, signed):
        return [one.bulletin_id for one, marked in self.heard
                if isinstance(one, Bulletin) and marked == signed]  # fmt: skip

    def receipts(self):
        return {(one.peer, one.sequence) for one, _ in self.heard if isinstance(one, Receipt)}


def test_the_certificates_of_these_nodes_bind_the_keys_that_sign():
    for name in NAMES:
        public = CertifiedKey(name).public("identity")
        VerifyingKey(ML_DSA_87, public).verify(
            b"x", b"cronos-batch-v1", CertifiedKey(name).sign("identity", b"x", b"cronos-batch-v1")
        )


def test_bulletins_receipts_and_records_cross_real_streams_and_catch_up_after_absence(tmp_path):
    async def story():
        one, two, three = (Member(name, tmp_path / name) for name in NAMES)
        for member in (one, two, three):
            await member.start()
        for peer in (two, three):
            one.streams.mesh.connect(peer.name, peer.streams.mesh.address)
        await until(lambda: len(one.streams.mesh.peers()) == 2)
        await asyncio.gather(*(one.room.post(bulletin("node-1", n)) for n in range(1, 501)))
        names = [f"node-1-1-b{n}" for n in range(1, 501)]
        for peer in (two, three):
            await until(lambda peer=peer: peer.bulletins(signed=True) == names, turns=20_000)
            assert peer.bulletins(signed=False) == names
        await until(lambda: {("node-2", 500), ("node-3", 500)} <= one.receipts())

        await two.stop()
        await one.room.post(bulletin("node-1", 501))
        await two.start()
        one.streams.mesh.connect(two.name, two.streams.mesh.address)
        await until(lambda: "node-1-1-b501" in two.bulletins(signed=True), turns=20_000)

        one.files.write(*(b"record %d" % n + bytes(500) for n in range(8_000)))
        await until(lambda: one.room.positions().replicated == 8_000, turns=20_000)
        assert one.room.positions().acknowledged == 8_000
        assert not {code for member in (one, two, three) for _, code in member.reports}

        (keeper,) = one.room.holders()
        await one.stop()
        one.files.ledger.close()
        one.files.ledger = None
        one.folder = one.files.folder = tmp_path / "another"
        await one.start()
        for peer in (two, three):
            one.streams.mesh.connect(peer.name, peer.streams.mesh.address)
        copy = one.files.place("recovering")
        found = await Recovery(one.name, one.streams.mesh, one.replica).run(copy, 10, 2)
        assert (found.peer, found.size) == (keeper, 8_000)
        copy.close()
        for member in (one, two, three):
            await member.stop()

    asyncio.run(story())
