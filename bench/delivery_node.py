"""A node's delivery as a process of its own: real files and keys; real links in a trust domain.

Where the folder above has a domain (`mesh_domain.make_domain`), nodes speak by gRPC streams with
mutual TLS and sign with the keys that their certificates bind. Else the links are a double.

``python -m bench.delivery_node FOLDER NAME PORT PEER=PORT,…``; commands come on standard input, one
a line: ``post FIRST COUNT [GAP_MS]``, ``write COUNT``, ``recover``, ``say``, ``stop``. What it
knows goes to standard output as JSON lines: what was acknowledged and what was heard, and when
(`at`, nanoseconds since the machine's boot); after ``quiet`` only at ``dump``.
"""

import asyncio
import hashlib
import json
import sys
import threading
import time
from pathlib import Path

from bench.loopback_mesh import LoopbackMesh
from bench.mesh_domain import holder_in

from cronos.config import Config
from cronos.crypto.pki.profile import MLDSA
from cronos.crypto.sealer import EpochsConfig, EpochSealer
from cronos.crypto.signatures import ML_DSA_87, SigningKey
from cronos.errors import CronosError
from cronos.front.keyring import using_keys
from cronos.govern.copies import LedgerCopy, LedgerSource, settle
from cronos.govern.ledger import SqliteConfig, SqliteLedger
from cronos.link.egress import EgressGate
from cronos.mesh.batches import MerkleSeals
from cronos.mesh.delivery import Delivery
from cronos.mesh.keeper import Keeper
from cronos.mesh.outbox import Outbox, OutboxConfig
from cronos.mesh.recovery import Recovery
from cronos.mesh.replica import Replica
from cronos.runtime.tasks import AsyncTasks
from cronos.runtime.world import SequenceIds, SystemClock
from cronos.types import (
    Bulletin,
    BulletinKind,
    Entity,
    EntityKind,
    Lane,
    Receipt,
)

TTL_NS = 600_000_000_000


def key_of(name):
    """Give a node's signing key: a test's nodes know each other's by their names."""
    return SigningKey(ML_DSA_87, hashlib.sha256(name.encode()).digest())


class _Signing:
    def __init__(self, name):
        self._key = key_of(name)

    def public(self, key_id):
        del key_id  # there is one
        return self._key.public

    def sign(self, key_id, message, context):
        del key_id
        return self._key.sign(message, context)


class _Certified:
    """The ML-DSA-87 key that a node's certificate binds."""

    def __init__(self, domain, name):
        self._credential = holder_in(domain, name).membership().credential
        self._key = self._credential.keys.of(MLDSA)

    def public(self, key_id):
        del key_id
        return self._credential.public(MLDSA)

    def sign(self, key_id, message, context):
        del key_id
        return self._key.sign(message, context)


def bound(peer):
    return hashlib.sha384(key_of(peer).public).digest()


def bulletin(origin, incarnation, sequence):
    return Bulletin(
        f"{origin}-{incarnation}-b{sequence}",
        BulletinKind.ISOLATED,
        origin,
        f"{origin}-{incarnation}-i{sequence}",
        sequence,
        Entity(EntityKind.ADDRESS, "192.0.2.7"),
        Entity(EntityKind.ADDRESS, "198.51.100.2"),
        ("T0855",),
        0.97,
        None,
        TTL_NS,
    )


EVENTS = []  # while it is quiet, what would have been said


def note(quiet, **told):
    if quiet:
        EVENTS.append(told)
    else:
        say(**told)


def say(**told):
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


def at():
    return time.clock_gettime_ns(time.CLOCK_BOOTTIME)


