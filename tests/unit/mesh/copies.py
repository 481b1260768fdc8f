"""Nodes with a ledger each, that keep copies of one another's."""

import asyncio

from cronos.govern.copies import LedgerCopy, LedgerSource
from cronos.govern.ledger import SqliteConfig, SqliteLedger
from cronos.mesh.keeper import Keeper
from cronos.mesh.recovery import Recovery
from cronos.mesh.replica import Replica
from cronos.testing.clock import VirtualClock
from cronos.testing.memory_govern import MemorySealer
from cronos.testing.memory_mesh import MemoryNetwork
from cronos.testing.tasks import InlineTasks


class Owner:
    """A node that writes a ledger, has it kept, and keeps others'."""

    def __init__(self, network, name, folder, copies=1, max_bytes=1 << 30, sealer=None):
        self.network = network
        self.name = name
        self.folder = folder
        self.copies = copies
        self.max_bytes = max_bytes
        self.sealer = sealer or MemorySealer(name.encode())
        self.clock = VirtualClock()
        self.reports = []
        self.peers = ()
        self.ledger = None

    def write(self, *records):
        if self.ledger is None:
            self.ledger = SqliteLedger(
                SqliteConfig(self.name), self.folder / "ledger", self.sealer, self.clock
            )
        for name in ("epochs", "subjects"):
            path = self.folder / "ledger" / name
            if not path.exists():
                path.write_bytes(f"{name} of {self.name}".encode())
        return self.ledger.append(records)

    def place(self, owner):
        return LedgerCopy(self.folder / "replica" / owner, self.max_bytes)

    async def start(self):
        self.tasks = InlineTasks()
        self.mesh = self.network.join(self.name)
        self.keeper = Keeper(self.mesh, self.place, self.tasks, self._report)
        self.source = LedgerSource(self.folder / "ledger")
        self.replica = Replica(
            self.name,
            self.mesh,
            self.source,
            self.keeper,
            self.clock,
            self.tasks,
            self.copies,
            self._report,
        )
        await self.replica.start()
        await self.mesh.start(self.replica.receive, self.replica.linked)
        for peer in self.peers:
            self.mesh.connect(peer, peer)

    def _report(self, peer, code, sentence):
        self.reports.append((peer, code))

    def codes(self):
        return {code for _, code in self.reports}

    async def stop(self):
        await self.mesh.stop()
        await self.replica.stop()
        await self.tasks.cancel()
        assert self.tasks.errors == []
        self.source.close()

    def recovery(self):
        return Recovery(self.name, self.mesh, self.replica)

    def replicated(self):
        return self.replica.positions().replicated


async def owners(folder, *names, **given):
    network = MemoryNetwork()
    made = [Owner(network, name, folder / name, **given) for name in names]
    for one in made:
        one.peers = tuple(name for name in names if name > one.name)
        await one.start()
    return made


async def until(holds, turns=5_000):
    for _ in range(turns):
        if holds():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it never came to hold")


async def end(*nodes):
    for one in nodes:
        await one.stop()
        if one.ledger is not None:
            one.ledger.close()
