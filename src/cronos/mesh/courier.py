"""The courier: what the mesh process does between the reflex process and the peers.

It joins three machines: the `Mesh` that carries bytes, the delivery that loses nothing, and the
membership that knows who lives. Rule 1: nothing is taken from a peer before the reflex process is
there to take it. Rule 2: who speaks is whom the link has verified; a message in another's name is
its carrier's forgery. Rule 3: when the reflex process is gone, so is this one.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, Protocol

import msgspec

from cronos.errors import CronosError, InputError
from cronos.mesh.health import health
from cronos.mesh.memberwire import Load
from cronos.mesh.replica import Positions
from cronos.mesh.shared import Board
from cronos.mesh.standing import Counts, Standing
from cronos.mesh.streams import LinkState
from cronos.mesh.trustbook import TrustBook
from cronos.mesh.udp import split
from cronos.ports import Mesh
from cronos.types import (
    Bulletin,
    ControlCall,
    Datum,
    Lane,
    Members,
    Peer,
    PeerStatus,
    Publish,
    Receipt,
    Reproach,
)

_GONE: Final = frozenset({PeerStatus.DEAD, PeerStatus.LEFT})
_MEMBERSHIP: Final = frozenset({Lane.KEYS, Lane.MEMBERS})
_REMEMBERED: Final = 100_000
_AGAIN_S: Final = 1.0
FORGED: Final = "it spoke in another's name"


class Delivers(Protocol):
    """What the courier asks of the delivery."""

    @property
    def counts(self) -> Counts:
        """What became of messages, since this process began."""
        ...

    def positions(self) -> Positions:
        """Say up to where this node's records are acknowledged, and replicated."""
        ...

    async def start(self) -> None:
        """Open what is kept, and hand over again what still counts."""
        ...

    async def stop(self) -> None:
        """End: what was posted is stored."""
        ...

    async def post_all(self, messages: Sequence[tuple[Bulletin | Receipt, str]]) -> list[int]:
        """Send each to one peer, or to all; returns once they are durable."""
        ...

    def own(self) -> Iterator[Bulletin]:
        """Give the bulletins of this node that wait for peers."""
        ...

    async def post_again(self, messages: Sequence[tuple[Bulletin | Receipt, str]]) -> None:
        """Post those that have no place yet; returns once all of them are durable."""
        ...

    async def receive(self, peer: str, lane: Lane, data: bytes) -> None:
        """Take what a peer's delivery sent."""
        ...

    def linked(self, peer: str, up: bool) -> None:
        """Learn that a peer can be reached, or no more."""
        ...

    def members(self, instances: Sequence[str]) -> None:
        """Learn who lives: for whom what is told to all waits."""
        ...

    def forget(self, peer: str) -> None:
        """Wait for a peer no more."""
        ...

    def standings(self) -> Sequence[Standing]:
        """Say how each peer is doing."""
        ...


class KnowsMembers(Protocol):
    """What the courier asks of the membership."""

    def join(self, seeds: Sequence[str]) -> None:
        """Begin, with the addresses that are known."""
        ...

    async def receive(self, peer: str, lane: Lane, data: bytes) -> None:
        """Take what a peer's membership sent."""
        ...

    def linked(self, peer: str, up: bool) -> None:
        """Learn that a peer can be reached, or no more."""
        ...

    def members(self) -> tuple[Peer, ...]:
        """Give all that is known of the others, the dead too."""
        ...

    def allowed(self) -> dict[str, tuple[str, ...]]:
        """Give the roles that each member's certificate lets it take, this node's own too."""
        ...

    def rtt_ns(self, peer: str) -> int:
        """Give the time that the last ping took, 0 for none."""
        ...

    def own_load(self) -> Load:
        """Say how busy this node is."""
        ...

    @property
    def loads(self) -> Mapping[str, Load]:
        """What neighbours have said of themselves."""
        ...

    async def leave(self) -> None:
        """Tell the others good-bye."""
        ...


