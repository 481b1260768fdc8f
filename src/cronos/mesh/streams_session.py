"""What two nodes owe each other, whatever becomes of the streams between them.

Pure: words in, words out. A session is one life of a process as one peer sees it. Batches are
numbered in it; each end keeps what the other has not acknowledged, and when a stream takes the
place of another, both say how far they are and send the rest again. So a stream may break, be
replaced or stand twice, and no message is lost, repeated or out of order within its lane, as long
as both processes live.

Rule 1: the urgent lanes go first, into each batch and out of the queue.
Rule 2: on each lane no more is sent than the receiver has allowed. It allows a window beyond what
it has worked off; a message may pass while any of it is left. What the urgent lanes are allowed is
so much that only a receiver that stands still holds them up. A new session of the peer is allowed
only what is left beside that which its former ones sent, or beginning anew would be a way past it.
Rule 3: a number that skips one, and a byte beyond what was allowed, end the stream.
"""

from collections import deque
from typing import Final

import msgspec

from cronos.errors import DeniedError
from cronos.mesh.streams_wire import (
    LANES,
    MOST_MESSAGES,
    URGENT,
    Batch,
    Hello,
    Limits,
    Run,
    Welcome,
    broken,
)
from cronos.types import Lane

_INDEX: Final = {lane: index for index, lane in enumerate(LANES)}
# What a message costs beside its bytes, so that empty ones are bounded as well.
_COST: Final = 32
_NOTHING: Final[Limits] = (0, 0, 0, 0, 0)
# A peer's word says how much it allows, and when what it has may be forgotten: so it is no bound.
MOST_KEPT: Final = 16 << 20


class Bounds(msgspec.Struct, frozen=True):
    """How much may wait and be under way, for one peer.

    Attributes:
        batch_bytes: a batch takes no further message beyond this.
        waiting_bytes: so much may wait in each lane.
        windows: what the receiver allows beyond what it has worked off, lane by lane.
    """

    batch_bytes: int = 1 << 16
    waiting_bytes: int = 1 << 22
    windows: Limits = (1 << 20, 1 << 20, 1 << 20, 1 << 19, 1 << 19)


