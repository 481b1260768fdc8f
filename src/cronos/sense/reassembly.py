"""TCP reassembly: one direction of a connection, back in order, in bounded memory.

What arrived first stays: a later segment that overlaps it only fills holes, so that nobody can
rewrite what was already delivered. A hole is waited for until `max_held_bytes` lie behind it, or
until its packet is `MAX_WAIT_NS` late; then it is passed over, and the reader is told.

Source: RFC 9293 §3.10.7.4; the overlap policy is the one of most receivers for delivered data.
"""

from typing import Final, TypeAlias

MAX_WAIT_NS: Final = 1_000_000_000
_MAX_PIECES: Final = 256
_MODULUS: Final = 1 << 32
_HALF: Final = 1 << 31
_WINDOW_BYTES: Final = 1 << 30  # no window is larger (RFC 7323 §2.3)

# Delivered bytes, or how many were lost before what follows.
Delivery: TypeAlias = bytes | int


class Reassembly:
    """Orders the segments of one direction; positions count from `next_seq`, modulo 2^32."""

    __slots__ = ("_held", "_max_held_bytes", "_pieces", "_since_ns", "next_seq")

    def __init__(self, next_seq: int, max_held_bytes: int = 1 << 18) -> None:
        self.next_seq = next_seq % _MODULUS
        self._max_held_bytes = max_held_bytes
        self._pieces: list[tuple[int, bytes]] = []  # (seq, data), in order, apart, beyond a hole
        self._held = 0
        self._since_ns = 0

    @property
    def held(self) -> int:
        """How many bytes wait behind a hole."""
        return self._held

    def add(self, seq: int, data: bytes, time_ns: int) -> list[Delivery]:
        """Take one segment; give what is in order now."""
        ahead = _ahead(seq, self.next_seq)
        if ahead < 0:
            data = data[-ahead:]
            ahead = 0
        if not data or ahead > _WINDOW_BYTES:
            return self._late(time_ns)
        if not ahead and not self._pieces:
            self.next_seq = (self.next_seq + len(data)) % _MODULUS
            return [data]
        if not self._pieces:
            self._since_ns = time_ns
        self._insert(ahead, data)
        out: list[Delivery] = []
        self._drain(out, time_ns)
        if self._held > self._max_held_bytes or len(self._pieces) > _MAX_PIECES:
            out += self.skip(time_ns)
        return out + self._late(time_ns)

    def skip(self, time_ns: int) -> list[Delivery]:
        """Give up the hole in front; give its length and what follows it, if anything does."""
        if not self._pieces:
            return []
        lost = _ahead(self._pieces[0][0], self.next_seq)
        out: list[Delivery] = [lost] if lost else []
        self.next_seq = self._pieces[0][0]
        self._drain(out, time_ns)
        return out

    def _late(self, time_ns: int) -> list[Delivery]:
        if self._pieces and time_ns - self._since_ns > MAX_WAIT_NS:
            return self.skip(time_ns)
        return []

    def _insert(self, ahead: int, data: bytes) -> None:
        """Put the parts of `data` that nothing covers yet among the pieces."""
        start, end = ahead, ahead + len(data)
        kept: list[tuple[int, bytes]] = []
        at = start
        for seq, piece in self._pieces:
            first = _ahead(seq, self.next_seq)
            if at < first and at < end:
                part = data[at - start : min(first, end) - start]
                kept.append(((self.next_seq + at) % _MODULUS, part))
                self._held += len(part)
            kept.append((seq, piece))
            at = max(at, first + len(piece))
        if at < end:
            kept.append(((self.next_seq + at) % _MODULUS, data[at - start :]))
            self._held += end - at
        self._pieces = sorted(kept, key=lambda entry: _ahead(entry[0], self.next_seq))

    def _drain(self, out: list[Delivery], time_ns: int) -> None:
        ready = 0
        for seq, piece in self._pieces:
            if seq != self.next_seq:
                break
            out.append(piece)
            self._held -= len(piece)
            self.next_seq = (seq + len(piece)) % _MODULUS
            ready += 1
        if ready:
            del self._pieces[:ready]
            self._since_ns = time_ns


def _ahead(seq: int, base: int) -> int:
    """Give the signed distance from `base` to `seq` on the circle of sequence numbers."""
    return (seq - base + _HALF) % _MODULUS - _HALF
