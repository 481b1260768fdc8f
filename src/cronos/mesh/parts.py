"""The two ends of one lane of bulk: what is owed to a peer, and what came from it out of turn.

Rule 1: a part keeps its place until the peer has said that it arrived, whichever way it went; so an
engine that loses, keeps back or repeats what it was given changes nothing but the time. Rule 2:
what waits is bounded at both ends, the receiver's bound above the sender's.
"""

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec

from cronos.mesh.enginewire import BEGIN, MORE, WHOLE, Part
from cronos.types import MAX_FRAME_BYTES, Lane

PIECE_BYTES: Final = 512 << 10
MAX_WAITING: Final = 512
MAX_WAITING_BYTES: Final = 4 << 20
_MAX_EARLY: Final = 2 * MAX_WAITING
_MAX_EARLY_BYTES: Final = 2 * MAX_WAITING_BYTES
_MAX_RETIRED: Final = 8


class Owed(msgspec.Struct):
    """A part whose message has not arrived whole.

    Attributes:
        part: what it is.
        ends: the number of the message's last part: they are struck off together.
        sent_ns: when it was sent last.
        direct: whether it went by the nodes' own stream.
    """

    part: Part
    ends: int
    sent_ns: int = 0
    direct: bool = False


class Outgoing:
    """What goes to one peer on one lane.

    Attributes:
        session: names the numbering.
        open: whether the peer has said where it begins; before that nothing goes by the engine.
        waiting: what has not arrived, by number.
        unsent: the numbers of those that have not been sent, in order.
        size: bytes that wait.
    """

    def __init__(self, lane: Lane, session: int) -> None:
        self.lane = lane
        self.waiting: OrderedDict[int, Owed] = OrderedDict()
        self.unsent: deque[int] = deque()
        self.size = 0
        self._begin(session)

    def _begin(self, session: int) -> None:
        self.session, self.open, self._number = session, False, 0
        self._put(BEGIN, b"", 0)

    def _put(self, kind: int, data: bytes, ends: int) -> None:
        number, self._number = self._number, self._number + 1
        self.waiting[number] = Owed(Part(self.lane, self.session, number, kind, data), ends)
        self.unsent.append(number)
        self.size += len(data)

    def room(self, size: int) -> bool:
        """Say whether a message of this size may be put; one always may where none waits."""
        few = len(self.waiting) < MAX_WAITING
        return few and (not self.size or self.size + size <= MAX_WAITING_BYTES)

    def put(self, data: bytes) -> None:
        """Take a message, in parts that fit a frame behind their header."""
        starts = range(0, max(1, len(data)), PIECE_BYTES)
        ends = self._number + len(starts) - 1
        for at in starts:
            kind = MORE if self._number < ends else WHOLE
            self._put(kind, data[at : at + PIECE_BYTES], ends)

    def arrived(self, session: int, number: int) -> bool:
        """Strike off what has arrived; say whether anything was."""
        if session != self.session:
            return False
        before = len(self.waiting)
        while self.waiting and next(iter(self.waiting.values())).ends <= number:
            _, owed = self.waiting.popitem(last=False)
            self.size -= len(owed.part.data)
        while self.unsent and self.unsent[0] <= number:
            self.unsent.popleft()
        self.open = True
        return len(self.waiting) < before

    def anew(self, session: int) -> None:
        """Number what waits anew: the peer has forgotten what it had."""
        left = [owed for owed in self.waiting.values() if owed.part.kind != BEGIN]
        self.waiting.clear()
        self.unsent.clear()
        self.size = 0
        self._begin(session)
        for owed in left:
            self._put(owed.part.kind, owed.part.data, self._number + owed.ends - owed.part.number)

    def late(self, now_ns: int, patience_ns: int) -> Iterator[Owed]:
        """Give what went by the engine and has not arrived for too long."""
        for owed in self.waiting.values():
            if owed.sent_ns and not owed.direct and now_ns - owed.sent_ns >= patience_ns:
                yield owed

    def again(self, late: Sequence[Owed]) -> None:
        """Send these once more, before all else and by the nodes' own stream."""
        for owed in reversed(late):
            owed.direct = True
            self.unsent.appendleft(owed.part.number)


class Incoming:
    """What comes from one peer on one lane: the next number, and what came before its turn."""

    def __init__(self) -> None:
        self.session: int = -1
        self.following = 0
        self.ready: deque[bytes] = deque()
        self._early: dict[int, Part] = {}
        self._early_bytes = 0
        self._begun = bytearray()
        self._retired: deque[int] = deque(maxlen=_MAX_RETIRED)

    def take(self, part: Part) -> None:
        """Take a part; what is complete and whose turn it is stands in `ready` afterwards."""
        if part.session != self.session:
            if part.session in self._retired:
                return
            self._retired.append(self.session)
            self.session = part.session
            self.following = 0
            self._early.clear()
            self._begun.clear()
            self._early_bytes = 0
        if part.number < self.following or part.number in self._early:
            return
        room = len(self._early) < _MAX_EARLY
        room = room and self._early_bytes + len(part.data) <= _MAX_EARLY_BYTES
        if part.number == self.following or room:
            self._early[part.number] = part
            self._early_bytes += len(part.data)
        while (turn := self._early.pop(self.following, None)) is not None:
            self._early_bytes -= len(turn.data)
            self.following += 1
            self._gather(turn)

    def _gather(self, part: Part) -> None:
        if part.kind == BEGIN:
            self._begun.clear()
            return
        # In one piece of memory: a list of tiny pieces would weigh many times what they hold.
        self._begun += part.data
        if len(self._begun) > MAX_FRAME_BYTES:
            # No message is so long: whoever says so is not listened to until the next begins.
            self._begun.clear()
        elif part.kind == WHOLE:
            self.ready.append(bytes(self._begun))
            self._begun.clear()
