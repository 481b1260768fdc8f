"""Bulk by an engine: the lanes `records` and `bulk` of a mesh go by a stream of NATS or RabbitMQ.

The engine is neither trusted nor needed. What it carries is sealed from node to node, with keys
agreed on inside the nodes' own stream (`pairwise`); who writes into it, repeats or keeps back, is
noticed by the numbers inside the seal. Whatever has not arrived after a while, and whatever the
engine did not confirm, goes by the nodes' own stream, as without an engine. Threats, keys and
members never come here.

Rule 1: only a peer that has said hello on this link is sent parts; to any other all goes as ever,
so that a node which recovers, or has no engine, is served too. Rule 2: the first part of a session
goes by stream, and nothing by the engine before it was answered for: so nothing overtakes what went
before. Rule 3: one task sends for each peer and lane, one fetches for each peer; `records` first.
"""

import asyncio
from contextlib import suppress
from typing import Final

from cronos.errors import CronosError, InputError, UnreachableError
from cronos.link.upkeep import Report
from cronos.mesh import enginewire, memberwire
from cronos.mesh.bulk import away
from cronos.mesh.cards import Cards
from cronos.mesh.copies import Receiver
from cronos.mesh.enginewire import LANES, MAGIC, Arrived, Hello, Keys, Notice, Part
from cronos.mesh.pairwise import Pairwise
from cronos.mesh.parts import Incoming, Outgoing, Owed
from cronos.mesh.rates import Rates
from cronos.ports import Clock, Linked, Mesh, Stream, Tasks
from cronos.types import MAX_FRAME_BYTES, Lane

_CONTEXT: Final = b"cronos mesh bulk v1"
_NS: Final = 1_000_000_000
_TICK_S: Final = 0.25
_OFFER_NS: Final = _NS
PATIENCE_NS: Final = 3 * _NS
# After a failure everything goes by stream for so long, doubled with each further one.
_REST_NS: Final = _NS
_MOST_REST_NS: Final = 60 * _NS
_HELD_S: Final = 0.003
# An engine that elects another leader takes longer; the nodes' own stream is there meanwhile.
_CALL_S: Final = 3.0
_FETCHED: Final = 8
_TRIES: Final = 20
_AGAIN_S: Final = 0.05
# A peer that is linked and has not said hello for so long takes no parts any more.
_SILENT_NS: Final = 5 * _NS
_UNKNOWN: Final = -1


class _Peer:
    """One peer that takes parts, or may."""

    def __init__(self, name: str, me: str, session: int) -> None:
        self.name = name
        self.life = _UNKNOWN
        self.greeted = False
        self.gone = False
        self.linked_ns = 0
        self.offered_ns = 0
        self.rests_until_ns = 0
        self.failures = 0
        self.agreed = False
        self.out = {lane: Outgoing(lane, session) for lane in LANES}
        self.into = {lane: Incoming() for lane in LANES}
        self.giving = {lane: asyncio.Lock() for lane in LANES}
        self.room = asyncio.Condition()
        self.wake = {lane: asyncio.Event() for lane in LANES}
        self.notices: dict[Lane, Notice] = {}
        self.noticed = asyncio.Event()
        self.fetched: dict[Lane, int] = dict.fromkeys(LANES, 0)
        self.owes: dict[Lane, bool] = dict.fromkeys(LANES, False)
        self.answers: dict[Lane, bool] = dict.fromkeys(LANES, False)
        self.subjects = {lane: f"mesh.{me}.{name}.{lane.value}" for lane in LANES}
        self.sources = {lane: f"mesh.{name}.{me}.{lane.value}" for lane in LANES}


