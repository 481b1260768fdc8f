"""Datagrams between members: sealed for one peer, opened once, straight or through another member.

::

    datagram = version u8 | record (30 bytes more than its plain text: crypto.records)
    plain text = channel u8 | data

Nothing else of a datagram is readable on its way. A datagram that does not open is dropped without
an answer: to strangers the port is silent. Keys are agreed by stream (`pairwise`), so a peer that
has no stream yet gets none.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Final, Protocol, TypeAlias

from cronos.errors import CronosError, DeniedError
from cronos.mesh import relay
from cronos.mesh.cards import Cards
from cronos.mesh.memberwire import Agreed, Card, Confirmed, Message, Offer, pack
from cronos.mesh.pairwise import OVERHEAD, Pairwise
from cronos.mesh.relay import RelayBudget
from cronos.mesh.udp import MAX_DATAGRAM_BYTES, Address, Receive, resolved, split
from cronos.ports import Clock, Tasks

VERSION: Final = 0xC1
RELAY: Final = 0
SWIM: Final = 1
THREAT: Final = 2
# What fits when it is also passed on: sealed twice, with a name in between.
MAX_DATA_BYTES: Final = (
    MAX_DATAGRAM_BYTES - 2 * (1 + OVERHEAD + 1) - relay.HEADER_BYTES - relay.MAX_NAME_BYTES
)
_MAX_PLACES: Final = 4096
_ROUTE_NS: Final = 2_000_000_000
Listener: TypeAlias = Callable[[str, bytes], None]
Permit: TypeAlias = Callable[[str, int], None]
"""Raises a `CronosError` where nothing may be sent; a member chooses what it calls its address."""


class Wire(Protocol):
    """What carries datagrams: `udp.UdpSocket`, or its double in memory."""

    async def start(self, receive: Receive) -> None:
        """Begin to receive."""
        ...

    def send(self, address: Address, data: bytes) -> None:
        """Send one, or lose it."""
        ...

    def stop(self) -> None:
        """End."""
        ...


class Datagrams(Protocol):
    """What the membership and the threat lane ask for: datagrams whose senders are known."""

    cards: Cards

    def listen(self, channel: int, listener: Listener) -> None:
        """Have what arrives on a channel given to `listener`, with who sealed it."""
        ...

    def send(self, peer: str, channel: int, data: bytes, via: str = "") -> bool:
        """Send, through a member where `via` names one; False while there is no key or way."""
        ...

    def place(self, peer: str, address: str) -> None:
        """Learn where a peer is reached, ``host:port``."""
        ...

    async def offer(self, peer: str) -> bytes:
        """Give the frame that begins an agreement on keys, for the lane `keys`, after the card."""
        ...

    async def agree(self, peer: str, message: Message) -> bytes | None:
        """Take a frame of the lane `keys`; give the answer, where there is one."""
        ...

    def stale(self) -> tuple[str, ...]:
        """Give the peers whose keys are due to be made anew."""
        ...

    def heard_ns(self, peer: str) -> int:
        """Say when the last datagram of a peer came, by boot time; 0 for never."""
        ...

    def forget(self, peer: str) -> None:
        """Drop a peer's keys and address."""
        ...


