"""The tap's feed: a bounded ring of frames, sent until acknowledged.

The plant comes first: recording never waits. A reader that is slow or away costs memory up to
the bound and then the oldest frames, which is counted and shows as a gap in their numbers.
"""

import asyncio
from collections import deque
from typing import Final, Protocol, cast

import msgspec

from cronos.errors import CronosError
from cronos.link.frames import FrameSplitter, frame, require_same_user
from cronos.link.tapfeed import TapFrame, TapHello, pack, unpack_ack

_OVERHEAD_BYTES: Final = 128  # of one frame in memory, beside its bytes
_MIN_RING_FRAMES: Final = 1
_WRITE_BUFFER_BYTES: Final = 1 << 20


class Ring:
    """Frames that the reader has not acknowledged, numbered from 1, oldest first."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._frames: deque[bytes] = deque()
        self._first = 1
        self._bytes = 0
        self.dropped = 0

    @property
    def next_seq(self) -> int:
        """Give the number of the next frame."""
        return self._first + len(self._frames)

    @property
    def first_seq(self) -> int:
        """Give the number of the oldest frame held, or of the next where none is."""
        return self._first

    def append(self, framed: bytes) -> None:
        """Keep a frame; the oldest go where the bound is exceeded."""
        self._frames.append(framed)
        self._bytes += len(framed) + _OVERHEAD_BYTES
        while self._bytes > self._max_bytes and len(self._frames) > _MIN_RING_FRAMES:
            self._pop()
            self.dropped += 1

    def acknowledge(self, seq: int) -> None:
        """Forget every frame up to `seq`; numbers not yet given are ignored."""
        while self._frames and self._first <= seq:
            self._pop()

    def after(self, position: int) -> bytes:
        """Give the frame number `position`; it must be held."""
        return self._frames[position - self._first]

    def _pop(self) -> None:
        self._bytes -= len(self._frames.popleft()) + _OVERHEAD_BYTES
        self._first += 1


class Link(Protocol):
    """What `Feed` needs of its reader's connection."""

    def write(self, data: bytes) -> None:
        """Queue bytes."""
        ...

    def abort(self) -> None:
        """End at once."""
        ...


class Feed:
    """Hands the ring's frames to one reader; a new reader takes the place of the old one."""

    def __init__(self, hello: TapHello, max_bytes: int) -> None:
        self._hello = frame(pack(hello))
        self.ring = Ring(max_bytes)
        self._reader: Link | None = None
        self._ready = False
        self._next = 1  # the number of the frame to send next

    @property
    def watched(self) -> bool:
        """Say whether a reader is connected."""
        return self._reader is not None

    def record(self, seen: TapFrame) -> None:
        """Number a frame, keep it, and send it where the reader can take it."""
        numbered = msgspec.structs.replace(seen, seq=self.ring.next_seq)
        self.ring.append(frame(pack(numbered)))
        self.flush()

    def attach(self, reader: Link) -> None:
        """Begin to serve `reader` with the oldest frame it has not acknowledged."""
        if self._reader is not None:
            self._reader.abort()
        self._reader = reader
        self._ready = True
        self._next = self.ring.first_seq
        reader.write(self._hello)
        self.flush()

    def detach(self, reader: Link) -> None:
        """Forget a reader whose connection has ended."""
        if self._reader is reader:
            self._reader = None

    def close(self) -> None:
        """End the reader's connection; what it has not read is lost with the ring."""
        if self._reader is not None:
            self._reader.abort()

    def ready(self, reader: Link, can_take: bool) -> None:
        """Learn whether the reader's connection takes more bytes."""
        if self._reader is reader:
            self._ready = can_take
            self.flush()

    def flush(self) -> None:
        """Send what the reader can take."""
        ring = self.ring
        self._next = max(self._next, ring.first_seq)
        while self._reader is not None and self._ready and self._next < ring.next_seq:
            data = ring.after(self._next)
            self._next += 1
            self._reader.write(data)  # may call `ready` before it returns


class FeedReader(asyncio.Protocol):
    """The tap's end of a reader's connection."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._splitter = FrameSplitter()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Greet a reader of the same user; another is sent away."""
        self._transport = cast("asyncio.Transport", transport)
        try:
            require_same_user(transport.get_extra_info("socket"))
        except CronosError:
            self._transport.abort()
            return
        self._transport.set_write_buffer_limits(high=_WRITE_BUFFER_BYTES)
        self._feed.attach(self)

    def data_received(self, data: bytes) -> None:
        """Take acknowledgements; whoever sends anything else is cut off."""
        try:
            for body in self._splitter.feed(data):
                self._feed.ring.acknowledge(unpack_ack(body).seq)
        except CronosError:
            self.abort()

    def pause_writing(self) -> None:
        """Send no more for now."""
        self._feed.ready(self, can_take=False)

    def resume_writing(self) -> None:
        """Go on."""
        self._feed.ready(self, can_take=True)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        """Wait for the next reader."""
        self._feed.detach(self)

    def write(self, data: bytes) -> None:
        """Queue bytes for the reader."""
        if self._transport is not None:
            self._transport.write(data)

    def abort(self) -> None:
        """End the connection at once."""
        if self._transport is not None:
            self._transport.abort()