class _Process:
    def __init__(self, folder, name, port, peers, keys):
        self.folder, self.name, self.peers = folder, name, peers
        self.clock = SystemClock()
        self.incarnation = self._next_incarnation()
        self.tasks = AsyncTasks(lambda task, error: say(fault=f"{task}: {error!r}"))
        self.domain = folder.parent if (folder.parent / "ca").exists() else None
        self.mesh = self.linked_by(port)
        self.keys = keys
        outbox = Outbox(
            OutboxConfig(),
            folder / "outbox",
            self.sealer("outbox", folder / "outbox"),
            self.clock,
            self.incarnation,
        )
        self.outbox = outbox
        self.delivery = Delivery(
            name,
            self.incarnation,
            self.mesh,
            outbox,
            MerkleSeals(self.signing(), name, self.bound),
            self.clock,
            self.tasks,
            self.heard,
            self.report,
        )
        self.keeper = Keeper(
            self.mesh, lambda owner: LedgerCopy(folder / "replica" / owner), self.tasks, self.report
        )
        self.replica = Replica(
            name,
            self.mesh,
            LedgerSource(folder / "ledger"),
            self.keeper,
            self.clock,
            self.tasks,
            report=self.report,
        )
        self.ledger = None
        self.quiet = False
        self.receipts = {}

    def _next_incarnation(self):
        path = self.folder.parent / f"{self.folder.name}.incarnation"
        number = int(path.read_text()) + 1 if path.exists() else 1
        path.write_text(str(number))
        return number

    def linked_by(self, port):
        if self.domain is None:
            return LoopbackMesh(self.name, self.tasks, port)
        from cronos.mesh.streams import GrpcMesh, GrpcMeshConfig  # noqa: PLC0415 - 0.3 s to load

        self.binds = {}
        return GrpcMesh(
            GrpcMeshConfig(listen=f"127.0.0.1:{port}", drain_s=0),
            clock=self.clock,
            tasks=self.tasks,
            egress=EgressGate(),
            ids=SequenceIds(self.name, self.incarnation),
            holder=lambda: holder_in(self.domain, self.name),
            report=lambda *_words, **_more: None,
        )

    def signing(self):
        return _Signing(self.name) if self.domain is None else _Certified(self.domain, self.name)

    def bound(self, peer):
        if self.domain is None:
            return bound(peer)
        if peer not in self.binds:
            self.binds[peer] = holder_in(self.domain, peer).own().mldsa_hash
        return self.binds[peer]

    def sealer(self, store, folder):
        return EpochSealer(EpochsConfig(), folder, self.keys, self.clock, store)

    def report(self, peer, code, sentence):
        say(report=code, peer=peer, sentence=sentence)

    def heard(self, peer, datum, signed):
        if isinstance(datum, Bulletin):
            note(self.quiet, heard=datum.bulletin_id, signed=signed, at=at())
            if not signed:
                receipt = Receipt(self.name, peer, datum.sequence)
                self.tasks.spawn(self.answer(receipt), "answer")
        else:
            self.receipts[peer] = max(datum.sequence, self.receipts.get(peer, 0))
            note(self.quiet, receipt=datum.sequence, peer=peer, signed=signed, at=at())

    async def answer(self, receipt):
        try:
            await self.delivery.post(receipt, receipt.origin)
        except CronosError as error:
            say(refused=error.code)

    def linked(self, peer, up):
        self.delivery.linked(peer, up)
        self.replica.linked(peer, up)

    async def receive(self, peer, lane, data):
        part = self.replica if lane is Lane.RECORDS else self.delivery
        await part.receive(peer, lane, data)

    async def run(self):
        lines = asyncio.Queue()
        loop = asyncio.get_running_loop()
        threading.Thread(target=self.read, args=(loop, lines), daemon=True).start()
        await self.delivery.start()
        await self.replica.start()
        await self.mesh.start(self.receive, self.linked)
        for peer, port in self.peers.items():
            if peer > self.name:
                self.mesh.connect(peer, f"127.0.0.1:{port}")
        say(ready=True)
        while (line := await lines.get()) != "stop":
            verb, *words = line.split() or [""]
            await getattr(self, f"do_{verb}")(*map(int, words))
        await self.mesh.stop()
        await self.delivery.stop()
        await self.replica.stop()
        await self.tasks.cancel()

    async def do_quiet(self):
        self.quiet = True

    async def do_dump(self):
        for told in EVENTS:
            say(**told)
        EVENTS.clear()
        say(dumped=True)

    async def do_say(self):
        positions, counts = self.replica.positions(), self.delivery.counts
        say(
            acknowledged=positions.acknowledged,
            replicated=positions.replicated,
            waiting={one.peer: one.waiting for one in self.delivery.standings()},
            signed=counts.signed,
            receipts=self.receipts,
            repeated=counts.repeated,
            at=at(),
        )

    def read(self, loop, lines):
        for line in sys.stdin:
            loop.call_soon_threadsafe(lines.put_nowait, line.strip())
        loop.call_soon_threadsafe(lines.put_nowait, "stop")

    async def do_post(self, first, count, gap_ms=0):
        work = []
        began = asyncio.get_running_loop().time()
        for n in range(count):
            work.append(asyncio.get_running_loop().create_task(self.post(first + n)))
            if gap_ms:
                due = began + (n + 1) * gap_ms / 1000
                await asyncio.sleep(max(0, due - asyncio.get_running_loop().time()))
        await asyncio.gather(*work)

    async def post(self, sequence):
        began = at()
        try:
            await self.delivery.post(bulletin(self.name, self.incarnation, sequence))
        except CronosError as error:
            say(refused=error.code)
        else:
            name = f"{self.name}-{self.incarnation}-b{sequence}"
            note(self.quiet, posted=name, began=began, at=at())

    async def do_write(self, count):
        folder = self.folder / "ledger"
        if self.ledger is None:
            self.ledger = SqliteLedger(
                SqliteConfig(self.name), folder, self.sealer("ledger", folder), self.clock
            )
        first = self.ledger.append([b"record %d" % n for n in range(count)])
        say(written=first + count - 1, at=at())

    async def do_recover(self):
        copy = LedgerCopy(self.folder / "ledger.recovering")
        found = await Recovery(self.name, self.mesh, self.replica).run(copy, 15, len(self.peers))
        if found is None:
            say(recovered=0)
            return
        settle(copy, self.folder / "ledger", self.sealer("ledger", copy.folder))
        say(recovered=found.size, peer=found.peer, at=at())


def main():
    folder, name, port = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
    peers = dict(pair.split("=") for pair in sys.argv[4].split(",") if pair)
    with using_keys(Config(), folder.parent / f"{folder.name}.keys", ensure=True) as keys:
        asyncio.run(_Process(folder, name, port, peers, keys).run())


if __name__ == "__main__":
    main()
