"""TCP reassembly: one direction of a connection, back in order, in bounded memory.

What arrived first stays: a later segment that overlaps it only fills holes, so that nobody can
rewrite what was already delivered. A segment outside `WINDOW_BYTES` is nobody's. A hole is passed
over, and the reader told, as soon as the receiver acknowledged something behind it: then the
capture lost it. Where the receiver is not heard, the hole is waited for until its packet is
`MAX_WAIT_NS` late, or `max_held_bytes` or `MAX_PIECES` lie behind it. What is read past a hole
that nobody acknowledged is `Doubted`, until the receiver acknowledges a number behind it.

Source: RFC 9293 §3.10.7.4; the overlap policy is the one of most receivers for delivered data.
"""

from bisect import bisect_right
from typing import Final, TypeAlias

MAX_WAIT_NS: Final = 1_000_000_000
MAX_PIECES: Final = 256
# No plant or web request needs more; whoever guesses numbers hits it once in 4096 times.
WINDOW_BYTES: Final = 1 << 20
_MODULUS: Final = 1 << 32
_HALF: Final = 1 << 31


class Doubted(bytes):
    """Delivered bytes that lay behind a hole and that the receiver was not seen to take."""

    __slots__ = ()


# Delivered bytes, or how many were lost before what follows.
Delivery: TypeAlias = bytes | int


class Reassembly:
    """Orders the segments of one direction; positions count from `next_seq`, modulo 2^32."""

    __slots__ = (
        "_at",
        "_base",
        "_datas",
        "_doubt_to",
        "_held",
        "_max_held_bytes",
        "_since_ns",
        "_starts",
        "_waits",
    )

    def __init__(self, next_seq: int, max_held_bytes: int = 1 << 18) -> None:
        self._base = next_seq  # of offset 0; offsets grow and never wrap
        self._at = 0
        self._max_held_bytes = max_held_bytes
        self._starts: list[int] = []  # offsets of what waits beyond a hole, in order, apart
        self._datas: list[bytes] = []
        self._held = 0
        self._since_ns = 0
        self._waits = False  # the receiver said so since the hole is there
        self._doubt_to = -1

    @property
    def next_seq(self) -> int:
        """The sequence number of the next byte to deliver."""
        return (self._base + self._at) % _MODULUS

    @property
    def held(self) -> int:
        """How many bytes wait behind a hole."""
        return self._held

    def ahead(self, seq: int) -> int:
        """Give the signed distance from the next byte to `seq`, in bytes."""
        return (seq - self._base - self._at + _HALF) % _MODULUS - _HALF

    def add(self, seq: int, data: bytes, time_ns: int) -> list[Delivery]:
        """Take one segment; give what is in order now."""
        ahead = self.ahead(seq)
        if ahead < 0:
            data = data[-ahead:]
            ahead = 0
        if not data or ahead > WINDOW_BYTES:
            return self._late(time_ns)
        if not ahead and not self._starts:
            self._at += len(data)
            return [Doubted(data) if self._doubt_to >= 0 else data]
        if not self._starts:
            self._since_ns = time_ns
            self._waits = False
        self._insert(self._at + ahead, data)
        out: list[Delivery] = []
        self._drain(out, time_ns)
        if self._held > self._max_held_bytes or len(self._starts) > MAX_PIECES:
            out += self.skip(time_ns)
        return out + self._late(time_ns)

    def acknowledge(self, ack: int, time_ns: int) -> list[Delivery]:
        """Learn that the receiver has everything before `ack`; give what may be read by that."""
        to = self._at + self.ahead(ack)
        if 0 <= self._doubt_to <= to:
            self._doubt_to = -1
        out: list[Delivery] = []
        while self._starts and self._starts[0] < to <= self._starts[-1] + len(self._datas[-1]):
            out += self._pass_hole(time_ns)
        if self._starts and to <= self._at:
            self._waits = True
        return out

    def skip(self, time_ns: int) -> list[Delivery]:
        """Give up the hole in front; give its length and what follows it, if anything does."""
        if not self._starts:
            return []
        self._doubt_to = self._starts[0] + 1
        return self._pass_hole(time_ns)

    def jump(self, seq: int) -> list[Delivery]:
        """Go on at `seq`, forgetting what waits; give how many bytes that leaves out."""
        lost = (seq - self.next_seq) % _MODULUS
        self._at += lost
        self._starts, self._datas, self._held, self._doubt_to = [], [], 0, -1
        return [lost] if lost else []

    def _pass_hole(self, time_ns: int) -> list[Delivery]:
        lost = self._starts[0] - self._at
        out: list[Delivery] = [lost] if lost else []
        self._at = self._starts[0]
        self._drain(out, time_ns)
        return out

    def _late(self, time_ns: int) -> list[Delivery]:
        if self._starts and time_ns - self._since_ns > MAX_WAIT_NS and not self._waits:
            return self.skip(time_ns)
        return []

    def _insert(self, start: int, data: bytes) -> None:
        """Put the parts of `data` that nothing covers yet among the pieces."""
        starts, datas = self._starts, self._datas
        end = start + len(data)
        index = bisect_right(starts, start)
        at = start
        if index:
            at = max(at, starts[index - 1] + len(datas[index - 1]))
        while at < end:
            stop = min(starts[index], end) if index < len(starts) else end
            if at < stop:
                starts.insert(index, at)
                datas.insert(index, data[at - start : stop - start])
                self._held += stop - at
                index += 1
            if index >= len(starts):
                return
            at = max(stop, starts[index] + len(datas[index]))
            index += 1

    def _drain(self, out: list[Delivery], time_ns: int) -> None:
        ready = 0
        for start, piece in zip(self._starts, self._datas, strict=True):
            if start != self._at:
                break
            out.append(Doubted(piece) if self._doubt_to >= 0 else piece)
            self._held -= len(piece)
            self._at += len(piece)
            ready += 1
        if ready:
            del self._starts[:ready]
            del self._datas[:ready]
            self._since_ns = time_ns
            self._waits = False