class EngineMesh:
    """A `Mesh` whose bulk goes by an engine.

    Args:
        mesh: the nodes' own streams.
        stream: the engine.
        cards: whose key signs for whom.
        clock: the time.
        tasks: run beside.
        report: told when the engine falls silent, and when it is back.

    Attributes:
        counts: parts sent by the engine, parts sent by stream, and records that did not open.
    """

    def __init__(
        self, mesh: Mesh, stream: Stream, cards: Cards, clock: Clock, tasks: Tasks, report: Report
    ) -> None:
        self._mesh = mesh
        self._stream = stream
        self._keys = Pairwise(cards, clock, _CONTEXT)
        self._rates = Rates(clock, self._too_often)
        self._me = cards.me
        self._clock = clock
        self._tasks = tasks
        self._report = report
        self._life = self._sessions = 0
        self._peers: dict[str, _Peer] = {}
        self._receive: Receiver | None = None
        self._linked: Linked | None = None
        self._running = False
        self._rests_until_ns = 0
        self._failures = 0
        self.counts = {"engine": 0, "direct": 0, "unopened": 0}

    # --- the port ------------------------------------------------------------------------------

    async def start(self, receive: Receiver, linked: Linked) -> None:
        """Begin; see `Mesh.start`."""
        self._receive, self._linked = receive, linked
        self._running = True
        # Another one after each start: what a peer knew of the one before counts no more.
        self._life = max(self._life + 1, self._clock.now().wall_ns & ((1 << 62) - 1))
        self._sessions = max(self._sessions, self._life)
        self._tasks.spawn(self._tick(), "mesh.engine")
        await self._mesh.start(self._heard, self._relinked)

    def connect(self, peer: str, address: str) -> None:
        """Keep a link; see `Mesh.connect`."""
        self._mesh.connect(peer, address)

    def forget(self, peer: str) -> None:
        """Drop a link and what waits for it; see `Mesh.forget`."""
        self._end(peer)
        self._keys.forget(peer)
        self._mesh.forget(peer)

    def peers(self) -> tuple[str, ...]:
        """Give the peers that are linked; see `Mesh.peers`."""
        return self._mesh.peers()

    async def stop(self) -> None:
        """End; what waits goes by stream, as far as there is time. See `Mesh.stop`."""
        self._running = False
        await self._mesh.stop()
        for peer in tuple(self._peers):
            self._end(peer)
        close = getattr(self._stream, "close", None)
        if close is not None:
            with suppress(CronosError, OSError):
                await close()

    async def send(self, peer: str, lane: Lane, data: bytes) -> None:
        """Send; see `Mesh.send`. On `records` and `bulk` it waits for room."""
        known = self._peers.get(peer)
        if lane not in LANES or known is None or len(data) > MAX_FRAME_BYTES:
            await self._mesh.send(peer, lane, data)
            return
        out = known.out[lane]
        async with known.room:
            while not out.room(len(data)):
                if known.gone or peer not in self._mesh.peers():
                    raise UnreachableError(
                        "mesh.queue_full",
                        f"{len(out.waiting)} parts wait for {peer}, which is not linked.",
                        "See `cronos mesh peers`; it is sent again once the peer is back.",
                    )
                await known.room.wait()
            out.put(data)
        known.wake[lane].set()

    def _too_often(self, peer: str, why: str, code: str) -> None:
        self._report("warning", code, peer=peer, detail=why)

    # --- links ---------------------------------------------------------------------------------

    def _relinked(self, peer: str, up: bool) -> None:
        known = self._peers.get(peer)
        if known is not None:
            known.greeted = False
            known.linked_ns = self._clock.now().boot_ns
        if up:
            self._tasks.spawn(self._greet(peer), f"mesh.engine.greet.{peer}")
        if known is not None and not up:
            self._tasks.spawn(self._notify(known), f"mesh.engine.room.{peer}")
        if self._linked is not None:
            self._linked(peer, up)

    async def _greet(self, peer: str) -> None:
        await self._say(peer, Hello(self._life))

    def _hello(self, peer: str, life: int) -> None:
        """Learn that a peer takes parts; one that was started anew has forgotten what it had."""
        known = self._peers.get(peer) or self._met(peer)
        if known.life not in (life, _UNKNOWN):
            for out in known.out.values():
                self._sessions += 1
                out.anew(self._sessions)
            known.agreed = False
            self._keys.forget(peer)
        known.life, known.greeted = life, True
        self._offer(known)
        for lane in LANES:
            known.wake[lane].set()

    def _met(self, peer: str) -> _Peer:
        self._sessions += 1
        known = self._peers[peer] = _Peer(peer, self._me, self._sessions)
        known.linked_ns = self._clock.now().boot_ns
        for lane in LANES:
            self._tasks.spawn(self._send_all(known, lane), f"mesh.engine.{peer}.{lane.value}")
        self._tasks.spawn(self._fetch_all(known), f"mesh.engine.fetch.{peer}")
        return known

    def _end(self, peer: str) -> None:
        known = self._peers.pop(peer, None)
        if known is not None:
            known.gone = True
            known.noticed.set()
            for lane in LANES:
                known.wake[lane].set()
            self._tasks.spawn(self._notify(known), f"mesh.engine.end.{peer}")

    async def _notify(self, known: _Peer) -> None:
        async with known.room:
            known.room.notify_all()

    def _offer(self, known: _Peer) -> None:
        known.offered_ns = self._clock.now().boot_ns
        self._tasks.spawn(self._offered(known.name), f"mesh.engine.offer.{known.name}")

    async def _offered(self, peer: str) -> None:
        try:
            offer = await self._keys.offer(peer)
        except CronosError as error:
            self._report("warning", error.code, peer=peer, detail=error.sentence)
        else:
            await self._say(peer, Keys(memberwire.pack(offer)))

    async def _say(self, peer: str, said: enginewire.Said, lane: Lane = Lane.BULK) -> bool:
        try:
            await self._mesh.send(peer, lane, enginewire.pack(said))
        except UnreachableError:
            return False
        return True

    async def _tick(self) -> None:
        """A few times a second: keys that are not agreed on, and parts that do not arrive."""
        while self._running:
            now_ns, linked = self._clock.now().boot_ns, set(self._mesh.peers())
            stale = set(self._keys.stale())
            for known in list(self._peers.values()):
                if known.name in linked:
                    self._look(known, now_ns, known.name in stale)
            await asyncio.sleep(_TICK_S)

    def _look(self, known: _Peer, now_ns: int, stale: bool) -> None:
        if not known.greeted:
            if now_ns - known.linked_ns > _SILENT_NS:
                self._end(known.name)  # it was started anew without an engine
            return
        if (stale or not known.agreed) and now_ns - known.offered_ns > _OFFER_NS:
            self._offer(known)
        for lane, out in known.out.items():
            late = list(out.late(now_ns, PATIENCE_NS))
            if late:
                out.again(late)
                known.wake[lane].set()
                self._spare(known, len(late), now_ns)

    # --- what goes -----------------------------------------------------------------------------

    async def _send_all(self, known: _Peer, lane: Lane) -> None:
        while self._running and not known.gone:
            if self._may_send(known, lane):
                await self._send_next(known, lane)
            else:
                await known.wake[lane].wait()
                known.wake[lane].clear()

    def _may_send(self, known: _Peer, lane: Lane) -> bool:
        before = any(known.out[one].unsent for one in LANES[: LANES.index(lane)])
        linked = known.greeted and known.name in self._mesh.peers()
        return linked and bool(known.out[lane].unsent) and not before

    async def _send_next(self, known: _Peer, lane: Lane) -> None:
        out = known.out[lane]
        owed = out.waiting.get(out.unsent[0])
        if owed is None:
            out.unsent.popleft()
            return
        by_engine = out.open and not owed.direct
        position = await self._published(known, owed.part) if by_engine else 0
        if not known.greeted or out.waiting.get(owed.part.number) is not owed:
            return  # the link broke, or it was numbered anew meanwhile: it is sent again
        if not await self._passed(known, owed, position):
            await asyncio.sleep(_AGAIN_S)
            return
        if out.unsent and out.unsent[0] == owed.part.number:
            out.unsent.popleft()
        if not out.unsent:
            for later in LANES:
                known.wake[later].set()

    async def _passed(self, known: _Peer, owed: Owed, position: int) -> bool:
        """Tell where the engine has a part, or send it by stream where it has not."""
        lane = owed.part.lane
        if position:
            self.counts["engine"] += 1
            passed = await self._say(known.name, Notice(lane, position, position))
        else:
            passed = owed.direct = await self._say(known.name, owed.part, lane)
            self.counts["direct"] += passed
        owed.sent_ns = self._clock.now().boot_ns if passed else 0
        return passed

    async def _published(self, known: _Peer, part: Part) -> int:
        """Give a part to the engine; its position there, 0 where it did not take it."""
        awake = self._awake(known, self._clock.now().boot_ns)
        sealed = self._keys.seal(known.name, enginewire.pack(part)) if awake else None
        if sealed is None:
            return 0
        try:
            async with asyncio.timeout(_CALL_S):
                position = await self._stream.publish(known.subjects[part.lane], sealed)
        except (CronosError, TimeoutError) as error:
            self._rest(error)
            return 0
        if self._failures:
            self._failures = 0
            self._report("info", "mesh.engine_back", detail="The engine takes bulk again.")
        return position

    def _awake(self, known: _Peer, now_ns: int) -> bool:
        return now_ns >= max(self._rests_until_ns, known.rests_until_ns)

    def _spare(self, known: _Peer, late: int, now_ns: int) -> None:
        """Send a peer nothing by the engine for a while: what it was given did not arrive.

        Be it the engine's fault or the peer's, the others are not concerned.
        """
        if not known.failures:
            why = f"{late} parts for {known.name} did not arrive by the engine in time."
            self._report("warning", "mesh.parts_late", peer=known.name, detail=why)
        known.rests_until_ns = now_ns + min(_REST_NS << min(known.failures, 6), _MOST_REST_NS)
        known.failures += 1

    def _rest(self, error: Exception) -> None:
        """Leave the engine alone for a while; what goes meanwhile goes by stream."""
        if not self._failures:
            known = error if isinstance(error, CronosError) else away("The engine", error)
            self._report("warning", known.code, detail=known.sentence)
        pause_ns = min(_REST_NS << min(self._failures, 6), _MOST_REST_NS)
        self._failures += 1
        self._rests_until_ns = self._clock.now().boot_ns + pause_ns

    # --- what comes ----------------------------------------------------------------------------

    async def _heard(self, peer: str, lane: Lane, data: bytes) -> None:
        assert self._receive is not None  # noqa: S101 - nothing is heard before `start`
        if lane not in LANES or not data.startswith(MAGIC):
            await self._receive(peer, lane, data)
            return
        try:
            said = enginewire.unpack(data)
        except InputError as error:
            self._report("warning", error.code, peer=peer, detail=error.sentence)
            return
        match said:
            case Hello(life):
                if self._rates.take(peer, "greetings about bulk"):
                    self._hello(peer, life)
            case Part():
                await self._take(peer, said)
            case _:
                await self._told(peer, said)

    async def _told(self, peer: str, said: enginewire.Said) -> None:
        known = self._peers.get(peer)
        if known is None:
            return
        match said:
            case Keys(frame):
                await self._agree(known, frame)
            case Notice():
                before = known.notices.get(said.lane, said)
                first, last = min(before.first, said.first), max(before.last, said.last)
                known.notices[said.lane] = Notice(said.lane, first, last)
                known.noticed.set()
            case Arrived(lane, session, number):
                if known.out[lane].arrived(session, number):
                    known.failures = 0
                    await self._notify(known)
                known.wake[lane].set()
            case _:
                pass

    async def _agree(self, known: _Peer, frame: bytes) -> None:
        try:
            message = memberwire.unpack(frame)
            match message:
                case memberwire.Offer() | memberwire.Agreed() if not self._rates.take(
                    known.name, "offers of keys"
                ):
                    pass
                case memberwire.Offer():
                    answer = await self._keys.accept(known.name, message)
                    await self._say(known.name, Keys(memberwire.pack(answer)))
                case memberwire.Agreed():
                    confirmed = self._keys.agree(known.name, message)
                    known.agreed = True
                    await self._say(known.name, Keys(memberwire.pack(confirmed)))
                case memberwire.Confirmed(short_id):
                    self._keys.confirmed(known.name, short_id)
                case _:
                    pass
        except UnreachableError:
            pass  # its card has not come yet: it offers again
        except CronosError as error:
            self._report("warning", error.code, peer=known.name, detail=error.sentence)

    async def _fetch_all(self, known: _Peer) -> None:
        """Fetch what was told to be there; `records` before `bulk`."""
        while self._running and not known.gone:
            if not known.notices:
                await known.noticed.wait()
                known.noticed.clear()
                continue
            lane = next(one for one in LANES if one in known.notices)
            await self._fetch(known, known.notices.pop(lane))

    async def _fetch(self, known: _Peer, notice: Notice) -> None:
        """Take parts out of the engine's stream up to a position; what is missing comes by stream.

        A position before one that was fetched is of a stream that was begun anew.
        """
        lane = notice.lane
        after = known.fetched[lane]
        if not notice.first - 1 <= after <= notice.last:
            after = notice.first - 1
        for _ in range(_TRIES):
            if after >= notice.last or known.gone or not self._running:
                break
            try:
                count = min(notice.last - after, _FETCHED)
                async with asyncio.timeout(_CALL_S):
                    found = await self._stream.fetch(known.sources[lane], after, count)
            except (UnreachableError, TimeoutError) as error:
                self._rest(error)
                break
            except CronosError:
                break
            for record in found:
                await self._open(known.name, record)
            after += len(found)
            if not found:
                await asyncio.sleep(_AGAIN_S)
        known.fetched[lane] = notice.last

    async def _open(self, peer: str, record: bytes) -> None:
        """Take a record that the engine gave, if this peer sealed it for this node, once."""
        try:
            by, plain = self._keys.open(record)
            part = enginewire.unpack(plain)
        except CronosError:
            self.counts["unopened"] += 1
            return
        if by == peer and isinstance(part, Part):
            await self._take(peer, part)

    async def _take(self, peer: str, part: Part) -> None:
        known = self._peers.get(peer)
        if known is None:
            known = self._met(peer)  # its hello is on its way, on another lane
        assert self._receive is not None  # noqa: S101 - nothing is heard before `start`
        async with known.giving[part.lane]:
            into = known.into[part.lane]
            into.take(part)
            while into.ready:
                await self._receive(peer, part.lane, into.ready.popleft())
        known.owes[part.lane] = True
        if not known.answers[part.lane]:
            known.answers[part.lane] = True
            self._tasks.spawn(self._answer(known, part.lane), f"mesh.engine.held.{peer}")

    async def _answer(self, known: _Peer, lane: Lane) -> None:
        """Say what has arrived; one task, for a peer that takes in no answers must cost no more."""
        try:
            while known.owes[lane] and not known.gone:
                await asyncio.sleep(_HELD_S)
                known.owes[lane] = False
                into = known.into[lane]
                if into.following:
                    await self._say(known.name, Arrived(lane, into.session, into.following - 1))
        finally:
            known.answers[lane] = False
