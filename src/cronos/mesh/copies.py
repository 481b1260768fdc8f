"""The threat lane under loss: each message by stream and as datagrams, until it was answered for.

A stream that loses a packet holds up all behind it, for a fifth of a second and more. So where a
stream has lately hung, a message also goes as datagrams, at once, after 25 and 75 ms and then at
growing intervals, from the second time on through another member too, each until its receiver has
answered for it. Where answers take long at best, so do the intervals: an answer that is late for
want of processor time comes no sooner for another copy (RFC 6298 waits as long as answers take).
Whichever way is first counts; the receiver puts both into one order and gives each message on once.
Whether it hangs is asked when nothing on it was answered for 60 ms while something waited, and its
receiver has taken nothing off it for as long: by an empty datagram, and a receiver that answers at
once, and still lacks what waits, proves it. One that is only short of processor time answers late,
and would be slower still for the copies. A stream that hung is doubted for twenty seconds after the
last such proof; a copy that comes too late proves nothing. One that is not doubted carries alone:
copies cost four times what the stream does.

Rule 1: a message is numbered whichever way it goes, so nothing is given on twice or out of order.
Rule 2: what waits is bounded; what gives way raises the floor, and the receiver goes on past it:
to lose nothing is the delivery's part, which keeps its own book. Rule 3: when many wait the stream
is doing its work, and only what it left behind goes by datagram. Rule 4: so many datagrams leave
for each message, and no more: where everybody is slow copies make everybody slower, and slower
answers make more copies; only a bound that follows the traffic ends that. Rule 5: a peer whose
stream broke stays linked for as long as its datagrams come, since threats go on; `broken` is told
at once.
"""

import asyncio
import heapq
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeAlias

import msgspec

from cronos.errors import CronosError, UnreachableError
from cronos.mesh.copywire import (
    AHEAD,
    Answer,
    Part,
    Whole,
    pack_answer,
    pack_parts,
    pack_whole,
    unpack,
)
from cronos.mesh.datagrams import MAX_DATA_BYTES, THREAT, Datagrams
from cronos.ports import Clock, Linked, Mesh, Tasks
from cronos.types import MAX_FRAME_BYTES, Lane

_MS: Final = 1_000_000
# When copies go out, after the message was sent; from the third on the interval doubles.
COPIES_NS: Final = (0, 25 * _MS, 75 * _MS)
LONGEST_NS: Final = 1_000 * _MS
LIFE_NS: Final = 30_000 * _MS
MAX_WAITING: Final = 1_024
MAX_WAITING_BYTES: Final = 4 << 20
MAX_EARLY: Final = 1_024
MAX_EARLY_BYTES: Final = 4 << 20
MAX_PARTIAL: Final = 64
_MANY: Final = 32
# A message to a peer is some 7 datagrams, when every copy is needed.
_A_MESSAGE: Final = 8
_A_SECOND: Final = 100
_AT_ONCE: Final = 400
_LATER_NS: Final = 50 * _MS
# From an answer that takes so long at best the intervals between copies grow with it, so far.
_USUAL_NS: Final = 10 * _MS
_SLOWEST: Final = 20
# Of what waits for a peer that has no stream and says nothing only the first is copied.
_SILENT_NS: Final = 250 * _MS
_LONG_BYTES: Final = 8 << 10
_LONG_NS: Final = 300 * _MS
# A message that would not fit a frame behind its header goes in two; each says whether it is all.
_PIECE_BYTES: Final = MAX_FRAME_BYTES // 2
_LAST: Final = b"\x00"
_MORE: Final = b"\x01"
_MAX_SESSIONS: Final = 8
_ANSWER_NS: Final = 5 * _MS
# To whom sends no copies, and so waits for no answer before a stream counts as hanging.
_LAZY_ANSWER_NS: Final = 40 * _MS
_HURRY_NS: Final = 10 * _MS
_HEARD_NS: Final = 10_000 * _MS
_IDLE_S: Final = 0.5
_LATELY_NS: Final = 1_000 * _MS
_LATE_NS: Final = 15 * _MS
_HANGS_NS: Final = 60 * _MS
_ASK_NS: Final = 25 * _MS
_PROMPT_NS: Final = 20 * _MS
_GONE_NS: Final = 1_000_000 * _MS
_DOUBT_NS: Final = 20_000 * _MS
_LOOK_S: Final = 0.05