class SealedDatagrams:
    """The port `Datagrams` over a socket.

    Args:
        wire: carries what was sealed.
        cards: this node's card, and the peers'.
        clock: the time.
        tasks: looks addresses up.
        permit: the gate that each address passes before it is looked up.
    """

    def __init__(
        self,
        wire: Wire,
        cards: Cards,
        clock: Clock,
        tasks: Tasks,
        permit: Permit = lambda _host, _port: None,
    ) -> None:
        self.cards = cards
        self.keys = Pairwise(cards, clock)
        self.refused = 0
        self._wire = wire
        self._clock = clock
        self._tasks = tasks
        self._permit = permit
        self._looking: set[str] = set()
        self._listeners: dict[int, Listener] = {}
        self._places: dict[str, Address] = {}
        self._named: dict[Address, str] = {}
        self._spelled: dict[str, str] = {}
        self._routes: dict[str, tuple[str, int]] = {}
        self._heard_ns: dict[str, int] = {}
        self._budget = RelayBudget()

    async def start(self) -> None:
        """Begin to receive."""
        await self._wire.start(self._receive)

    def stop(self) -> None:
        """End."""
        self._wire.stop()

    def listen(self, channel: int, listener: Listener) -> None:
        """Have what arrives on a channel given to `listener`; see `Datagrams`."""
        self._listeners[channel] = listener

    def send(self, peer: str, channel: int, data: bytes, via: str = "") -> bool:
        """Seal and send; see `Datagrams`.

        Raises:
            InputError: `data` is longer than `MAX_DATA_BYTES`.
        """
        sealed = self._sealed(peer, channel, data)
        if sealed is None:
            return False
        if via:
            return self._pass(via, relay.MAX_HOPS, peer, sealed)
        helper, until_ns = self._routes.get(peer, ("", 0))
        if helper and self._clock.now().boot_ns < until_ns:
            # What it sent lately came through another: its answer had better go there too.
            self._pass(helper, relay.MAX_HOPS, peer, sealed)
        return self._out(peer, sealed)

    def place(self, peer: str, address: str) -> None:
        """Learn where a peer is reached; see `Datagrams`."""
        known = self._spelled.get(peer)
        if known == address or (known is None and len(self._spelled) >= _MAX_PLACES):
            return
        self._spelled[peer] = address
        if peer not in self._looking:
            self._looking.add(peer)
            self._tasks.spawn(self._look_up(peer), f"look up {peer}")

    async def offer(self, peer: str) -> bytes:
        """Give a fresh key to seal to; see `Datagrams`."""
        return pack(await self.keys.offer(peer))

    async def agree(self, peer: str, message: Message) -> bytes | None:
        """Take a frame of the lane `keys`; see `Datagrams`.

        Raises:
            DeniedError: it does not hold.
        """
        match message:
            case Card(data):
                held, _ = self.cards.learn(data)
                if held.instance != peer:
                    raise DeniedError(
                        "mesh.another_s_card",
                        f"{peer} shows the card of {held.instance} as its own.",
                        "Its link was verified, so it knows better: take it for compromised.",
                    )
            case Offer():
                return pack(await self.keys.accept(peer, message))
            case Agreed():
                return pack(self.keys.agree(peer, message))
            case Confirmed(short_id):
                self.keys.confirmed(peer, short_id)
            case _:
                pass
        return None

    def stale(self) -> tuple[str, ...]:
        """Give the peers whose keys are due to be made anew; see `Datagrams`."""
        return self.keys.stale()

    def heard_ns(self, peer: str) -> int:
        """Say when a peer was last heard; see `Datagrams`."""
        return self._heard_ns.get(peer, 0)

    def forget(self, peer: str) -> None:
        """Drop a peer's keys and address; see `Datagrams`."""
        self.keys.forget(peer)
        self._budget.forget(peer)
        self._spelled.pop(peer, None)
        self._routes.pop(peer, None)
        self._heard_ns.pop(peer, None)
        address = self._places.pop(peer, None)
        if address is not None and self._named.get(address) == peer:
            del self._named[address]

    async def _look_up(self, peer: str) -> None:
        """Find where a peer is; one question at a time, however often it says another place."""
        found, address = None, ""
        try:
            while (said := self._spelled.get(peer, "")) != address:
                address = said
                found = await resolved(address) if self._permitted(address) else None
        finally:
            self._looking.discard(peer)
        if found is not None:
            self._places[peer] = found
            self._named[found] = peer

    def _permitted(self, address: str) -> bool:
        place = split(address)
        if place is None:
            return False
        try:
            self._permit(*place)
        except CronosError:
            # The dialler asks the same of the same gate, and says so.
            return False
        return True

    def _sealed(self, peer: str, channel: int, data: bytes) -> bytes | None:
        record = self.keys.seal(peer, bytes((channel,)) + data)
        return None if record is None else bytes((VERSION,)) + record

    def _out(self, peer: str, sealed: bytes) -> bool:
        address = self._places.get(peer)
        if address is None:
            return False
        self._wire.send(address, sealed)
        return True

    def _pass(self, helper: str, hops: int, destination: str, sealed: bytes) -> bool:
        asked = self._sealed(helper, RELAY, relay.wrap(hops, destination, sealed))
        return asked is not None and len(asked) <= MAX_DATAGRAM_BYTES and self._out(helper, asked)

    def _receive(self, data: bytes, address: Address) -> None:
        """Take one from the wire; whatever is wrong with it, nobody is told."""
        peer, plain = "", b""
        if data[:1] == bytes((VERSION,)):
            with suppress(CronosError):
                peer, plain = self.keys.open(data[1:])
        if not plain:
            self.refused += 1
            return
        self._heard_ns[peer] = self._clock.now().boot_ns
        if plain[0] == RELAY:
            self._relay(peer, plain[1:])
            return
        self._remember_route(peer, address)
        listener = self._listeners.get(plain[0])
        if listener is not None:
            listener(peer, plain[1:])

    def _remember_route(self, peer: str, address: Address) -> None:
        """Note through whom a peer speaks, where it is not by itself."""
        helper = self._named.get(address, "")
        if not helper or helper == peer:
            self._routes.pop(peer, None)
        else:
            self._routes[peer] = (helper, self._clock.now().boot_ns + _ROUTE_NS)

    def _relay(self, peer: str, data: bytes) -> None:
        try:
            passing = relay.unwrap(data)
        except CronosError:
            self.refused += 1
            return
        mine = passing.destination == self.cards.me
        if mine or not self._budget.take(peer, self._clock.now().boot_ns):
            self.refused += 1
            return
        if self._out(passing.destination, passing.inner) or passing.hops <= 1:
            return
        for helper in sorted(self._places):
            if helper != peer and self.keys.ready(helper):
                self._pass(helper, passing.hops - 1, passing.destination, passing.inner)
                return
