"""A link: one peer, its session, and the stream or streams that carry it at the moment.

Of several streams one is active: the last to come, but where each end has dialled the other, the
one that the smaller instance dialled. Both ends judge alike, and the session sends again what the
other stream had not carried to its end, so that no rotation and no simultaneous dial loses a word.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Generator, Iterator
from typing import Final, Protocol

import msgspec

from cronos.crypto.pki.chain import Identity
from cronos.errors import CronosError, UnreachableError
from cronos.link.upkeep import Report
from cronos.mesh.streams_session import Bounds, Session, urgent
from cronos.mesh.streams_wire import (
    LANES,
    Batch,
    Beat,
    Hello,
    Run,
    Welcome,
    broken,
    decode,
    encode,
)
from cronos.ports import Clock, Linked, Tasks
from cronos.types import Lane

# What presses is said at once, and every batch says it too.
_WORD_S: Final = 0.05
_BEATS_SINCE: Final = 2
_S_NS: Final = 1_000_000_000
NEVER_NS: Final = 1 << 62
# A worker gives way after so long, and looks at the clock after so many bytes: to what one peer
# sends the others must not have to listen.
_TURN_NS: Final = 1_000_000
_LOOK_BYTES: Final = 4_096
_EACH_BYTES: Final = 64
_URGENT: Final = frozenset(lane for index, lane in enumerate(LANES) if urgent(index))


class Pipe(Protocol):
    """A gRPC stream, as both of its ends see it."""

    async def read(self) -> bytes:
        """Give the next message; empty at the end."""
        ...

    async def write(self, data: bytes) -> None:
        """Send a message; returns when the transport has taken it."""
        ...

    def cancel(self) -> None:
        """End the stream at once."""
        ...


class Terms(msgspec.Struct, frozen=True):
    """What both ends agreed on for one stream.

    Attributes:
        dialler: who dialled.
        version: of the wire.
        identity: the peer's, as verified.
        chain: the peer's, to be verified again when lists change.
        renew_ns: when its dialler should replace it, by boot time.
        ends_ns: when it is cut, by boot time.
        expires_ns: when the first of the two certificates ends, by wall time.
    """

    dialler: str
    version: int
    identity: Identity
    chain: tuple[bytes, ...]
    renew_ns: int
    ends_ns: int
    expires_ns: int


class Attachment:
    """One stream of a link."""

    def __init__(self, pipe: Pipe, terms: Terms, session: str, now_ns: int) -> None:
        self.pipe = pipe
        self.terms = terms
        self.session = session
        self.wake = asyncio.Event()
        self.closed = False
        self.speak = False
        self.timed = False
        self.beats: deque[Beat] = deque(maxlen=4)
        self.since_ns = now_ns
        self.heard_ns = now_ns

    def close(self) -> None:
        """End it; more than once is harmless."""
        if not self.closed:
            self.closed = True
            self.wake.set()
            self.pipe.cancel()


class _Turn:
    """How long one worker has been at it since others had their turn."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._since_ns = clock.now().boot_ns
        self._bytes = 0

    def begin(self) -> None:
        self._since_ns, self._bytes = self._clock.now().boot_ns, 0

    def over(self, data: bytes) -> bool:
        """Count a message; say whether it is time to give way."""
        self._bytes += len(data) + _EACH_BYTES
        if self._bytes < _LOOK_BYTES:
            return False
        self._bytes = 0
        return self._clock.now().boot_ns - self._since_ns >= _TURN_NS


class Surroundings(msgspec.Struct, frozen=True):
    """What all links of a node share."""

    me: str
    life: str
    counter: Iterator[int]
    bounds: Bounds
    clock: Clock
    tasks: Tasks
    report: Report
    receive: Callable[[str, Lane, bytes], Awaitable[None]]
    linked: Linked