class Courier:
    """Carries what the reflex process says to the peers, and back.

    Args:
        me: this node; its roles are those that it takes by itself.
        mesh: the links.
        tell: gives the reflex process a datum.
        board: what is shared just now.

    Attributes:
        links: says how each link stands, breaker and all; set before `start` where it is known.
        counted: gives further counts for the status.
        book: keeps what peers' words are worth, where one is set before `start`.
        delivery: set before `start`.
        members: set before `start`.
        beside: started before the links and stopped after them.
    """

    delivery: Delivers
    members: KnowsMembers

    def __init__(self, me: Peer, mesh: Mesh, tell: Callable[[Datum], None], board: Board) -> None:
        self.beside: list[Any] = []
        self.book: TrustBook | None = None
        self.links: Callable[[], Sequence[LinkState]] = tuple
        self.counted: Callable[[], Mapping[str, int]] = dict
        self.started = False
        self._me = me
        self._mesh = mesh
        self._tell = tell
        self._board = board
        self._view: Members | None = None
        self._heard: OrderedDict[tuple[str, str], None] = OrderedDict()
        self._left = False
        self._owed: OrderedDict[int, Publish] = OrderedDict()
        self._owing = asyncio.Event()
        self._durable = self._said = 0

    async def start(self, seeds: Sequence[str]) -> None:
        """Begin to take from peers; the reflex process must be there."""
        if self.book is not None:
            for known in await self.book.open():
                self._tell(known)
        for one in self.beside:
            await one.start()
        await self.delivery.start()
        for one in self.delivery.own():
            self._tell(one)  # what an earlier life told: its record may have been lost with it
        await self._mesh.start(self._receive, self._linked)
        self.members.join(seeds)
        self.started = True
        self.changed(self._me, False)

    async def hear(self, said: Sequence[Datum]) -> None:
        """Take what the reflex process says, in its order."""
        published = [one for one in said if isinstance(one, Publish)]
        for one in published:
            if isinstance(one.message, Bulletin):
                self._board.put(one.message)
        if self.book is not None:
            for told in said:
                if isinstance(told, Reproach):
                    self.book.keep(told)
        bulletins = {
            one.message.sequence: one for one in published if isinstance(one.message, Bulletin)
        }
        try:
            await self.delivery.post_all([(one.message, one.to) for one in published])
        except CronosError:
            # Which of them found no place, or no disk, is not known: all of them are owed.
            self._owed.update(bulletins)
            while len(self._owed) > _REMEMBERED:
                self._owed.popitem(last=False)
            self._owing.set()
            raise
        self._say_durable(max(bulletins, default=0))

    async def post_again(self) -> None:
        """Post what was refused until it is durable, for as long as this process lives."""
        while True:
            await self._owing.wait()
            await asyncio.sleep(_AGAIN_S)
            owed = dict(self._owed)
            with suppress(CronosError):  # it was told when it was refused first
                await self.delivery.post_again([(one.message, one.to) for one in owed.values()])
                for sequence in owed:
                    self._owed.pop(sequence, None)
                if not self._owed:
                    self._owing.clear()
                self._say_durable(max(owed, default=0))

    def _say_durable(self, sequence: int) -> None:
        """Say, in its own name, up to where this node holds what it tells, for good.

        That is cumulative, so it ends before the first that is owed.
        """
        self._durable = max(self._durable, sequence)
        upto = min(self._durable, next(iter(self._owed), self._durable + 1) - 1)
        if upto > self._said:
            self._said, name = upto, self._me.instance
            self._tell(Receipt(name, name, upto))

    def heard(self, peer: str, datum: Datum, signed: bool) -> None:
        """Hand on what a peer's delivery brought, once, if it speaks for itself."""
        match datum:
            case Bulletin(origin=speaker, bulletin_id=name) if speaker == peer:
                # Ids are no secret: one of another member's, said first, must not stand for its.
                if (peer, name) not in self._heard:
                    self._board.put(datum)
                    self._tell(datum)
                    self._heard[peer, name] = None
                    if len(self._heard) > _REMEMBERED:
                        self._heard.popitem(last=False)
            case Receipt(peer=speaker) if speaker == peer:
                if not signed:  # the first time; that it is signed as well changes nothing
                    self._tell(datum)
            case Bulletin() | Receipt():
                self._tell(Reproach(peer, FORGED))
            case _:
                pass

    def reproach(self, peer: str, why: str) -> None:
        """Report what a peer was caught at."""
        self._tell(Reproach(peer, why))

    def own_roles(self) -> dict[str, tuple[str, ...]]:
        """Give the roles that each member has by itself."""
        return {one.instance: one.roles for one in self._known()}

    def waiting(self) -> int:
        """Count what waits for peers."""
        return sum(one.waiting for one in self.delivery.standings())

    def changed(self, peer: Peer, unwitnessed: bool) -> None:
        """Take a change of the membership."""
        del unwitnessed
        if peer.status is PeerStatus.LEFT:
            self.delivery.forget(peer.instance)
        if not self.started:
            return
        alive = [one for one in self._known() if one.status not in _GONE]
        instances = tuple(sorted(one.instance for one in alive))
        roles = {one.instance: one.roles for one in (*alive, self._me)}
        places = sorted({place[0] for one in alive if (place := split(one.address))})
        view = Members(instances, roles, self.members.allowed(), tuple(places))
        if view != self._view:
            self._view = view
            self.delivery.members(instances)
            self._tell(view)

    async def leave(self) -> None:
        """Tell the peers good-bye, send what is queued, and end; the node goes on alone."""
        if self._left or not self.started:
            return
        self._left = True
        await self.members.leave()
        await self._mesh.stop()
        await self.delivery.stop()
        if self.book is not None:
            await self.book.flush()
        for one in reversed(self.beside):
            one.stop()
        self.changed(self._me, False)

    async def answer(self, call: ControlCall) -> Any:
        """Answer a person's command.

        Raises:
            InputError: it is not understood.
        """
        match call.verb:
            case "status":
                return self.status()
            case "indicators":
                words = msgspec.json.decode(call.argument or b"{}", type=dict[str, int])
                return self._board.indicators(max(0, words.get("first", 0)))
            case "leave":
                await self.leave()
                return {**self.status(), "left": True}
            case _:
                raise InputError(
                    "mesh.unknown_verb",
                    f"The mesh does not understand {call.verb!r:.80}.",
                    "Use `cronos mesh` of the version that the node has.",
                )

    def status(self) -> dict[str, Any]:
        """Say how this node and each member stand."""
        allowed, linked = self.members.allowed(), set(self._mesh.peers())
        standings = {one.peer: one for one in self.delivery.standings()}
        links = {one.peer: one for one in self.links()}
        peers = [
            {**self._peer(one, allowed, linked, standings), **self._state(one, links)}
            for one in self._known()
        ]
        counts = {**msgspec.to_builtins(self.delivery.counts), **self.counted()}
        load = self.members.own_load()
        return {
            "health": health(peers, load),
            "load": msgspec.structs.asdict(load),
            "node": self._me.instance,
            "address": self._me.address,
            "incarnation": self._me.incarnation,
            "view": len(self._view.instances if self._view else ()) + 1,
            "roles": self._me.roles,
            "allowed": allowed.get(self._me.instance, ()),
            "peers": peers,
            "counts": counts,
            "records": msgspec.to_builtins(self.delivery.positions()),
        }

    def _peer(
        self,
        peer: Peer,
        allowed: dict[str, tuple[str, ...]],
        linked: set[str],
        standings: dict[str, Standing],
    ) -> dict[str, Any]:
        name, standing = peer.instance, standings.get(peer.instance)
        return {
            "instance": name,
            "address": peer.address,
            "status": peer.status.value,
            "incarnation": peer.incarnation,
            "linked": name in linked,
            "roles": peer.roles,
            "allowed": allowed.get(name, ()),
            "rtt_ms": self.members.rtt_ns(name) / 1e6,
            "queued": standing.waiting if standing is not None else 0,
            "held": standing.held if standing is not None else 0,
            "signed": standing.signed if standing is not None else 0,
        }

    def _state(self, peer: Peer, links: dict[str, LinkState]) -> dict[str, Any]:
        link, load = links.get(peer.instance), self.members.loads.get(peer.instance)
        return {
            "breaker": link.breaker if link is not None else "",
            "trouble": link.trouble if link is not None else "",
            "load": msgspec.structs.asdict(load) if load is not None else None,
        }

    def _known(self) -> list[Peer]:
        """Give the others; who has left knows nobody any more."""
        if self._left:
            return []
        return [one for one in self.members.members() if one.instance != self._me.instance]

    async def _receive(self, peer: str, lane: Lane, data: bytes) -> None:
        machine = self.members if lane in _MEMBERSHIP else self.delivery
        await machine.receive(peer, lane, data)

    def _linked(self, peer: str, up: bool) -> None:
        self.members.linked(peer, up)
        self.delivery.linked(peer, up)