Receiver: TypeAlias = Callable[[str, Lane, bytes], Awaitable[None]]


class _Waiting(msgspec.Struct):
    """A message that was not answered for: since when, which copy is next, when the last went."""

    data: bytes
    sent_ns: int
    tries: int = 0
    copied_ns: int = 0


class _Outgoing:
    """What goes to one peer: when it last answered, and until when its stream is doubted.

    Numbers begin with 1: what is asked goes by the number before all that still count.
    """

    def __init__(self) -> None:
        self.number = 1
        self.moved_ns = 0
        self.doubted_ns = 0
        self.asked = 0
        self.asked_ns = 0
        self.quick_ns = 0
        self.takes_ns = 0
        self.waiting: OrderedDict[int, _Waiting] = OrderedDict()
        self.size = 0
        self.lock = asyncio.Lock()

    def floor(self) -> int:
        return next(iter(self.waiting), self.number)

    def put(self, data: bytes, now_ns: int) -> int:
        number = self.number
        self.number += 1
        if not self.waiting:
            self.moved_ns = now_ns
        self.waiting[number] = _Waiting(data, now_ns)
        self.size += len(data)
        while len(self.waiting) > MAX_WAITING or self.size > MAX_WAITING_BYTES:
            self.drop(next(iter(self.waiting)))
        return number

    def drop(self, number: int) -> None:
        gone = self.waiting.pop(number, None)
        self.size -= len(gone.data) if gone is not None else 0

    def hangs(self, now_ns: int) -> bool:
        """Say whether the stream has hung, now or lately."""
        return now_ns < self.doubted_ns or now_ns - self.moved_ns >= _HANGS_NS

    def slowness(self) -> int:
        """Give by how much to stretch the intervals between copies."""
        return min(max(1, self.takes_ns // _USUAL_NS), _SLOWEST)

    def is_prompt(self, took_ns: int) -> bool:
        """Say whether an answer came as soon as on this way they do at best, or nearly so."""
        known = self.quick_ns or took_ns
        self.quick_ns = _at_best(known, took_ns)
        return took_ns < _PROMPT_NS + 2 * known

    def answered(self, answer: Answer, now_ns: int) -> list[int]:
        """Strike off what arrived, and give what was overtaken by later numbers."""
        overtaken: list[int] = []
        took_ns: int | None = None
        for number in list(self.waiting):
            ahead = number - answer.held
            if ahead < 0 or (ahead < AHEAD and answer.later >> ahead & 1):
                if self.waiting[number].copied_ns:
                    # Nobody can tell which copy is answered for. Since the first it would hold the
                    # interval before the next one, and that would grow by itself.
                    took_ns = now_ns - self.waiting[number].copied_ns
                self.drop(number)
                self.moved_ns = now_ns
            elif ahead >= AHEAD or not answer.later >> ahead:
                break
            else:
                overtaken.append(number)
        if took_ns is not None:
            self.takes_ns = _at_best(self.takes_ns, took_ns)
        return overtaken


class _Incoming:
    """What comes from one peer: the next number, and what came before its turn."""

    def __init__(self, session: int, following: int) -> None:
        self.session = session
        self.following = following
        self.early: dict[int, bytes] = {}
        self.early_bytes = 0
        self.parts: OrderedDict[int, dict[int, bytes]] = OrderedDict()
        self.retired: deque[int] = deque(maxlen=_MAX_SESSIONS)
        self.ready: deque[bytes] = deque()
        self.giving = False
        self.begun = b""
        self.answer_due = False
        self.copied_ns = 0

    def take(self, number: int, floor: int, data: bytes | None) -> None:
        """Take a message, or none, and give on all whose turn it is."""
        if data is not None and number >= self.following and number not in self.early:
            self._keep(number, data)
        while self.early or self.following < floor:
            if (following := self.early.pop(self.following, None)) is not None:
                self.ready.append(following)
                self.early_bytes -= len(following)
                self.following += 1
            elif self.following < floor:
                # Nothing between here and the floor will come, save what is here already.
                self.following = min([floor, *self.early])
            else:
                break
        while self.parts and next(iter(self.parts)) < self.following:
            self.parts.popitem(last=False)

    def _keep(self, number: int, data: bytes) -> None:
        """Keep a message for its turn; what is too much comes again, for it is not answered for."""
        room = len(self.early) < MAX_EARLY and self.early_bytes + len(data) <= MAX_EARLY_BYTES
        if number == self.following or room:
            self.early[number] = data
            self.early_bytes += len(data)

    def gather(self, part: Part) -> bytes | None:
        """Take a part; give the message once it is whole."""
        if part.number < self.following or part.number in self.early:
            return None
        if part.parts == 1:
            return part.data
        if part.number not in self.parts and len(self.parts) >= MAX_PARTIAL:
            return None
        got = self.parts.setdefault(part.number, {})
        got[part.part] = part.data
        if len(got) < part.parts:
            return None
        del self.parts[part.number]
        return b"".join(got[index] for index in sorted(got))

    def answer(self) -> Answer:
        later = 0
        for number in self.early:
            if number - self.following < AHEAD:
                later |= 1 << (number - self.following)
        return Answer(self.session, self.following, later)


class _Turns:
    """Each of some in its turn."""

    def __init__(self) -> None:
        self._turn = 0

    def __call__(self, among: Sequence[str]) -> str:
        self._turn += 1
        return among[self._turn % len(among)] if among else ""


class CopyingMesh:
    """A `Mesh` whose threat lane also goes by datagram.

    Args:
        mesh: carries everything by stream.
        datagrams: carry the copies.
        clock: the time; the session is drawn from it.
        tasks: runs what waits.

    Attributes:
        broken: told at once of a peer whose stream broke.
        chosen: gives whose turn it is among the members that may pass a copy on.
        stalled_ns: says for how long a peer has taken nothing off its stream.
    """

    def __init__(self, mesh: Mesh, datagrams: Datagrams, clock: Clock, tasks: Tasks) -> None:
        self._mesh = mesh
        self._datagrams = datagrams
        self._clock = clock
        self._tasks = tasks
        self._session = clock.now().wall_ns & ((1 << 63) - 1)
        self._to: dict[str, _Outgoing] = {}
        self._from: dict[str, _Incoming] = {}
        self._due: list[tuple[int, str, int]] = []
        self._wake = asyncio.Event()
        self.chosen: Callable[[Sequence[str]], str] = _Turns()
        self._left = float(_AT_ONCE)
        self._left_ns = 0
        self._held: set[str] = set()
        self.broken: Callable[[str], None] = _intact
        self.stalled_ns: Callable[[str], int] = _unknown_ns
        self._receive: Receiver = _nobody
        self._linked: Linked = _unheard
        self._running = False
        self.copies = 0

    async def start(self, receive: Receiver, linked: Linked) -> None:
        """Begin; see `Mesh.start`."""
        self._receive, self._linked = receive, linked
        self._datagrams.listen(THREAT, self._copied)
        self._running = True
        self._tasks.spawn(self._run(), "threat copies")
        await self._mesh.start(self._streamed, self._relinked)

    def connect(self, peer: str, address: str) -> None:
        """Keep a link; see `Mesh.connect`."""
        self._mesh.connect(peer, address)

    def forget(self, peer: str) -> None:
        """Drop a link and what waits for it; see `Mesh.forget`."""
        self._to.pop(peer, None)
        self._mesh.forget(peer)
        if peer in self._held:
            self._held.discard(peer)
            self._linked(peer, False)

    def peers(self) -> tuple[str, ...]:
        """Give the peers that are linked; see `Mesh.peers`."""
        return self._mesh.peers()

    async def stop(self) -> None:
        """End; see `Mesh.stop`."""
        self._running = False
        self._wake.set()
        await self._mesh.stop()

    async def send(self, peer: str, lane: Lane, data: bytes) -> None:
        """Send; see `Mesh.send`. On the threat lane copies follow until the peer has answered."""
        if lane is not Lane.THREAT:
            await self._mesh.send(peer, lane, data)
            return
        if len(data) > MAX_FRAME_BYTES:
            # It says what is wrong with it, in its own words.
            await self._mesh.send(peer, lane, data)
            return
        out = self._to.setdefault(peer, _Outgoing())
        self._left = min(_AT_ONCE, self._left + _A_MESSAGE * _datagrams(data))
        async with out.lock:
            # Under the lock: the stream has to have them in the order of their numbers.
            for at in range(0, max(1, len(data)), _PIECE_BYTES):
                rest = len(data) - at > _PIECE_BYTES
                piece = (_MORE if rest else _LAST) + data[at : at + _PIECE_BYTES]
                await self._send(peer, out, piece)

    async def _send(self, peer: str, out: _Outgoing, piece: bytes) -> None:
        now_ns = self._clock.now().boot_ns
        number = out.put(piece, now_ns)
        brief = len(piece) <= _LONG_BYTES and len(out.waiting) <= _MANY
        if brief and now_ns < out.doubted_ns and self._may_copy(piece, 1):
            copied = self._copy(peer, out, number)
        else:
            copied, out.waiting[number].tries = False, 1
        self._schedule(peer, out, number, 1)
        try:
            whole = pack_whole(self._session, number, out.floor(), piece)
            await self._mesh.send(peer, Lane.THREAT, whole)
        except UnreachableError:
            if copied or self._copy(peer, out, number):
                # It goes by datagram until it is answered for, or its time is over.
                return
            # The number must not stay a gap; if a copy arrived all the same it counts once.
            out.drop(number)
            raise

    # --- what goes ---------------------------------------------------------------------------

    def _schedule(self, peer: str, out: _Outgoing, number: int, tries: int) -> None:
        last = len(COPIES_NS) - 1
        waiting = out.waiting[number]
        after_ns = COPIES_NS[min(tries, last)] * (out.slowness() if waiting.copied_ns else 1)
        if tries > last:
            after_ns = min(after_ns << (tries - last), after_ns + LONGEST_NS * (tries - last))
        heapq.heappush(self._due, (waiting.sent_ns + after_ns, peer, number))
        self._wake.set()

    def _copy(self, peer: str, out: _Outgoing, number: int) -> bool:
        """Send the parts of a message, from the second time on through another member too.

        False where there is no key or way, or it is too long.
        """
        waiting = out.waiting[number]
        message = Whole(self._session, number, out.floor(), waiting.data)
        helper = self._next_helper(peer) if waiting.tries else ""
        waiting.tries += 1
        waiting.copied_ns = self._clock.now().boot_ns
        sent = False
        for part in pack_parts(message, MAX_DATA_BYTES):
            sent = self._datagrams.send(peer, THREAT, part)
            self.copies += sent
            if helper:
                self._datagrams.send(peer, THREAT, part, helper)
        return sent

    def _next_helper(self, peer: str) -> str:
        others = [name for name in self._mesh.peers() if name != peer]
        return self.chosen(others)

    async def _run(self) -> None:
        """Send the copies that are due."""
        while self._running:
            self._wake.clear()
            now_ns = self._clock.now().boot_ns
            while self._due and self._due[0][0] <= now_ns:
                due_ns, peer, number = heapq.heappop(self._due)
                self._again(peer, number, now_ns, late=now_ns - due_ns > _LATE_NS)
            wait_s = (self._due[0][0] - now_ns) / 1e9 if self._due else _IDLE_S
            try:
                async with asyncio.timeout(max(wait_s, 0.001)):
                    await self._wake.wait()
            except TimeoutError:
                pass

    def _again(self, peer: str, number: int, now_ns: int, *, late: bool) -> None:
        out = self._to.get(peer)
        waiting = out.waiting.get(number) if out is not None else None
        if out is None or waiting is None:
            return
        if now_ns - waiting.sent_ns > LIFE_NS:
            out.drop(number)
            return
        if late and now_ns >= out.doubted_ns and now_ns - waiting.sent_ns < _LATELY_NS:
            # This process got no processor: the answer may be here, and not have been read.
            heapq.heappush(self._due, (now_ns + COPIES_NS[1], peer, number))
            return
        if not out.hangs(now_ns):
            heapq.heappush(self._due, (out.moved_ns + _HANGS_NS, peer, number))
            return
        if wait_ns := self._wait_ns(peer, out, number, now_ns):
            heapq.heappush(self._due, (now_ns + wait_ns, peer, number))
            return
        if self._patient(waiting, out, now_ns) and self._may_copy(waiting.data, 2):
            self._copy(peer, out, number)
            self._schedule(peer, out, number, waiting.tries)
        else:
            heapq.heappush(self._due, (now_ns + _LATER_NS, peer, number))

    def _wait_ns(self, peer: str, out: _Outgoing, number: int, now_ns: int) -> int:
        """Say how long a copy waits: for word of the stream, or for word of one without any."""
        if wait_ns := self._ask(peer, out, now_ns):
            return wait_ns if now_ns >= out.doubted_ns else 0
        out.doubted_ns = now_ns + _DOUBT_NS
        first = out.floor()
        # One that is too long to be copied holds up nothing behind it.
        waits = number != first and len(out.waiting[first].data) <= _LONG_BYTES
        return _SILENT_NS if waits and not self._lately(peer) else 0

    def _ask(self, peer: str, out: _Outgoing, now_ns: int) -> int:
        """Ask whether a stream hangs; give how long to wait for that, 0 where there is none."""
        stalled_ns = self.stalled_ns(peer)
        if stalled_ns >= _GONE_NS:
            return 0
        if stalled_ns < _HANGS_NS:
            return _HANGS_NS - stalled_ns
        if now_ns - out.asked_ns >= _ASK_NS:
            empty = Whole(self._session, out.floor() - 1, out.floor(), b"")
            (part,) = pack_parts(empty, MAX_DATA_BYTES)
            self._datagrams.send(peer, THREAT, part)
            if out.asked and (helper := self._next_helper(peer)):
                self._datagrams.send(peer, THREAT, part, helper)
            out.asked, out.asked_ns = out.floor(), now_ns
        return _ASK_NS

    def _told(self, peer: str, out: _Outgoing, now_ns: int) -> None:
        """Learn from an answer that came by datagram whether the stream hangs."""
        asked, out.asked = out.asked, 0
        if asked and out.is_prompt(now_ns - out.asked_ns) and asked in out.waiting:
            out.doubted_ns = now_ns + _DOUBT_NS
            # What waits for this peer has waited long enough.
            self._due = [(now_ns if to == peer else at, to, n) for at, to, n in self._due]
            heapq.heapify(self._due)
            self._wake.set()

    def _patient(self, waiting: _Waiting, out: _Outgoing, now_ns: int) -> bool:
        """Say whether the stream has had its time: longer for what goes many times its length."""
        if len(waiting.data) <= _LONG_BYTES:
            return True
        return now_ns - max(waiting.sent_ns, out.moved_ns) >= _LONG_NS

    def _may_copy(self, data: bytes, ways: int) -> bool:
        """Take what a message needs from what may leave now; False where that is out."""
        now_ns = self._clock.now().boot_ns
        more = (now_ns - self._left_ns) * _A_SECOND / 1e9
        self._left, self._left_ns = min(_AT_ONCE, self._left + more), now_ns
        needs = ways * _datagrams(data)
        if needs > self._left:
            return False
        self._left -= needs
        return True

    def _relinked(self, peer: str, up: bool) -> None:
        """Hand on that a stream stands; that it broke only once no datagram comes any more."""
        if not up:
            self.broken(peer)
            if not self._lately(peer):
                self._linked(peer, False)
            elif peer not in self._held:
                self._held.add(peer)
                self._tasks.spawn(self._hold(peer), f"hold {peer}")
            return
        if peer in self._held:
            # Another stream, perhaps of another process: they must know that the first has ended.
            self._held.discard(peer)
            self._linked(peer, False)
        out = self._to.get(peer)
        if out is not None and out.waiting:
            self._tasks.spawn(self._resend(peer, out), f"resend to {peer}")
        self._linked(peer, True)

    async def _hold(self, peer: str) -> None:
        until_ns = self._clock.now().boot_ns + LIFE_NS
        while self._lately(peer) and self._clock.now().boot_ns < until_ns:
            await asyncio.sleep(_LOOK_S)
            if peer not in self._held:
                return
        if peer in self._held:
            self._held.discard(peer)
            self._linked(peer, False)

    def _lately(self, peer: str) -> bool:
        return self._clock.now().boot_ns - self._datagrams.heard_ns(peer) < _LATELY_NS

    async def _resend(self, peer: str, out: _Outgoing) -> None:
        """Send by the new stream what was not answered for: the old one may have lost it."""
        async with out.lock:
            for number, waiting in list(out.waiting.items()):
                whole = pack_whole(self._session, number, out.floor(), waiting.data)
                try:
                    await self._mesh.send(peer, Lane.THREAT, whole)
                except UnreachableError:
                    return

    # --- what comes --------------------------------------------------------------------------

    async def _streamed(self, peer: str, lane: Lane, data: bytes) -> None:
        if lane is not Lane.THREAT:
            await self._receive(peer, lane, data)
            return
        read = unpack(data)
        incoming = self._heard(peer, read)
        if incoming is not None:
            if not incoming.answer_due:
                incoming.answer_due = True
                self._tasks.spawn(self._answer_later(peer, incoming), f"answer {peer}")
            await self._give(peer, incoming)

    def _copied(self, peer: str, data: bytes) -> None:
        try:
            read = unpack(data)
        except CronosError:
            return
        incoming = self._heard(peer, read)
        if isinstance(read, Answer):
            if (out := self._to.get(peer)) is not None and read.session == self._session:
                self._told(peer, out, self._clock.now().boot_ns)
        elif incoming is not None:
            if read.data:
                incoming.copied_ns = self._clock.now().boot_ns
            self._datagrams.send(peer, THREAT, pack_answer(incoming.answer()))
            if incoming.ready and not incoming.giving:
                self._tasks.spawn(self._give(peer, incoming), f"copies of {peer}")

    def _heard(self, peer: str, read: Whole | Part | Answer) -> _Incoming | None:
        """Take what came, either way; None where there is nothing to give on or answer."""
        if isinstance(read, Answer):
            out = self._to.get(peer)
            if out is not None and read.session == self._session:
                self._hurry(peer, out, out.answered(read, self._clock.now().boot_ns))
            return None
        incoming = self._from.get(peer)
        if incoming is None or incoming.session != read.session:
            incoming = self._begun(peer, read, incoming)
            if incoming is None:
                return None
        data = read.data if isinstance(read, Whole) else incoming.gather(read)
        incoming.take(read.number, read.floor, data)
        return incoming

    def _hurry(self, peer: str, out: _Outgoing, overtaken: list[int]) -> None:
        """Send again at once what later ones have overtaken: it holds them up over there."""
        now_ns = self._clock.now().boot_ns
        for number in overtaken:
            waiting = out.waiting[number]
            early = len(waiting.data) > _LONG_BYTES and now_ns - waiting.sent_ns < _LONG_NS
            soon = early or now_ns - waiting.copied_ns < _HURRY_NS
            if not soon and self._may_copy(waiting.data, 2):
                self._copy(peer, out, number)

    def _begun(self, peer: str, read: Whole | Part, before: _Incoming | None) -> _Incoming | None:
        """Begin with a new process of a peer; one that ended before it does not come back."""
        if before is not None and read.session in before.retired:
            return None
        incoming = _Incoming(read.session, read.floor)
        if before is not None:
            incoming.retired.extend([*before.retired, before.session])
            incoming.ready.extend(before.ready)
        self._from[peer] = incoming
        return incoming

    async def _give(self, peer: str, incoming: _Incoming) -> None:
        """Give messages on, one after another, whoever of the two ways calls first."""
        if incoming.giving:
            return
        incoming.giving = True
        try:
            while incoming.ready:
                piece = incoming.ready.popleft()
                whole = incoming.begun + piece[1:]
                more = piece[:1] == _MORE and len(whole) <= MAX_FRAME_BYTES
                incoming.begun = whole if more else b""
                if not more:
                    await self._receive(peer, Lane.THREAT, whole)
        finally:
            incoming.giving = False

    async def _answer_later(self, peer: str, incoming: _Incoming) -> None:
        """Answer for what came by stream; also by stream, unless datagrams come through."""
        doubts = self._clock.now().boot_ns - incoming.copied_ns < _DOUBT_NS
        await asyncio.sleep((_ANSWER_NS if doubts else _LAZY_ANSWER_NS) / 1e9)
        incoming.answer_due = False
        answer = pack_answer(incoming.answer())
        heard_ns = max(incoming.copied_ns, self._datagrams.heard_ns(peer))
        sent = self._datagrams.send(peer, THREAT, answer)
        if sent and self._clock.now().boot_ns - heard_ns < _HEARD_NS:
            return
        try:
            await self._mesh.send(peer, Lane.THREAT, answer)
        except UnreachableError:
            return


def _at_best(known_ns: int, took_ns: int) -> int:
    """Give what answers take at best, a little more with each that took longer."""
    return min(took_ns, known_ns + known_ns // 8 + _MS)


def _datagrams(data: bytes) -> int:
    return 1 + len(data) // MAX_DATA_BYTES


async def _nobody(peer: str, lane: Lane, data: bytes) -> None:
    del peer, lane, data


def _unheard(peer: str, up: bool) -> None:
    del peer, up


def _intact(peer: str) -> None:
    del peer


def _unknown_ns(peer: str) -> int:
    """Stand where nobody can tell: then only answers count."""
    del peer
    return _HANGS_NS