class Link:
    """One peer, for as long as it is wanted or linked.

    Args:
        peer: its instance.
        around: what all links share.
    """

    def __init__(self, peer: str, around: Surroundings) -> None:
        self.peer = peer
        # Another link to the same peer is another session: it knows nothing of this one's batches.
        self.session = Session(f"{around.life}.{next(around.counter)}", around.bounds)
        self.active: Attachment | None = None
        self.up = False
        """Whether it is linked, as has been told."""
        self.standing: set[Attachment] = set()
        self.changed = asyncio.Event()
        self.down_ns = around.clock.now().boot_ns
        """Since when it has not been linked, while it is not."""
        self.rtt_ns = 0
        self.moved_ns = 0
        """When the peer last acknowledged a batch, or the first that it has not was sent."""
        self.refusing = False
        """Set while its circuit breaker is open: what could wait for credits is not taken."""
        self._around = around
        self._closed = False
        self._opening = 0
        self._room: list[tuple[Lane, asyncio.Future[None]]] = []
        self._boxes: tuple[deque[Run], deque[Run]] = (deque(), deque())
        self._filled = (asyncio.Event(), asyncio.Event())
        for patient in (False, True):
            around.tasks.spawn(self._work(patient), f"mesh-work-{peer}")

    @contextlib.contextmanager
    def opening(self) -> Generator[None]:
        """While the peer has been greeted: should its own stream end now, it prefers this one.

        So whether the link is down will only be known when this is over.
        """
        self._opening += 1
        try:
            yield
        finally:
            self._opening -= 1
            self._tell_down()

    def offer(self, lane: Lane, data: bytes) -> bool:
        """Let a message wait for its turn, if there is room for it now."""
        if (self.refusing and lane not in _URGENT) or not self.session.out.put(lane, data):
            return False
        active = self.active
        if active is not None and not active.wake.is_set():
            active.wake.set()
        return True

    async def send(self, lane: Lane, data: bytes) -> None:
        """Let a message wait for its turn; on `records` and `bulk` wait for room.

        Raises:
            UnreachableError: too much waits.
        """
        while not self.offer(lane, data):
            if lane in _URGENT or not self.up or self._closed:
                raise self._full(lane)
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._room.append((lane, waiter))
            await waiter

    def attach(self, stream: Attachment, said: Hello | Welcome) -> bool:
        """Take up a stream; False where another one is to be kept instead of it.

        Raises:
            DeniedError: what the peer said cannot be.
        """
        if self._closed or not self.prefers(stream):
            return False
        self.session.joined(said)
        before, self.active = self.active, stream
        self.standing.add(stream)
        self.refusing = False
        stream.wake.set()
        self._around.tasks.spawn(self._write(stream), f"mesh-write-{self.peer}")
        if before is not None:
            before.close()
        if not self.up:
            self.up = True
            self._around.linked(self.peer, True)
        self.changed.set()
        return True

    def prefers(self, stream: Attachment) -> bool:
        """Say whether a stream takes the place of the one that is active."""
        if self.active is None or self.active.terms.dialler == stream.terms.dialler:
            return True
        return stream.terms.dialler == min(self.peer, self._around.me)

    def detach(self, stream: Attachment) -> None:
        """Take note that a stream has ended."""
        stream.close()
        self.standing.discard(stream)
        if self.active is stream:
            self.active = None
            self._tell_down()
        self.changed.set()

    def _tell_down(self) -> None:
        if self.up and self.active is None and not (self._opening and not self._closed):
            self.up = False
            self.down_ns = self._around.clock.now().boot_ns
            self._let_go()
            self._around.linked(self.peer, False)

    def close(self) -> None:
        """End all streams; nothing passes any more."""
        self._closed = True
        for stream in tuple(self.standing):
            self.detach(stream)
        self._tell_down()
        self._let_go()
        for filled in self._filled:
            filled.set()

    async def read(self, stream: Attachment) -> None:
        """Hear the peer out until the stream ends.

        Raises:
            DeniedError: the peer breaks a rule.
        """
        clock, session = self._around.clock, self.session
        while not stream.closed and (data := await stream.pipe.read()):
            stream.heard_ns = clock.now().boot_ns
            word = decode(data)
            if stream.session != session.peer:
                return  # the peer has begun another life since
            if isinstance(word, Batch):
                oldest = session.out.oldest
                self._take(stream, session.take(word))
                if session.out.oldest != oldest:
                    self.moved_ns = stream.heard_ns
            elif isinstance(word, Beat) and stream.terms.version >= _BEATS_SINCE:
                self._beat(stream, word)
            else:
                raise broken("greeted in the middle of a stream")

    def stalled_ns(self) -> int:
        """Say for how long the peer has acknowledged nothing of what it owes an answer for."""
        if self.active is None:
            return NEVER_NS
        owed = self.session.out.owed
        return self._around.clock.now().boot_ns - self.moved_ns if owed else 0

    def beat(self, stream: Attachment) -> None:
        """Ask whether the peer is there, where it knows the question."""
        if stream.terms.version >= _BEATS_SINCE:
            stream.beats.append(Beat(self._around.clock.now().boot_ns, answer=False))
            stream.wake.set()

    def _beat(self, stream: Attachment, word: Beat) -> None:
        if not word.answer:
            stream.beats.append(Beat(word.at_ns, answer=True))
            stream.wake.set()
            return
        took_ns = self._around.clock.now().boot_ns - word.at_ns
        if 0 <= took_ns < 600 * _S_NS:
            self.rtt_ns = (7 * self.rtt_ns + took_ns) // 8 if self.rtt_ns else took_ns

    def _take(self, stream: Attachment, runs: list[Run]) -> None:
        for run in runs:
            box = not urgent(run[0])
            self._boxes[box].append(run)
            self._filled[box].set()
        stream.wake.set()  # its word may have let something pass
        if runs:
            self._word_soon(stream)

    def _word_soon(self, stream: Attachment) -> None:
        if not stream.timed:
            stream.timed = True
            asyncio.get_running_loop().call_later(_WORD_S, self._word_due, stream)

    def _word_due(self, stream: Attachment) -> None:
        stream.timed = False
        stream.speak = True
        stream.wake.set()

    async def _write(self, stream: Attachment) -> None:
        """Send batches, one after the other: what comes meanwhile shares the next."""
        try:
            while not stream.closed:
                stream.wake.clear()
                while (word := self._next(stream)) is not None:
                    await stream.pipe.write(encode(word))
                    self._make_room()
                await stream.wake.wait()
        except Exception as error:  # noqa: BLE001 - however a stream breaks, it is over
            if not stream.closed:
                self._around.report("info", "mesh.write_ended", peer=self.peer, detail=repr(error))
        finally:
            stream.close()

    def _next(self, stream: Attachment) -> Batch | Beat | None:
        if stream.closed or stream is not self.active:
            return None
        if stream.beats:
            return stream.beats.popleft()
        batch = self.session.next()
        if batch is not None and batch.number == self.session.out.oldest:
            self.moved_ns = self._around.clock.now().boot_ns
        if batch is None and stream.speak:
            batch = self.session.word()
        stream.speak = stream.speak and batch is None
        return batch

    def _make_room(self) -> None:
        if self._room:
            ready = {lane for lane in LANES if self.session.out.roomy(lane)}
            self._let_go(ready)

    def _let_go(self, lanes: Collection[Lane] = LANES) -> None:
        """Let those go on who wait for room; they look for themselves whether there is any."""
        waiting, self._room = self._room, []
        for lane, waiter in waiting:
            if lane not in lanes:
                self._room.append((lane, waiter))
            elif not waiter.done():
                waiter.set_result(None)

    async def _work(self, patient: bool) -> None:
        """Hand messages on, lane by lane in order; the urgent lanes have a worker of their own."""
        box, filled = self._boxes[patient], self._filled[patient]
        turn = _Turn(self._around.clock)
        while not self._closed:
            filled.clear()
            turn.begin()
            while box and not self._closed:
                index, messages = box.popleft()
                await self._hand_on(LANES[index], messages, turn)
                self.session.incoming.worked_off(LANES[index], messages)
                if self.active is not None and self.session.incoming.pressing():
                    self.active.wake.set()
                if patient:
                    await asyncio.sleep(0)
                    turn.begin()
            if self.active is not None:
                self._word_soon(self.active)
            await filled.wait()

    async def _hand_on(self, lane: Lane, messages: list[bytes], turn: _Turn) -> None:
        receive, peer = self._around.receive, self.peer
        for data in messages:
            if turn.over(data):
                await asyncio.sleep(0)
                turn.begin()
            try:
                await receive(peer, lane, data)
            except CronosError as error:
                self._around.report("warning", error.code, peer=peer, detail=error.sentence)
            except Exception as error:  # noqa: BLE001 - one bad message must not end the link
                self._around.report("error", "mesh.receiver_fault", peer=peer, detail=repr(error))

    def _full(self, lane: Lane) -> UnreachableError:
        return UnreachableError(
            "mesh.queue_full",
            f"{self.session.out.queued} messages wait for {self.peer}, and no more on `{lane}`.",
            "See `cronos mesh peers`: it is away, or takes in less than it is sent.",
        )
