"""The mesh process: streams, delivery and membership of one node, put together.

The order in which it begins matters. First the socket, so that the reflex process can meet it; then
whatever needs keys; the links last, for from then on peers are heard. Whatever ends the reflex
process ends this one at once, so that peers see the reset and no acknowledgement outlives it.
"""

import asyncio
import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec

from cronos.crypto.pki.node import Holder
from cronos.crypto.pki.profile import P384
from cronos.crypto.pki.requests import Bound
from cronos.errors import CronosError, InputError
from cronos.mesh.batches import MerkleSeals
from cronos.mesh.cards import Cards
from cronos.mesh.copies import CopyingMesh
from cronos.mesh.courier import Courier
from cronos.mesh.datagrams import SealedDatagrams
from cronos.mesh.delivery import Delivery
from cronos.mesh.outbox import Outbox, OutboxConfig
from cronos.mesh.serving import SOCKET_NAME, MeshServer
from cronos.mesh.shared import Board
from cronos.mesh.streams import GrpcMesh
from cronos.mesh.swim import Swim
from cronos.mesh.udp import UdpSocket, split
from cronos.ports import Clock, KeyProvider, Sealer, Tasks
from cronos.types import ControlCall, Datum, Peer

_GONE: Final = 0
# What a peer is reproached with, of all that its delivery reports: the rest may be bad luck.
_BLAMED: Final = frozenset(
    ("mesh.false_origin", "mesh.forged", "mesh.false_key", "mesh.flooding", "mesh.unsigned")
)

Report = Callable[..., None]


class Place(msgspec.Struct, frozen=True):
    """Where this node's mesh process keeps and serves, and what it was told.

    Attributes:
        instance: this node.
        incarnation: rises with each start.
        run: the folder of its socket.
        home: the node's own folder; its outbox lies in it.
        seeds: peers to begin with.
        roles: what it does for all by itself.
        listen: where peers reach it, by TCP and UDP.
    """

    instance: str
    incarnation: int
    run: Path
    home: Path
    seeds: tuple[str, ...]
    roles: tuple[str, ...]
    listen: str


class MeshProcess:
    """One node's mesh, from `run` until the reflex process is gone.

    Args:
        place: where, and what it was told.
        mesh: the links, not started.
        holder: opens the node's credential.
        keys: the key agent, asked in threads.
        sealer: of the outbox.
        clock: the time.
        tasks: where all of it runs.
        report: told what a person should know.
    """

    def __init__(  # noqa: PLR0913 - its ports, each another one
        self,
        place: Place,
        mesh: GrpcMesh,
        holder: Callable[[], Holder],
        keys: KeyProvider,
        sealer: Sealer,
        clock: Clock,
        tasks: Tasks,
        report: Report,
    ) -> None:
        self._place = place
        self._streams = mesh
        self._holder = holder
        self._keys = keys
        self._sealer = sealer
        self._clock = clock
        self._tasks = tasks
        self._report = report
        self._courier: Courier | None = None
        self._server = MeshServer(
            place.run / SOCKET_NAME, tasks, self._hear, self._answer, lambda: os._exit(_GONE)
        )

    async def run(self, stopped: asyncio.Event) -> None:
        """Serve until told to stop.

        Raises:
            CronosError: it cannot begin: no credential, no keys, a port that is taken.
        """
        await self._server.start()
        await self._server.met.wait()
        self._courier = courier = await self._assembled()
        await courier.start(self._place.seeds)
        (self._place.run / "mesh.port").write_text(
            self._streams.address.rpartition(":")[2], encoding="ascii"
        )
        await stopped.wait()
        await courier.leave()
        await self._server.stop()

    async def _assembled(self) -> Courier:
        place, clock, tasks = self._place, self._clock, self._tasks
        holder = await asyncio.to_thread(self._holder)
        cards = await asyncio.to_thread(self._cards, holder)
        host, port = _listening(place.listen)
        datagrams = SealedDatagrams(UdpSocket(host, port), cards, clock, tasks)
        mesh = CopyingMesh(self._streams, datagrams, clock, tasks)
        me = Peer(place.instance, f"{host}:{port}", place.incarnation, roles=place.roles)
        courier = Courier(me, mesh, self._server.tell, Board(clock))
        courier.beside.append(datagrams)
        members = Swim(me, mesh, datagrams, clock, tasks, courier.changed)
        members.blamed = self._blamed
        outbox = Outbox(
            OutboxConfig(), place.home / "outbox", self._sealer, clock, place.incarnation
        )
        seals = MerkleSeals(self._keys, place.instance, cards.bound_hash)
        courier.delivery = Delivery(
            place.instance,
            place.incarnation,
            mesh,
            outbox,
            seals,
            clock,
            tasks,
            courier.heard,
            self._wrong,
        )
        courier.members = members
        return courier

    def _cards(self, holder: Holder) -> Cards:
        def chain() -> tuple[bytes, ...]:
            return holder.membership().credential.chains.of(P384)

        credential = holder.membership().credential
        bound = Bound(self._keys.public("identity"), partial(self._keys.sign, "identity"))
        return Cards(
            self._place.instance, bound, chain, credential.trust, holder.revocations, self._clock
        )

    async def _hear(self, said: list[Datum]) -> None:
        while self._courier is None or not self._courier.started:
            await asyncio.sleep(0.01)
        try:
            await self._courier.hear(said)
        except CronosError as error:
            self._report("error", error.code, detail=error.sentence)

    async def _answer(self, call: ControlCall) -> Any:
        if self._courier is None or not self._courier.started:
            raise InputError(
                "mesh.not_ready", "The mesh of this node is not up yet.", "Ask again in a moment."
            )
        return await self._courier.answer(call)

    def _blamed(self, peer: str, sentence: str) -> None:
        self._report("warning", "mesh.blamed", peer=peer, detail=sentence)

    def _wrong(self, peer: str, code: str, sentence: str) -> None:
        self._report("warning", code, peer=peer, detail=sentence)
        if peer and code in _BLAMED and self._courier is not None:
            self._courier.reproach(peer, sentence)


def _listening(address: str) -> tuple[str, int]:
    found = split(address)
    if found is None:
        raise InputError(
            "mesh.bad_listen", f"{address!r:.100} is no HOST:PORT.", "Write one under [mesh] listen."
        )
    return found
