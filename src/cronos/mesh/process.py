"""The mesh process: streams, delivery, copies and membership of one node, put together.

The order in which it begins matters. First the socket, so that the reflex process can meet it; then
whatever needs keys; the links last, for from then on peers are heard. Whatever ends the reflex
process ends this one at once, so that peers see the reset and no acknowledgement outlives it.
"""

import asyncio
import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from cronos.crypto.pki.node import Holder
from cronos.crypto.pki.profile import MLDSA
from cronos.crypto.pki.requests import Bound
from cronos.errors import CronosError, InputError
from cronos.mesh.balance import BUSY, Balance, Burden
from cronos.mesh.batches import MerkleSeals
from cronos.mesh.cards import Cards
from cronos.mesh.copies import CopyingMesh
from cronos.mesh.corelog import CoreLog
from cronos.mesh.courier import Courier
from cronos.mesh.datagrams import SealedDatagrams
from cronos.mesh.delivery import Delivery
from cronos.mesh.engine import EngineMesh
from cronos.mesh.keeper import Copy, Keeper
from cronos.mesh.lookout import EVERY_S, Dialling, Lookout
from cronos.mesh.outbox import Outbox, OutboxConfig
from cronos.mesh.postroom import PostRoom
from cronos.mesh.remarks import Remarks
from cronos.mesh.replica import Own, Replica
from cronos.mesh.serving import SOCKET_NAME, MeshServer
from cronos.mesh.shared import Board
from cronos.mesh.streams import GrpcMesh
from cronos.mesh.swim import Swim
from cronos.mesh.trustbook import TrustBook
from cronos.mesh.udp import UdpSocket, split
from cronos.ports import Clock, KeyProvider, Mesh, Registry, Sealer, Stream, Tasks
from cronos.types import ControlCall, Datum, Peer

# What a peer is reproached with, of all that is reported about it: the rest may be bad luck.
_BLAMED: Final = frozenset(
    {
        "mesh.false_origin",
        "mesh.forged",
        "mesh.false_key",
        "mesh.flooding",
        "mesh.uncertified_role",
    }
)

# So many datagrams of nobody known in so many seconds are told: fewer are left over from restarts.
_STRANGE: Final = 100
_LOOK_S: Final = 5.0
# Whose work it is to keep what others recorded.
_KEEPING: Final = "audit"

Report = Callable[..., None]


class Place(msgspec.Struct, frozen=True):
    """Where this node's mesh process keeps and serves, and what it was told.

    Attributes:
        instance: this node.
        incarnation: rises with each start.
        run: the folder of its socket.
        home: the node's own folder; outbox and copies lie in it.
        seeds: peers to begin with.
        roles: what it does for all by itself.
        listen: where peers reach it, by TCP and UDP.
        copies: how many peers keep each of its records.
    """

    instance: str
    incarnation: int
    run: Path
    home: Path
    seeds: tuple[str, ...]
    roles: tuple[str, ...]
    listen: str
    copies: int = 1


class Ports(msgspec.Struct, frozen=True):
    """What the process is given of the world.

    Attributes:
        mesh: the links, not started.
        holder: opens the node's credential.
        keys: the key agent, asked in threads.
        sealer: of the outbox.
        own: this node's ledger, to be copied.
        copy: gives the copy that is kept in a folder.
        clock: the time.
        tasks: where all of it runs.
        report: told what a person should know.
        registry: where it enters itself and finds others; None where peers are told alone.
        looking_s: how often it looks there.
        bulk: the engine that carries records and bulk; None where the links do.
        core: hears what gRPC says of strangers; None where it is not heard.
    """

    mesh: GrpcMesh
    holder: Callable[[], Holder]
    keys: KeyProvider
    sealer: Sealer
    own: Own
    copy: Callable[[Path], Copy]
    clock: Clock
    tasks: Tasks
    report: Report
    registry: Registry | None = None
    looking_s: float = EVERY_S
    bulk: Stream | None = None
    core: CoreLog | None = None


