"""Streams: which bytes of a connection may speak for its two ends.

Naming an end's address takes no skill, so a segment of a proven connection counts at once only
where its number fits the window and its own acknowledgement fits what the other end sent, as a
receiver asks of it. What fits neither waits aside, out of the stream, and counts once the other
end acknowledges exactly its end, which it does only for what it took. A forger who sees nothing
hits a window and an acknowledgement once in 2^31 segments. Source: RFC 5961 §3 and §5.
"""

from collections import deque
from typing import Final

from cronos.link.packets import ACK, RST
from cronos.link.reassembly import WINDOW_BYTES, Delivery, Doubted, Reassembly
from cronos.sense.decoders import StreamDecoder

_SEQ: Final = 1 << 32
_LAG_BYTES: Final = 1 << 16  # by which an acknowledgement may miss, of a segment in order
_LAG_AHEAD_BYTES: Final = 1 << 12  # and of one beyond a hole, which a guess hits more easily
_MAX_STRAY_BYTES: Final = 1 << 13  # aside, for each direction
_MAX_STRAYS: Final = 16


class Stream:
    """A flow that an application decoder reads; directions are client (True) and server."""

    __slots__ = ("_acks", "_fins", "_strays", "_tainted", "decoder", "losses", "sides")

    def __init__(self, decoder: StreamDecoder) -> None:
        self.losses = 0
        self.decoder = decoder
        self.sides: dict[bool, Reassembly] = {}
        self._acks: dict[bool, int] = {}  # what each end acknowledged last, in order
        self._fins: dict[bool, int] = {}
        self._strays: dict[bool, deque[tuple[int, bytes]]] = {}
        self._tainted: dict[bool, bool] = {}

    @property
    def held(self) -> int:
        """How many bytes wait behind holes."""
        return sum(side.held for side in self.sides.values())

    def begin(self, outward: bool, seq: int) -> Reassembly:
        """Give one direction, which begins at `seq` if nothing of it was seen."""
        side = self.sides.get(outward)
        if side is None:
            side = self.sides[outward] = Reassembly(seq % _SEQ)
        return side

    def take(
        self, outward: bool, segment: tuple[int, int, int, bytes], time_ns: int, *, checked: bool
    ) -> list[tuple[bool, Delivery]]:
        """Take a segment: number, acknowledgement, flags, data; give what may be read now.

        `checked` says that both ends' numbers are known, so that the segment must fit them.
        """
        seq, ack, flags, data = segment
        out: list[tuple[bool, Delivery]] = []
        if flags & ACK and (not outward) in self.sides:
            out += self._acknowledged(not outward, ack, time_ns)
        side = self.sides.get(outward)
        if side is None:
            return out
        if not checked or self._fits(side, outward, segment):
            out += [(outward, part) for part in side.add(seq, data, time_ns)]
        elif data:
            self._set_aside(outward, seq, data)
        return out

    def sure(self, outward: bool, part: bytes) -> bool:
        """Say whether what the decoder makes of these bytes may speak for their sender."""
        doubted = isinstance(part, Doubted)
        # What was begun by doubted bytes may end in sure ones.
        tainted, self._tainted[outward] = self._tainted.get(outward, False), doubted
        return not doubted and not tainted

    def resets(self, outward: bool, seq: int) -> bool:
        """Say whether a reset counts: only one with the very number that is expected."""
        side = self.sides.get(outward)
        return side is None or side.ahead(seq) == 0 or seq == self._acks.get(not outward)

    def closes(self, outward: bool, end: int = -1) -> bool:
        """Learn that a FIN stands at `end`; say whether the direction has come to its FIN."""
        side = self.sides.get(outward)
        if side is None:
            return end >= 0
        if end >= 0 and 0 <= side.ahead(end) <= WINDOW_BYTES:
            self._fins[outward] = end
        return outward in self._fins and side.ahead(self._fins[outward]) == 0

    def _fits(self, side: Reassembly, outward: bool, segment: tuple[int, int, int, bytes]) -> bool:
        seq, ack, flags, _ = segment
        other, ahead = self.sides.get(not outward), side.ahead(seq)
        if not flags & ACK or flags & RST or ahead > WINDOW_BYTES:
            return False
        if other is None:
            return True
        last = min(0, other.ahead(self._acks.get(outward, ack)))
        lag = _LAG_AHEAD_BYTES if ahead > 0 else _LAG_BYTES
        fits = max(last, -WINDOW_BYTES) - lag <= other.ahead(ack) <= other.held + lag
        if fits and -WINDOW_BYTES <= ahead <= 0:
            self._acks[outward] = ack
        return fits

    def _set_aside(self, outward: bool, seq: int, data: bytes) -> None:
        strays = self._strays.setdefault(outward, deque(maxlen=_MAX_STRAYS))
        left_out = max(len(data) - _MAX_STRAY_BYTES, 0)
        strays.append(((seq + left_out) % _SEQ, data[left_out:]))
        while sum(len(stray) for _, stray in strays) > _MAX_STRAY_BYTES:
            strays.popleft()

    def _acknowledged(self, outward: bool, ack: int, time_ns: int) -> list[tuple[bool, Delivery]]:
        side = self.sides[outward]
        found = side.acknowledge(ack, time_ns)
        strays = self._strays.get(outward)
        if strays and side.ahead(ack) > 0:
            for seq, data in list(strays):
                end = (seq + len(data)) % _SEQ
                in_order = seq == side.next_seq and side.ahead(end) <= side.ahead(ack)
                if not in_order and end != ack:
                    continue
                strays.remove((seq, data))
                if side.ahead(seq) > 0:
                    found += side.jump(seq)
                found += side.add(seq, data, time_ns)
        return [(outward, part) for part in found]
