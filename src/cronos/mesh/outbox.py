"""The durable outbox: what this node has told its peers, and how far each of them holds it.

Positions rise for as long as the outbox lives, across restarts too: every start skips ahead to a
floor that is on the disk before the first message leaves, so that a number which was sent but not
synced is never used for another message. A lost outbox begins another *stream*, the incarnation
of its first process.

What is added is in memory at once and may be sent at once; it is *acknowledged* when `store` has
returned for it. A bulletin stays until it expires, though all have it: whoever joins, or has lost
its folder, hears what is still in force. A receipt goes when its peer has it. Where there is no
room, what all have goes first, and then `add` refuses.

The inbox lies in the same journal: one sync serves both directions.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from cronos.config import Positive, Section
from cronos.errors import CronosError, DeniedError, UnreachableError
from cronos.mesh.entries import (
    MAX_TTL_NS,
    Began,
    Entry,
    Forgotten,
    Posted,
    Told,
    pack,
    unpack,
    until,
)
from cronos.mesh.inbox import Inbox
from cronos.mesh.journal import Journal
from cronos.ports import Clock, Sealer
from cronos.types import Now

_FLOOR_BITS: Final = 20
_REWRITE_BYTES: Final = 1 << 20
_HIGHEST: Final = 1 << 62
# How many receipts for one peer are kept: a flood leaves some hundred that wait for signatures.
_MOST_OWED: Final = 1_024


class OutboxConfig(Section, frozen=True):
    """How much is kept for peers, and how long ids are remembered."""

    max_messages: Positive = 65_536
    max_bytes: Positive = 32 << 20
    # How far apart the clocks of two nodes may be: ids are remembered that much longer.
    skew_ms: Positive = 60_000


class Message(msgspec.Struct, frozen=True):
    """What is to be told: canonical bytes, to whom ("": all), and for how long it counts."""

    incarnation: int
    data: bytes
    ttl_ns: int
    to: str = ""
    of: int = 0
    replaces: str = ""


class Outbox:
    """Keeps messages until they are held by their peers, or past.

    `open` comes first. Everything but `store` belongs to the event loop's thread; `store` may run
    in another, one call at a time.

    Args:
        config: its bounds.
        folder: its own, made with mode 0700.
        sealer: how it lies at rest.
        clock: what expires.
        incarnation: names the stream, where there is none yet; higher at every start.
        signs: whether a message is done with only when its signature is held too.

    Attributes:
        sent: up to where each peer has been sent something in this life.
    """

    def __init__(
        self,
        config: OutboxConfig,
        folder: Path,
        sealer: Sealer,
        clock: Clock,
        incarnation: int,
        *,
        signs: bool = True,
    ) -> None:
        self._config = config
        self._folder = folder
        self._sealer = sealer
        self._clock = clock
        self._boot_id = clock.boot_id()
        self._journal: Journal | None = None
        self._pending: list[Entry] = []
        self._posted: dict[int, Posted] = {}
        self._order: list[int] = []
        self._names: dict[str, int] = {}
        self._addressed: dict[str, dict[int, None]] = {}
        self._told: dict[str, Told] = {}
        self.sent: dict[str, int] = {}
        self._size = 0
        self._next = 1
        self._whole = False
        self._look_ns = 0
        self.signs = signs
        self.stream = incarnation
        self.inbox = Inbox(self._boot_id, config.skew_ms * 1_000_000, signs=signs)

    def open(self) -> Sequence[CronosError]:
        """Read what is there; give what was wrong with it. Once, before anything else.

        With a full disk it is open all the same, and `store` says so until there is room.

        Raises:
            UnreachableError: the keys do not answer; it may be tried again.
            DeniedError: another process has it, or its keys are not these.
        """
        journal = self._journal or Journal(self._folder, "outbox", self._sealer)
        self._journal = journal
        floor = 0
        now = self._clock.now()
        for payload in journal.load():
            floor = max(floor, self._restore(unpack(payload), now))
        self.inbox.settled()
        self._next = ((floor >> _FLOOR_BITS) + 1) << _FLOOR_BITS
        remarks = list(journal.remarks)
        self._whole = bool(remarks)
        self._pending = [Began(self.stream, self._next)]
        try:
            self.store(self.take_pending())
        except UnreachableError:
            raise
        except CronosError as error:
            remarks.append(error)
            # The floor is not on the disk: numbers that no earlier start can have used.
            self._next = max(self._next, now.wall_ns >> _FLOOR_BITS << _FLOOR_BITS)
            self.stale()
        return remarks

    def close(self) -> None:
        """Release the files; more than once is harmless."""
        if self._journal is not None:
            self._journal.close()

    # --- sending -------------------------------------------------------------------------------

    def add(self, message: Message) -> Posted:
        """Give a message its position; it is durable once `store` has returned for it.

        Raises:
            DeniedError: there is no room, even without what all peers hold.
        """
        now = self._clock.now()
        ends = until(now, self._boot_id, message.ttl_ns)
        self._make_room(len(message.data), now)
        posted = Posted(
            self._next,
            message.incarnation,
            message.to,
            message.of,
            ends,
            message.data,
            message.replaces,
        )
        self._next += 1
        self._keep(posted)
        self._pending.append(posted)
        return posted

    def due(
        self, peer: str, after: int, most: int, room: int = _HIGHEST
    ) -> tuple[int, list[Posted]]:
        """Give the messages for a peer behind `after`, at most `most`, and few beyond `room` bytes.

        Before them comes the position of the last one for it that still exists, 0 where none does:
        there is nothing between for this peer.
        """
        order, known = self._order, self._posted
        at = bisect_right(order, after)
        found: list[Posted] = []
        for index in range(at, len(order)):
            posted = known.get(order[index])
            if posted is not None and (not posted.to or posted.to == peer):
                found.append(posted)
                room -= len(posted.data)
                if len(found) == most or room < 0:
                    break
        return self._before(peer, at), found

    def waiting(self, peer: str) -> int:
        """Count what a peer does not hold yet."""
        told = self.told(peer)
        at = bisect_right(self._order, told.held)
        rest = (self._posted.get(position) for position in self._order[at:])
        return sum(one is not None and one.to in ("", peer) for one in rest)

    def left_ms(self, posted: Posted, now: Now) -> int:
        """Give how long a message still counts."""
        return posted.ends.left_ns(now, self._boot_id) // 1_000_000

    def told(self, peer: str) -> Told:
        """Say how far a peer holds this stream."""
        return self._told.get(peer) or Told(peer, 0, 0)

    def acknowledge(self, peer: str, held: int, signed: int) -> None:
        """Take a peer's word on how far it holds this stream; what is done with goes.

        It may be less than before: a peer that lost its folder begins again.
        """
        told = Told(peer, min(held, self._next - 1), min(signed, held, self._next - 1))
        before = self._told.get(peer)
        if before == told:
            return
        self._told[peer] = told
        self._pending.append(told)
        if before is None or self._done(told) > self._done(before):
            self._drop_own(peer)

    def is_behind(self, stream: int, held: int) -> bool:
        """Say whether a peer knows of what was never said: another's word, or an old copy of this.

        What is said from here on it would take for what it has heard.
        """
        return stream > self.stream or (stream == self.stream and held >= self._next)

    def begin_anew(self, stream: int) -> None:
        """Call what follows another stream: peers know a later one of this node than it does.

        All that is still in force is told again, under the same positions.
        """
        self.stream = stream
        self._told = {peer: Told(peer, 0, 0) for peer in self._told}
        self.stale()

    def know(self, peers: Iterable[str]) -> None:
        """Wait for these peers too, from now on."""
        for peer in peers:
            self._told.setdefault(peer, Told(peer, 0, 0))

    def known(self) -> tuple[str, ...]:
        """Give the peers that are waited for, sorted."""
        return tuple(sorted(self._told))

    def forget(self, peer: str) -> None:
        """Wait for a peer no more: it has left, or was revoked."""
        self._told.pop(peer, None)
        self.sent.pop(peer, None)
        self.inbox.forget(peer)
        for position in list(self._addressed.get(peer, ())):
            self._remove(position)
        self._pending.append(Forgotten(peer))

    def expire(self) -> int:
        """Drop what is past; give how many messages that somebody has not got."""
        now = self._clock.now()
        if now.boot_ns < self._look_ns:
            return 0
        left = {n: one.ends.left_ns(now, self._boot_id) for n, one in self._posted.items()}
        past = [n for n, left_ns in left.items() if not left_ns]
        self._look_ns = now.boot_ns + min(filter(None, left.values()), default=MAX_TTL_NS)
        lost = sum(not self._held_by_all(self._posted[position]) for position in past)
        for position in past:
            self._remove(position)
        return lost

    def find(self, position: int) -> Posted | None:
        """Give what stands at a position."""
        return self._posted.get(position)

    def posted(self) -> Iterator[Posted]:
        """Give what is kept, oldest first."""
        return iter(list(self._posted.values()))

    @property
    def size(self) -> tuple[int, int]:
        """How many messages are kept, and the memory that they are counted as."""
        return len(self._posted), self._size

    # --- the disk ------------------------------------------------------------------------------

    def note(self, entry: Entry) -> None:
        """Write an entry with the next batch."""
        self._pending.append(entry)

    @property
    def unwritten(self) -> bool:
        """Say whether something waits to be stored."""
        return bool(self._pending) or self._whole

    def take_pending(self) -> tuple[Sequence[Entry], bool]:
        """Give what is to be stored next, and whether it replaces all that is on the disk."""
        pending, self._pending = self._pending, []
        journal = self._journal
        grown = journal is not None and journal.size > max(_REWRITE_BYTES, 3 * self._live())
        if not (self._whole or grown):
            # What was superseded meanwhile, or is held already, need not be written any more.
            return [
                one
                for one in pending
                if not isinstance(one, Posted) or one.position in self._posted
            ], False
        self._whole = False
        return list(self._dump()), True

    def store(self, batch: tuple[Sequence[Entry], bool]) -> None:
        """Put a batch on the disk, durably.

        Raises:
            CronosError: it is not there; tell `stale`, and store again what is pending then.
        """
        entries, whole = batch
        if self._journal is None:
            raise _closed()
        payloads = list(pack(entries))
        if whole:
            self._journal.rewrite(payloads)
            return
        for payload in payloads:
            self._journal.append(payload)

    def stale(self) -> None:
        """Write everything anew next time: a batch was not stored."""
        self._whole = True

    # --- within --------------------------------------------------------------------------------

    def _restore(self, entries: Sequence[Entry], now: Now) -> int:
        """Take entries back; give the highest position that they name."""
        highest = 0
        for entry in entries:
            match entry:
                case Began():
                    self.stream = entry.stream
                    highest = max(highest, entry.floor)
                case Posted():
                    highest = max(highest, entry.position)
                    if entry.position not in self._posted and entry.ends.left_ns(
                        now, self._boot_id
                    ):
                        self._keep(entry)
                case Told():
                    self._told[entry.peer] = entry
                    self._drop_own(entry.peer)
                case Forgotten():
                    self._told.pop(entry.peer, None)
                    for position in list(self._addressed.get(entry.peer, ())):
                        self._remove(position)
                    self.inbox.restore(entry, now)
                case _:
                    self.inbox.restore(entry, now)
        return min(highest, _HIGHEST)

    def _dump(self) -> Iterator[Entry]:
        yield Began(self.stream, self._next)
        yield from self._posted.values()
        yield from self._told.values()
        yield from self.inbox.dump()

    def _live(self) -> int:
        return self._size + self.inbox.size + (len(self._told) << 6)

    def _keep(self, posted: Posted) -> None:
        if posted.replaces:
            before = self._names.get(posted.replaces)
            # What has been sent is owed its signature, and kept until its receiver has that; not
            # without end, or one that takes no signatures would leave no room for the others.
            if before is not None and before > self.sent.get(posted.to, 0):
                self._remove(before)
            self._names[posted.replaces] = posted.position
            owed = self._addressed.get(posted.to, {})
            if len(owed) >= _MOST_OWED:
                # What each replaces follows the peer's own word: it may be another every time.
                self._remove(next(filter(self._is_superseded, owed), next(iter(owed))))
        self._posted[posted.position] = posted
        self._order.append(posted.position)
        self._size += posted.size
        self._look_ns = min(self._look_ns, posted.ends.boot_ns)
        if posted.to:
            self._addressed.setdefault(posted.to, {})[posted.position] = None

    def _remove(self, position: int) -> None:
        posted = self._posted.pop(position, None)
        if posted is None:
            return
        self._size -= posted.size
        if posted.to:
            self._addressed[posted.to].pop(position)
        if self._names.get(posted.replaces) == position:
            del self._names[posted.replaces]
        if len(self._order) > 2 * len(self._posted) + 64:
            self._order = list(self._posted)

    def _before(self, peer: str, at: int) -> int:
        for index in range(at - 1, -1, -1):
            position = self._order[index]
            posted = self._posted.get(position)
            if posted is not None and posted.to in ("", peer):
                return position
        return 0

    def _done(self, told: Told) -> int:
        return told.signed if self.signs else told.held

    def _drop_own(self, peer: str) -> None:
        done = self._done(self._told[peer])
        for position in [n for n in self._addressed.get(peer, ()) if n <= done]:
            self._remove(position)

    def _held_by_all(self, posted: Posted) -> bool:
        told = [self.told(posted.to)] if posted.to else list(self._told.values())
        return bool(told) and all(self._done(one) >= posted.position for one in told)

    def _is_superseded(self, position: int) -> bool:
        replaces = self._posted[position].replaces
        return bool(replaces) and self._names.get(replaces) != position

    def _make_room(self, size: int, now: Now) -> None:
        config = self._config
        if len(self._posted) < config.max_messages and self._size + size < config.max_bytes:
            return
        past = [
            n
            for n, one in self._posted.items()
            if self._is_superseded(n)
            or self._held_by_all(one)
            or not one.ends.left_ns(now, self._boot_id)
        ]
        for position in past:
            self._remove(position)
        if len(self._posted) >= config.max_messages or self._size + size >= config.max_bytes:
            raise DeniedError(
                "mesh.outbox_full",
                f"{len(self._posted)} messages wait for peers that do not take them; no more fit.",
                "Look why peers are away (`cronos mesh peers`), or raise max_messages, max_bytes.",
            )


def _closed() -> DeniedError:
    return DeniedError("mesh.outbox_closed", "The outbox is not open.", "Open it first.")
