"""The membership at work: drives the machine with the clock, datagrams and streams of one node.

Pings go as sealed datagrams, through a helper where the straight way is silent, and then by stream
as well, for networks that let no UDP pass. Streams are kept to the neighbours; a new one brings
this node's card, an agreement on keys, and all that it knows of the members. Roles are those of
verified cards, which pass from neighbour to neighbour by name first, and whole when asked for.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from typing import Final

from msgspec.structs import replace

from cronos.errors import CronosError, UnreachableError
from cronos.mesh import memberwire
from cronos.mesh.cards import MAX_CARDS
from cronos.mesh.datagrams import MAX_DATA_BYTES, SWIM, Datagrams
from cronos.mesh.membership import Effect, Link, Membership, Send, Sync, Terms, Unlink
from cronos.mesh.memberwire import (
    MAX_HAVE,
    MAX_WANT,
    Agreed,
    Card,
    Have,
    Holding,
    Load,
    Notes,
    Offer,
    Want,
)
from cronos.mesh.rates import Rates
from cronos.mesh.roster import Changed
from cronos.mesh.seeds import Seed, parse_seed
from cronos.ports import Clock, Mesh, Tasks
from cronos.types import Ack, Lane, Peer, PeerStatus, Ping, decode, encode

_MAX_OUTGOING: Final = 4_096
_RENEW_NS: Final = 60_000_000_000
_FAREWELL_S: Final = 0.05
_LOAD_NS: Final = 2_000_000_000
_SHORTEST_S: Final = 0.001
_CARDS: Final = "cards"
# A card that does not hold costs a verification, and was not worth it.
_FALSE_CARD: Final = 4


class Swim:
    """One node's membership.

    Args:
        me: this node; `roles` are those that it holds from the start.
        mesh: streams; this does not start it.
        datagrams: sealed datagrams; this does not start them either.
        clock: the time.
        tasks: runs what waits.
        changed: told of each change, with whether a death is unwitnessed.

    Attributes:
        blamed: told of a peer that was caught at something, at what, and by which error's code.
        load: says how busy this node is, besides its health; neighbours are told every two seconds.
        loads: what each neighbour has said of itself.
    """

    def __init__(
        self,
        me: Peer,
        mesh: Mesh,
        datagrams: Datagrams,
        clock: Clock,
        tasks: Tasks,
        changed: Callable[[Peer, bool], None],
    ) -> None:
        self.blamed: Callable[..., None] = _unheard
        self.load: Callable[[], Load] = Load
        self.loads: dict[str, Load] = {}
        self._told_ns = 0
        seed = clock.now().wall_ns ^ sum(ord(c) << (n % 24) for n, c in enumerate(me.instance))
        self._machine = Membership(replace(me, roles=()), Terms(), seed)
        self._roles = me.roles
        self._mesh = mesh
        self._datagrams = datagrams
        self._clock = clock
        self._tasks = tasks
        self._changed = changed
        self._seeds: set[str] = set()
        self._shown: set[str] = set()
        self._asked: dict[str, set[str]] = {}
        self._rates = Rates(clock, self._too_often)
        self._carded = asyncio.Event()
        self._outgoing: deque[tuple[str, Lane, bytes]] = deque()
        self._wake = asyncio.Event()
        self._sending = asyncio.Event()
        self._running = False
        self._renew_ns = clock.now().boot_ns + _RENEW_NS
        datagrams.listen(SWIM, self._datagram)

    def join(self, seeds: Sequence[str]) -> None:
        """Begin: dial the seeds, ``host:port`` or ``name@host:port``, and look after members.

        Raises:
            InputError: one of them is neither.
        """
        for seed in [parse_seed(text) for text in seeds]:
            self._dial(seed)
        if not self._running:
            self._running = True
            self._tasks.spawn(self._run(), "membership")
            self._tasks.spawn(self._send_all(), "membership streams")
            self.claim(self._roles)

    def alive(self) -> tuple[str, ...]:
        """Name the members that are not known to be gone, sorted; this node is left out."""
        return self._machine.roster.alive()

    def release(self, names: Collection[str]) -> None:
        """Keep seeds no longer for being seeds; who is no member is dialled no more."""
        for name in names:
            self._seeds.discard(name)
            if name not in self._machine.peers:
                self._mesh.forget(name)

    def members(self) -> tuple[Peer, ...]:
        """Give all members that are known, the gone ones too, sorted; this node is left out."""
        return tuple(peer for _, peer in sorted(self._machine.peers.items()))

    def me(self) -> Peer:
        """Give this node as its peers see it, with the roles that it holds."""
        return replace(self._machine.me, roles=self._roles)

    def allowed(self) -> dict[str, tuple[str, ...]]:
        """Give the roles that each member's certificate lets it take, this node's own too."""
        return {held.instance: held.allowed for held in self._datagrams.cards.all()}

    def rtt_ns(self, peer: str) -> int:
        """Give the time that the last ping of a neighbour took, 0 for none."""
        return self._machine.rtt_ns.get(peer, 0)

    def own_load(self) -> Load:
        """Say how busy this node is."""
        return replace(self.load(), health=self._machine.health)

    def claim(self, roles: tuple[str, ...]) -> None:
        """Hold these roles from now on, and tell the others."""
        self._roles = roles
        self._tasks.spawn(self._claim(roles), "claim roles")

    async def leave(self) -> None:
        """Tell the neighbours that this node goes, and stop looking after members."""
        left = replace(self._machine.me, status=PeerStatus.LEFT)
        self._carry(self._machine.restate(left, self._clock.now()))
        self._carry(self._machine.tick(self._clock.now()))
        await asyncio.sleep(_FAREWELL_S)
        self.stop()

    def stop(self) -> None:
        """End without a word."""
        self._running = False
        self._wake.set()
        self._sending.set()

    def linked(self, peer: str, up: bool) -> None:
        """Learn that a stream to a peer stands, or broke."""
        if up:
            self._tasks.spawn(self._greet(peer), f"greet {peer}")
        else:
            self._shown.discard(peer)
            self._asked.pop(peer, None)
            self.loads.pop(peer, None)
        self._carry(self._machine.linked(peer, up, self._clock.now()))

    def broken(self, peer: str) -> None:
        """Look after a peer whose stream broke just now, though datagrams may still come."""
        self._carry(self._machine.linked(peer, False, self._clock.now()))

    async def receive(self, peer: str, lane: Lane, data: bytes) -> None:
        """Take what a peer's membership sent by stream; what does not hold is its blame."""
        try:
            message = memberwire.unpack(data)
            if self._may_say(peer, lane, message):
                await self._take(peer, lane, message)
        except UnreachableError:
            pass  # a card has yet to come, this node's own or the peer's: it is tried again
        except CronosError as error:
            self.blamed(peer, error.sentence, error.code)

    # --- what comes --------------------------------------------------------------------------

    async def _take(self, peer: str, lane: Lane, message: memberwire.Message) -> None:
        match message:
            case Notes(said):
                self._said(peer, said, by_stream=True)
            case Have(cards, load):
                self._wanted(peer, cards)
                if load is not None and peer in self._mesh.peers():
                    self.loads[peer] = load
            case Want(instances):
                self._give(peer, instances)
            case Card(data) if lane is Lane.MEMBERS:
                self._learn(peer, data)
            case _:
                # The answer is believed on this node's card alone, so the card goes before it.
                await self._carded.wait()
                self._show(peer)
                answer = await self._datagrams.agree(peer, message)
                if answer is not None:
                    self._queue(peer, Lane.KEYS, answer)
                if isinstance(message, Card):
                    self._learn(peer, message.data)

    def _datagram(self, peer: str, data: bytes) -> None:
        try:
            said = decode(data)
        except ValueError:
            self.blamed(peer, "it sent a sealed datagram that is no message")
            return
        if isinstance(said, Ping | Ack):
            self._said(peer, said, by_stream=False)

    def _said(self, peer: str, said: Ping | Ack, *, by_stream: bool) -> None:
        effects = self._machine.receive(peer, said, self._clock.now())
        if by_stream:
            # The answer takes the way of the question, beside its own.
            for effect in effects:
                if isinstance(effect, Send) and isinstance(effect.message, Ack):
                    self._queue(peer, Lane.MEMBERS, memberwire.pack(Notes(effect.message)))
        self._carry(effects)

    def _too_often(self, peer: str, why: str, code: str) -> None:
        self.blamed(peer, why, code)  # which is set later than this is made

    def _may_say(self, peer: str, lane: Lane, message: memberwire.Message) -> bool:
        """Count what costs this node a verification, or an answer that is long or signed."""
        match message:
            case Want(instances):
                return self._rates.take(peer, "questions for cards", len(instances))
            case Card(data):
                return self._may_show(peer, data if lane is Lane.MEMBERS else b"")
            case Offer() | Agreed():
                return self._rates.take(peer, "offers of keys")
            case _:
                return True

    # --- cards -------------------------------------------------------------------------------

    def _may_show(self, peer: str, data: bytes) -> bool:
        """Count a card that was not asked for; one that was is free, once."""
        asked = self._asked.get(peer, set())
        name = self._datagrams.cards.named(data) if data and asked else ""
        if name in asked:
            asked.discard(name)
            return True
        return self._rates.take(peer, _CARDS)

    async def _claim(self, roles: tuple[str, ...]) -> None:
        held = await asyncio.to_thread(self._datagrams.cards.claim, roles)
        me = replace(self._machine.me, claim=held.digest)
        self._carry(self._machine.restate(me, self._clock.now()))
        self._tell_cards(self._mesh.peers(), (Holding(held.instance, held.epoch),))
        self._shown.clear()
        first = not self._carded.is_set()
        self._carded.set()
        for peer in self._mesh.peers():
            if first:
                self._show(peer)
            else:
                # Another certificate, and perhaps another key: it shows itself as on a new stream.
                self._tasks.spawn(self._greet(peer), f"greet {peer}")

    def _learn(self, peer: str, data: bytes) -> None:
        cards = self._datagrams.cards
        try:
            held, new = cards.learn(data)
        except CronosError:
            self._rates.charge(peer, _CARDS, _FALSE_CARD)
            raise
        if held.instance != cards.me:
            self._carry(self._machine.grant(held.instance, held.roles))
        if new:
            others = [other for other in self._mesh.peers() if other != peer]
            self._tell_cards(others, (Holding(held.instance, held.epoch),))

    def _tell_cards(self, peers: Sequence[str], cards: tuple[Holding, ...]) -> None:
        for at in range(0, len(cards), MAX_HAVE):
            frame = memberwire.pack(Have(cards[at : at + MAX_HAVE]))
            for peer in peers:
                self._queue(peer, Lane.MEMBERS, frame)

    def _wanted(self, peer: str, cards: Sequence[Holding]) -> None:
        if not self._rates.has(peer, _CARDS):
            return
        known = self._datagrams.cards
        missing = [
            one.instance
            for one in cards
            if (held := known.of(one.instance)) is None
            or (held.epoch < one.epoch and self._rates.take(peer, "newer cards"))
        ]
        asked = self._asked.setdefault(peer, set())
        asked.update(missing[: max(0, MAX_CARDS - len(asked))])
        for at in range(0, len(missing), MAX_WANT):
            wanted = Want(tuple(missing[at : at + MAX_WANT]))
            self._queue(peer, Lane.MEMBERS, memberwire.pack(wanted))

    def _give(self, peer: str, instances: Sequence[str]) -> None:
        for instance in instances:
            held = self._datagrams.cards.of(instance)
            if held is not None:
                self._queue(peer, Lane.MEMBERS, memberwire.pack(Card(held.packed)))

    def _renew(self, boot_ns: int) -> None:
        """Once a minute: follow certificates that end or were renewed, and make old keys anew."""
        if boot_ns < self._renew_ns:
            return
        self._renew_ns = boot_ns + _RENEW_NS
        cards = self._datagrams.cards
        for instance in cards.lapse():
            self._carry(self._machine.grant(instance, ()))
            self._datagrams.forget(instance)
        if cards.outdated():
            self.claim(self._roles)
        for peer in self._datagrams.stale():
            if peer in self._mesh.peers():
                self._tasks.spawn(self._greet(peer), f"greet {peer}")

    def _tell_load(self, boot_ns: int) -> None:
        """Every two seconds: tell the neighbours how busy this node is."""
        if boot_ns - self._told_ns < _LOAD_NS:
            return
        self._told_ns = boot_ns
        frame = memberwire.pack(Have((), self.own_load()))
        for peer in self._mesh.peers():
            self._queue(peer, Lane.MEMBERS, frame)

    # --- what goes ---------------------------------------------------------------------------

    async def _greet(self, peer: str) -> None:
        """Show this node's card on a new stream, and offer a key; no key without a card."""
        await self._carded.wait()
        self._show(peer)
        with suppress(UnreachableError):  # its key was rotated: the card to come brings an offer
            self._queue(peer, Lane.KEYS, await self._datagrams.offer(peer))
        every = self._datagrams.cards.all()
        self._tell_cards((peer,), tuple(Holding(one.instance, one.epoch) for one in every))

    def _show(self, peer: str) -> None:
        own = self._datagrams.cards.of(self._datagrams.cards.me)
        if own is not None and peer not in self._shown:
            self._shown.add(peer)
            self._queue(peer, Lane.KEYS, memberwire.pack(Card(own.packed)))

    def _dial(self, seed: Seed) -> None:
        self._seeds.add(seed.name)
        self._mesh.connect(seed.name, seed.address)

    def _carry(self, effects: Sequence[Effect]) -> None:
        """Carry out what the machine asks for."""
        for effect in effects:
            match effect:
                case Send():
                    self._send(effect)
                case Changed(peer, unwitnessed):
                    self._note(peer, unwitnessed)
                case Link(peer):
                    self._link(peer)
                case Unlink(name):
                    if name not in self._seeds:
                        self._mesh.forget(name)
                        self._datagrams.forget(name)
                case Sync(to, updates):
                    ping = Ping(0, self._machine.me.instance, updates)
                    self._queue(to, Lane.MEMBERS, memberwire.pack(Notes(ping)))
        self._wake.set()

    def _link(self, peer: Peer) -> None:
        self._datagrams.place(peer.instance, peer.address)
        try:
            self._mesh.connect(peer.instance, peer.address)
        except CronosError:
            # Others chose these words; if they are no address nobody is there.
            self.blamed(peer.instance, "its address is none")

    def _note(self, peer: Peer, unwitnessed: bool) -> None:
        cards = self._datagrams.cards
        if peer.instance == cards.me:
            return
        self._datagrams.place(peer.instance, peer.address)
        held = cards.of(peer.instance)
        if held is not None and held.roles != peer.roles:
            self._machine.grant(peer.instance, held.roles)
            peer = replace(peer, roles=held.roles)
        self._changed(peer, unwitnessed)

    def _send(self, send: Send) -> None:
        data = encode(send.message)
        sent = len(data) <= MAX_DATA_BYTES
        sent = sent and self._datagrams.send(send.to, SWIM, data, send.via)
        if send.via or not sent:
            self._queue(send.to, Lane.MEMBERS, memberwire.pack(Notes(send.message)))

    def _queue(self, peer: str, lane: Lane, data: bytes) -> None:
        # A flood of questions loses its answers; what waits already goes out.
        if len(self._outgoing) < _MAX_OUTGOING:
            self._outgoing.append((peer, lane, data))
        self._sending.set()

    async def _send_all(self) -> None:
        """Send what is queued for streams, in order; what nobody takes is lost."""
        while self._running:
            self._sending.clear()
            while self._outgoing:
                peer, lane, data = self._outgoing.popleft()
                if peer in self._mesh.peers():
                    with suppress(CronosError):
                        await self._mesh.send(peer, lane, data)
            await self._sending.wait()

    async def _run(self) -> None:
        """Turn the machine whenever it is due."""
        while self._running:
            self._wake.clear()
            now = self._clock.now()
            self._carry(self._machine.tick(now))
            self._renew(now.boot_ns)
            self._tell_load(now.boot_ns)
            self._wake.clear()
            wait_s = (self._machine.due_ns() - self._clock.now().boot_ns) / 1e9
            with suppress(TimeoutError):
                async with asyncio.timeout(max(wait_s, _SHORTEST_S)):
                    await self._wake.wait()


def _unheard(peer: str, why: str, code: str = "") -> None:
    del peer, why, code
