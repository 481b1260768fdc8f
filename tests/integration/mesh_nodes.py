"""Whole mesh processes on the event loop of a test: real streams, datagrams, certificates, ledgers.

What stands in for the reflex process is a connection to the process's own socket.
"""

import asyncio
import shutil
import tempfile
from pathlib import Path

from tests.unit.mesh import grpc_nodes

from cronos.crypto.pki.credential import generate_keys
from cronos.crypto.pki.node import own_bound
from cronos.govern.copies import LedgerCopy, LedgerSource
from cronos.govern.ledger import SqliteConfig, SqliteLedger
from cronos.link.egress import EgressGate
from cronos.link.frames import FrameSplitter, frame
from cronos.link.freeports import free_ports
from cronos.mesh.process import MeshProcess, Place, Ports
from cronos.mesh.serving import SOCKET_NAME
from cronos.mesh.streams import GrpcMesh, GrpcMeshConfig
from cronos.runtime.world import SequenceIds, SystemClock
from cronos.testing.memory_govern import MemorySealer
from cronos.testing.tasks import InlineTasks
from cronos.types import Hello, decode, encode


class IdentityKeys:
    """The key `identity` as the key agent would give it: it outlives certificates, and rotates."""

    def __init__(self, holder):
        self.bound = own_bound(holder.membership().credential.keys)

    def rotate(self):
        self.bound = own_bound(generate_keys())

    def public(self, key_id):
        return self.bound.public

    def sign(self, key_id, message, context):
        return self.bound.sign(message, context)


class WholeNode:
    """A mesh process with its folder, which outlives it; `told` is what the reflex heard."""

    def __init__(self, name, holder=None, clock=None, roles=("defense", "audit"), **settings):
        self.name, self.roles = name, roles
        self.holder = holder or grpc_nodes.holder(name)
        self.clock = clock or SystemClock()
        self.settings = settings
        self.address = f"127.0.0.1:{free_ports(1)[0]}"
        self.home = Path(tempfile.mkdtemp(prefix="crm", dir="/tmp"))
        self.reports = grpc_nodes.Reports()
        self.keys = IdentityKeys(self.holder)
        self.sealer = MemorySealer(name.encode())
        self.incarnation = 0
        self.ledger = None
        self.told = []
        self.tasks = None

    def write(self, *records):
        if self.ledger is None:
            self.ledger = SqliteLedger(
                SqliteConfig(self.name), self.home / "ledger", self.sealer, self.clock
            )
        for name in ("epochs", "subjects"):
            path = self.home / "ledger" / name
            if not path.exists():
                path.write_bytes(f"{name} of {self.name}".encode())
        return self.ledger.append(records)

    async def start(self, *seeds, **more):
        self.incarnation += 1
        self.tasks = InlineTasks()
        streams = {"listen": self.address, "drain_s": 1, **self.settings}
        self.mesh = GrpcMesh(
            GrpcMeshConfig(**streams),
            clock=self.clock,
            tasks=self.tasks,
            egress=EgressGate(),
            ids=SequenceIds(self.name, self.incarnation),
            holder=lambda: self.holder,
            report=self.reports,
        )
        copies = more.pop("copies", 1)
        place = Place(
            self.name, self.incarnation, self.home, self.home, seeds, self.roles, self.address,
            copies,
        )  # fmt: skip
        self.source = LedgerSource(self.home / "ledger")
        ports = Ports(
            self.mesh, lambda: self.holder, self.keys, self.sealer, self.source, LedgerCopy,
            self.clock, self.tasks, self.reports, **more,
        )  # fmt: skip
        self.process = MeshProcess(place, ports, lambda: None)
        self.stopped = asyncio.Event()
        self.running = asyncio.ensure_future(self.process.run(self.stopped))
        await self._greet()

    async def _greet(self):
        path = self.home / SOCKET_NAME
        while not path.exists():
            if self.running.done():
                await self.running
            await asyncio.sleep(0.01)
        self.reader, self.writer = await asyncio.open_unix_connection(str(path))
        self.say(Hello("reflex", 1))
        self.tasks.spawn(self._hear(self.reader), "reflex")

    async def _hear(self, reader):
        splitter = FrameSplitter()
        while data := await reader.read(1 << 16):
            self.told += [decode(one) for one in splitter.feed(data)]

    def say(self, datum):
        self.writer.write(frame(encode(datum)))

    def courier(self):
        return self.process._known()

    def status(self):
        courier = self.process._courier
        return None if courier is None or not courier.started else courier.status()

    def sees(self):
        """Name those who are alive in this node's eyes, itself left out."""
        status = self.status()
        gone = ("dead", "left")
        peers = status["peers"] if status else ()
        return [one["instance"] for one in peers if one["status"] not in gone]

    async def stop(self):
        self.stopped.set()
        await self.running
        await self.end()

    async def vanish(self):
        """End without a word, as a process that was killed does."""
        self.running.cancel()
        await asyncio.gather(self.running, return_exceptions=True)
        self.process._swim.stop()
        await self.mesh.stop()
        for one in self.process._courier.beside:
            if hasattr(one, "keys"):
                one.stop()
        await self.process._courier.delivery.stop()
        await self.process._server.stop()
        await self.end()

    async def end(self):
        await self.tasks.cancel()
        self.writer.close()
        self.source.close()
        assert self.tasks.errors == []

    def forget(self):
        """Remove the folder."""
        if self.ledger is not None:
            self.ledger.close()
            self.ledger = None
        shutil.rmtree(self.home, ignore_errors=True)


async def until(holds, within_s=20.0):
    """Wait until something holds."""
    for _ in range(int(within_s / 0.02)):
        if holds():
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it never came to hold")