class MeshProcess:
    """One node's mesh, from `run` until the reflex process is gone.

    Args:
        place: where, and what it was told.
        ports: what it is given.
        gone: called when the reflex process has hung up.

    Attributes:
        report: takes what a person should know, for the log and the ledger; the links' too.
    """

    def __init__(
        self, place: Place, ports: Ports, gone: Callable[[], None] = lambda: os._exit(0)
    ) -> None:
        self._place = place
        self._ports = ports
        self._courier: Courier | None = None
        self._remarks = Remarks(ports.report, ports.clock)
        self.report: Report = self._remarks.report
        self._swim: Swim | None = None
        self._begun = asyncio.Event()
        self._server = MeshServer(
            place.run / SOCKET_NAME, ports.tasks, self._hear, self._answer, gone
        )

    async def run(self, stopped: asyncio.Event) -> None:
        """Serve until told to stop.

        Raises:
            CronosError: it cannot begin: no credential, no keys, a port that is taken.
        """
        holder = await asyncio.to_thread(self._ports.holder)
        cards = await asyncio.to_thread(self._cards, holder)
        await self._server.start()
        await self._server.met.wait()
        self._remarks.tell = self._server.tell
        self._courier = courier = self._assembled(cards)
        await courier.start(self._place.seeds)
        if self._ports.core is not None:
            self._ports.core.told = self._ports.mesh.failed
            self._ports.core.listen()
        self._begun.set()
        self.report("info", "mesh.listening", detail=self._ports.mesh.address)
        lookout = self._looking(courier)
        await stopped.wait()
        await courier.leave()
        if lookout is not None:
            await lookout.ended()
        await self._server.stop()

    def _assembled(self, cards: Cards) -> Courier:
        place, clock, tasks = self._place, self._ports.clock, self._ports.tasks
        host, port = _listening(place.listen)
        datagrams = SealedDatagrams(
            UdpSocket(host, port), cards, clock, tasks, self._ports.mesh.permit
        )
        links, counted = self._links(cards)
        mesh = CopyingMesh(links, datagrams, clock, tasks)
        mesh.stalled_ns = self._ports.mesh.stalled_ns
        me = Peer(place.instance, place.listen, place.incarnation, roles=place.roles)
        courier = Courier(me, mesh, self._server.tell, Board(clock))
        courier.beside.append(datagrams)
        tasks.spawn(self._watch(datagrams), "strange datagrams")
        tasks.spawn(courier.post_again(), "post again")
        kept = place.home / "outbox" / "trust"
        courier.book = TrustBook(place.instance, kept, self._ports.sealer, tasks, self.report)
        courier.members = self._swim = members = Swim(
            me, mesh, datagrams, clock, tasks, courier.changed
        )
        members.blamed = self._blamed
        mesh.broken = members.broken
        balance = Balance(courier.own_roles, lambda: members.loads)
        mesh.chosen = partial(balance.in_turn, "")
        replica = self._replica(mesh)
        replica.ranked = partial(balance.least_loaded, _KEEPING, steps=BUSY)
        courier.delivery = PostRoom(self._delivery(mesh, courier), replica)
        courier.links, courier.counted = self._ports.mesh.states, counted
        members.load = Burden(courier.waiting, place.home / "replica", clock)
        return courier

    async def _watch(self, datagrams: SealedDatagrams) -> None:
        """Tell of datagrams that nobody known has sent: their port answers nobody."""
        before = 0
        while True:
            await asyncio.sleep(_LOOK_S)
            came, before = datagrams.refused - before, datagrams.refused
            if came >= _STRANGE:
                self.report(
                    "warning",
                    "mesh.strange_datagrams",
                    detail=f"{came} datagrams in {_LOOK_S:g} s were of nobody known, or broken.",
                )

    def _links(self, cards: Cards) -> tuple[Mesh, Callable[[], dict[str, int]]]:
        """Give the links, bulk by an engine where there is one, and what is counted of that."""
        ports = self._ports
        if ports.bulk is None:
            return ports.mesh, dict
        by = EngineMesh(ports.mesh, ports.bulk, cards, ports.clock, ports.tasks, self.report)
        return by, lambda: {f"bulk_{name}": count for name, count in by.counts.items()}

    def _looking(self, courier: Courier) -> Lookout | None:
        """Begin to look for peers in the registry, where there is one, until the node leaves."""
        registry, swim = self._ports.registry, self._swim
        if registry is None or swim is None:
            return None
        dialling = Dialling(swim.me, swim.join, swim.alive, swim.release)
        lookout = Lookout(registry, dialling, self.report, self._ports.looking_s)
        courier.beside.append(lookout)
        self._ports.tasks.spawn(lookout.run(), "mesh.lookout")
        return lookout

    def _delivery(self, mesh: Mesh, courier: Courier) -> Delivery:
        place, ports = self._place, self._ports
        folder = place.home / "outbox"
        outbox = Outbox(OutboxConfig(), folder, ports.sealer, ports.clock, place.incarnation)
        delivery = Delivery(
            place.instance,
            place.incarnation,
            mesh,
            outbox,
            MerkleSeals(ports.keys, place.instance, ports.mesh.bound_hash, clock=ports.clock),
            ports.clock,
            ports.tasks,
            courier.heard,
            self._wrong,
        )
        delivery.crowded, delivery.pressed = self._server.crowded, self._server.pressed
        return delivery

    def _replica(self, mesh: Mesh) -> Replica:
        place, ports = self._place, self._ports
        keeper = Keeper(
            mesh, lambda owner: ports.copy(place.home / "replica" / owner), ports.tasks, self._wrong
        )
        return Replica(
            place.instance,
            mesh,
            ports.own,
            keeper,
            ports.clock,
            ports.tasks,
            place.copies,
            self._wrong,
        )

    def _cards(self, holder: Holder) -> Cards:
        def chain() -> tuple[bytes, ...]:
            return holder.membership().credential.chains.of(MLDSA)

        keys, trust = self._ports.keys, holder.membership().credential.trust

        def bound() -> Bound:
            return Bound(keys.public("identity"), partial(keys.sign, "identity"))

        name, clock = self._place.instance, self._ports.clock
        return Cards(name, bound, chain, trust, holder.revocations, clock)

    async def _hear(self, said: Sequence[Datum]) -> None:
        await self._begun.wait()
        try:
            await self._known().hear(said)
        except CronosError as error:
            # It is on its way all the same, and was not said to be durable: it is given again.
            self.report("error", error.code, detail=error.sentence)

    async def _answer(self, call: ControlCall) -> Any:
        return await self._known().answer(call)

    def _known(self) -> Courier:
        if self._courier is None or not self._begun.is_set():
            raise InputError(
                "mesh.not_ready", "The mesh of this node is not up yet.", "Ask again in a moment."
            )
        return self._courier

    def _blamed(self, peer: str, sentence: str, code: str = "mesh.blamed") -> None:
        self._wrong(peer, code, sentence)

    def _wrong(self, peer: str, code: str, sentence: str) -> None:
        self.report("warning", code, peer=peer, detail=sentence)
        if peer and code in _BLAMED and self._courier is not None:
            self._courier.reproach(peer, sentence)


def _listening(address: str) -> tuple[str, int]:
    found = split(address)
    if found is None:
        raise InputError(
            "mesh.bad_listen", f"{address!r:.100} is no HOST:PORT.", "Write one under [mesh]."
        )
    return found