class Outgoing:
    """What goes to one peer."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._most = bounds.waiting_bytes
        self._lanes: tuple[deque[bytes], ...] = tuple(deque() for _ in LANES)
        self._waiting = [0] * len(LANES)
        self._sent = [0] * len(LANES)
        self._limits: list[int] = list(_NOTHING)
        self._kept: deque[tuple[int, list[Run]]] = deque()
        self._again: deque[tuple[int, list[Run]]] = deque()
        self._costs: deque[int] = deque()
        self._kept_bytes = 0
        self._next = 1

    @property
    def oldest(self) -> int:
        """The number of the first batch that the peer may still be sent."""
        return self._kept[0][0] if self._kept else self._next

    @property
    def owed(self) -> bool:
        """Whether the peer has not acknowledged all that was sent."""
        return bool(self._kept)

    @property
    def queued(self) -> int:
        """How many messages wait or are not acknowledged."""
        kept = sum(len(messages) for _, runs in self._kept for _, messages in runs)
        return kept + sum(len(lane) for lane in self._lanes)

    @property
    def waiting_bytes(self) -> int:
        """How many bytes wait, counting what a message costs by itself."""
        return sum(self._waiting)

    def roomy(self, lane: Lane) -> bool:
        """Say whether half of the room is free, so that nobody is woken for one message."""
        return self._waiting[_INDEX[lane]] * 2 <= self._bounds.waiting_bytes

    def put(self, lane: Lane, data: bytes) -> bool:
        """Let a message wait; False where there is no room for another one."""
        index = _INDEX[lane]
        waiting = self._waiting
        if waiting[index] >= self._most:
            return False
        self._lanes[index].append(data)
        waiting[index] += len(data) + _COST
        return True

    def take(self) -> tuple[int, list[Run]] | None:
        """Give the number and the messages of the next batch; None when there is none for now."""
        if self._again:
            return self._again.popleft()
        if self._kept_bytes >= MOST_KEPT:
            return None
        runs: list[Run] = []
        left = self._bounds.batch_bytes
        for index, waiting in enumerate(self._lanes):
            if waiting and left > 0 and self._sent[index] < self._limits[index]:
                messages = self._drawn(index, left)
                left -= sum(map(len, messages)) + _COST * len(messages)
                runs.append((index, messages))
        if not runs:
            return None
        batch = (self._next, runs)
        self._next += 1
        self._kept.append(batch)
        self._costs.append(self._bounds.batch_bytes - left)
        self._kept_bytes += self._costs[-1]
        return batch

    def _drawn(self, index: int, left: int) -> list[bytes]:
        """Take messages out of a lane: until the batch is full or the allowance is used up."""
        waiting, messages, cost = self._lanes[index], list[bytes](), 0
        allowed = min(left, self._limits[index] - self._sent[index])
        most = min(len(waiting), MOST_MESSAGES)
        draw, add = waiting.popleft, messages.append
        while most and cost < allowed:
            data = draw()
            add(data)
            cost += len(data) + _COST
            most -= 1
        self._sent[index] += cost
        self._waiting[index] -= cost
        return messages

    def acknowledged(self, received: int, limits: Limits) -> None:
        """Take the peer's word on what it has received and allows.

        Raises:
            DeniedError: it has received what was never sent.
        """
        if received >= self._next:
            raise broken("acknowledged what was never sent")
        while self._kept and self._kept[0][0] <= received:
            self._kept.popleft()
            self._kept_bytes -= self._costs.popleft()
        while self._again and self._again[0][0] <= received:
            self._again.popleft()
        for index, limit in enumerate(limits):
            self._limits[index] = max(self._limits[index], limit)

    def resume(self, received: int, limits: Limits) -> None:
        """Go on upon another stream: whatever the peer has not received is sent again."""
        self.acknowledged(received, limits)
        self._again = deque(self._kept)

    def restart(self, limits: Limits) -> None:
        """Begin anew with a peer that knows nothing: what it may have had goes once more."""
        for _, runs in reversed(self._kept):
            for index, messages in runs:
                self._lanes[index].extendleft(reversed(messages))
                self._waiting[index] += sum(map(len, messages)) + _COST * len(messages)
        self._kept.clear()
        self._costs.clear()
        self._kept_bytes = 0
        self._again.clear()
        self._sent = [0] * len(LANES)
        self._limits = list(limits)


class Incoming:
    """What comes from one peer."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self.received = 0
        self._came = [0] * len(LANES)
        self._worked = [0] * len(LANES)
        self._discarded = [0] * len(LANES)
        self._told = (0, self._allowed())
        self._first = True

    def _allowed(self) -> Limits:
        each = zip(self._worked, self._bounds.windows, self._discarded, strict=True)
        allowed = [max(0, worked + window - former) for worked, window, former in each]
        return (allowed[0], allowed[1], allowed[2], allowed[3], allowed[4])

    def restart(self, oldest: int) -> None:
        """Begin anew with a peer that has begun anew: its first batch has a number from here on.

        It may be a later one, as it numbers anew what it had sent to a former life of ours.
        """
        self.received = max(0, oldest - 1)
        self._first = True
        # What its former life had sent is yet to be worked off: until then there is less room.
        for index, came in enumerate(self._came):
            self._discarded[index] += came - self._worked[index]
        self._came = [0] * len(LANES)
        self._worked = [0] * len(LANES)
        self._told = (0, _NOTHING)

    def accept(self, batch: Batch) -> bool:
        """Say whether a batch is new.

        Raises:
            DeniedError: one before it is missing, or it holds more than was allowed.
        """
        if batch.number <= self.received:
            return False
        if batch.number != self.received + 1 and not self._first:
            raise broken("left out a batch")
        windows = self._bounds.windows
        for index, messages in batch.runs:
            cost = sum(map(len, messages)) + _COST * len(messages)
            last = len(messages[-1]) + _COST if messages else 0
            ahead = self._came[index] - self._worked[index] + self._discarded[index]
            if not messages or ahead + cost - last >= windows[index]:
                raise broken(f"sent more on `{LANES[index]}` than it was allowed")
            self._came[index] += cost
        self.received, self._first = batch.number, False
        return True

    def worked_off(self, lane: Lane, messages: list[bytes]) -> None:
        """Note that a run has been received, so that the peer may send as much again."""
        index = _INDEX[lane]
        cost = sum(map(len, messages)) + _COST * len(messages)
        former = min(cost, self._discarded[index])
        self._discarded[index] -= former
        self._worked[index] += cost - former

    def word(self) -> tuple[int, Limits]:
        """Give what the peer should know by now; it counts as told."""
        self._told = (self.received, self._allowed())
        return self._told

    def untold(self) -> bool:
        """Say whether the peer does not know all."""
        return self._told != (self.received, self._allowed())

    def pressing(self) -> bool:
        """Say whether the peer should be told now: it may be about to run out of allowance."""
        windows = self._bounds.windows
        told, now = self._told[1], self._allowed()
        return any(n - t >= w // 2 for n, t, w in zip(now, told, windows, strict=True))


class Session:
    """Both directions with one peer, across all streams.

    Args:
        me: this life of this process.
        bounds: how much may wait and be under way.
    """

    def __init__(self, me: str, bounds: Bounds) -> None:
        self._me = me
        self._bounds = bounds
        self.out = Outgoing(bounds)
        self.incoming = Incoming(bounds)
        self.peer = ""
        """The peer's session, as last heard."""

    def greeting(self) -> tuple[str, int, tuple[str, int], Limits]:
        """Give session, oldest, known and limits, for the first word on a stream."""
        received, limits = self.incoming.word()
        return self._me, self.out.oldest, (self.peer, received), limits

    def joined(self, hello: Hello | Welcome) -> None:
        """Take up another stream with what the peer said on it.

        Raises:
            DeniedError: what it says cannot be.
        """
        # Its word may be older than what came by another stream, or be about my former life.
        mine, received = hello.known
        limits = hello.limits if mine in ("", self._me) else _NOTHING
        received = received if mine == self._me else 0
        if hello.session == self.peer:
            self.out.resume(received, limits)
            return
        self.peer = hello.session
        self.incoming.restart(hello.oldest)
        if mine == self._me:
            self.out.resume(received, limits)
        else:
            self.out.restart(limits)

    def next(self) -> Batch | None:
        """Give the next batch to send; None when there is nothing to say at once."""
        taken = self.out.take()
        if taken is None:
            return self.word() if self.incoming.pressing() else None
        received, limits = self.incoming.word()
        return Batch(taken[0], received, limits, taken[1])

    def word(self) -> Batch | None:
        """Give a batch without messages, if the peer does not know all."""
        if not self.incoming.untold():
            return None
        received, limits = self.incoming.word()
        return Batch(0, received, limits, [])

    def take(self, batch: Batch) -> list[Run]:
        """Give the new messages of a batch that came.

        Raises:
            DeniedError: the peer breaks a rule.
        """
        self.out.acknowledged(batch.received, batch.limits)
        if batch.number == 0 or not self.incoming.accept(batch):
            return []
        return batch.runs


def urgent(index: int) -> bool:
    """Say whether a lane goes before anything else."""
    return index < URGENT


def require_peer(said: Hello | Welcome, certified: str, me: str) -> None:
    """Refuse a peer that calls itself other than its certificate, or that is this node.

    Raises:
        DeniedError: it does.
    """
    if said.instance != certified or certified == me:
        raise DeniedError(
            "mesh.wrong_name",
            f"A peer that is certified as {certified!r} calls itself {said.instance[:63]!r}.",
            "Start it with the instance of its certificate; no two nodes may share one.",
        )
