"""A node's links, datagrams and membership as a process of its own: everything real.

``python -m bench.members_node FOLDER NAME ADDRESS SEED,…``; FOLDER holds the node's credential
(`bench.mesh_world` made it). Commands come on standard input, one a line: ``send COUNT GAP_MS``
bulletins to each peer, ``stop``. What happens goes to standard output as JSON lines, each with
`at`, nanoseconds since the machine's boot, which all processes of a machine share.
"""

import asyncio
import gc
import json
import os
import sys
import time
from pathlib import Path

import uvloop

from cronos.config import EgressRule
from cronos.crypto.pki.node import Holder, own_bound
from cronos.crypto.pki.profile import MLDSA
from cronos.crypto.roots.machine import MachineConfig, MachineRoot
from cronos.errors import UnreachableError
from cronos.link.egress import EgressGate
from cronos.mesh.cards import Cards
from cronos.mesh.copies import CopyingMesh
from cronos.mesh.datagrams import SealedDatagrams
from cronos.mesh.streams import GrpcMesh, GrpcMeshConfig
from cronos.mesh.swim import Swim
from cronos.mesh.udp import UdpSocket, split
from cronos.runtime.tasks import AsyncTasks
from cronos.runtime.world import SequenceIds, SystemClock
from cronos.testing.conformance.base import noise
from cronos.types import Bulletin, BulletinKind, Entity, EntityKind, Lane, Peer, encode

CLOCK = SystemClock()


def boot_ns():
    return CLOCK.now().boot_ns


def tell(what, **more):
    print(json.dumps({"what": what, "at": boot_ns(), **more}), flush=True)


class Node:
    """Links, datagrams and membership of one node, put together as the product does."""

    def __init__(self, folder, name, address):
        self.name = name
        self.tasks = AsyncTasks(lambda task, error: tell("failed", task=task, error=repr(error)))
        root = MachineRoot(MachineConfig(), Path(folder) / "machine")
        holder = Holder(Path(folder) / f"node-{name}", root, CLOCK)
        held = holder.membership().credential
        cards = Cards(
            name,
            own_bound(held.keys),
            lambda: held.chains.of(MLDSA),
            held.trust,
            holder.revocations,
            CLOCK,
        )
        host, port = split(address)
        egress = EgressGate([EgressRule(f"10.77.0.{n}", 7443) for n in range(1, 65)])
        streams = GrpcMesh(
            GrpcMeshConfig(listen=address),
            clock=CLOCK,
            tasks=self.tasks,
            egress=egress,
            ids=SequenceIds(name, 1),
            holder=lambda: holder,
            report=lambda level, event, **more: tell("report", level=level, event=event, **more),
        )
        self.datagrams = SealedDatagrams(UdpSocket(host, port), cards, CLOCK, self.tasks)
        self.mesh = streams
        if os.environ.get("CRONOS_BENCH_COPIES", "1") == "1":
            self.mesh = CopyingMesh(streams, self.datagrams, CLOCK, self.tasks)
            self.mesh.stalled_ns = streams.stalled_ns
        me = Peer(name, address, CLOCK.now().wall_ns // 1_000_000, roles=("defense", "audit"))
        self.swim = Swim(me, self.mesh, self.datagrams, CLOCK, self.tasks, self.changed)
        if isinstance(self.mesh, CopyingMesh):
            self.mesh.broken = self.broken
        self.swim.blamed = lambda peer, why, _code="": tell("blamed", peer=peer, why=why)
        self.got = {}
        self.sent, self._send = 0, self.swim._send
        self.swim._send = self.counted

    def counted(self, send):
        """Count what the membership sends, pings and answers, by whatever way."""
        self.sent += 1
        self._send(send)

    async def start(self, seeds):
        """Begin."""
        await self.datagrams.start()
        await self.mesh.start(self.receive, self.linked)
        self.swim.join(seeds)
        tell("started")

    def changed(self, peer, unwitnessed):
        """Tell of a member."""
        tell("changed", peer=peer.instance, status=peer.status, unwitnessed=unwitnessed)

    def broken(self, peer):
        """Tell of a stream that broke, at once."""
        tell("broken", peer=peer)
        self.swim.broken(peer)

    def linked(self, peer, up):
        """Tell of a stream, and hand it on."""
        tell("linked", peer=peer, up=up)
        self.swim.linked(peer, up)

    async def receive(self, peer, lane, data):
        """Note when a bulletin came, and hand the rest on."""
        if lane is Lane.THREAT:
            self.got.setdefault(peer, []).append((int.from_bytes(data[:8], "big"), boot_ns()))
        else:
            await self.swim.receive(peer, lane, data)

    async def send(self, count, gap_s):
        """Send bulletins of the usual length to every peer, at a steady pace."""
        entity = Entity(EntityKind.ADDRESS, "192.0.2.66")
        began_s = time.monotonic()
        sent = refused = 0
        for n in range(count):
            bulletin = Bulletin(
                f"{self.name}-1-b{n}", BulletinKind.ISOLATED, self.name, f"{self.name}-1-i{n}",
                n, entity, entity, ("T0855",), 0.97, None, 600_000_000_000,
            )  # fmt: skip
            data = encode(bulletin) + noise(n, 60)
            for peer in [one.instance for one in self.swim.members()]:
                try:
                    await self.mesh.send(peer, Lane.THREAT, boot_ns().to_bytes(8, "big") + data)
                    sent += 1
                except UnreachableError:
                    refused += 1
            await asyncio.sleep(max(0.0, began_s + (n + 1) * gap_s - time.monotonic()))
        tell("sent", count=sent, refused=refused, bytes=len(data) + 8)

    def say(self):
        """Tell what came, in milliseconds from sending to receiving, and forget it."""
        got, self.got = self.got, {}
        for peer, times in got.items():
            tell("got", peer=peer, ms=[round((came - sent) / 1e6, 3) for sent, came in times])
        copies = getattr(self.mesh, "copies", 0)
        near = len(self.swim._machine.near())
        tell(
            "said",
            copies=copies,
            sent=self.sent,
            near=near,
            members={p.instance: p.status for p in self.swim.members()},
        )


async def main(folder, name, address, *seeds):
    node = Node(folder, name, address)
    await node.start([one for one in seeds if one])
    gc.freeze()
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := (await reader.readline()).decode().split():
        match line:
            case ["send", count, gap_ms]:
                node.tasks.spawn(node.send(int(count), float(gap_ms) / 1000), "send")
            case ["say"]:
                node.say()
            case ["leave"]:
                await node.swim.leave()
            case _:
                break
    os._exit(0)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
