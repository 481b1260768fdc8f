"""What was heard from peers: how far each stream is held, what is signed, what is a repetition.

A peer's messages come in its own numbering and may come twice, or ahead of one that was lost on the
way. Rule 1: `held` passes a gap only when its sender said that nothing stands in it. Rule 2: what
has been heard is handed over once, by number, and by id for longer than the message counts, so that
one posted again under another number is known too. Rule 3: all of it is bounded for each peer; one
that sends more than it signs is not acknowledged, and has to wait.

This is state alone: it opens nothing and reads no clock.
"""

import heapq
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator
from itertools import chain
from typing import Final

import msgspec
from msgspec.structs import replace

from cronos.mesh.entries import MAX_TTL_NS, Entry, Forgotten, Seen, Stood, Took, Until
from cronos.types import Now

# In steady traffic something is past at any time; to look through all is worth it this often.
_LOOK_NS: Final = 10_000_000_000
MAX_KEPT: Final = 16_384
MAX_KEPT_BYTES: Final = 16 << 20
MAX_UNSIGNED: Final = 16_384
MAX_UNSIGNED_BYTES: Final = 16 << 20
MAX_AHEAD: Final = 4_096
MAX_IDS: Final = 65_536
MAX_PEERS: Final = 4_096


class Unsigned(msgspec.Struct, frozen=True):
    """A message whose signature has not come, and since when."""

    took: Took
    since_ns: int


class Box(msgspec.Struct):
    """What is known of one peer's stream.

    Attributes:
        stream: the incarnation in which its outbox began.
        held: everything up to here has been heard, or will never come.
        ahead: number -> the one before it, of what was heard beyond a gap.
        gaps: the same as (one before, number), as a heap: the gap that closes next comes first.
        unsigned: what waits for its signature.
        unsigned_bytes: how much that is, with `left`.
        left: what waited for it when its sender began another stream: it stays owed.
        kept: what still counts and is heard again after a restart; the newest of it.
        ids: what was heard -> until when, its time to count included.
        look_ns: nothing of the last two is past before this time of the boot.
        looked_ns: when that was looked for; it is not again before `_LOOK_NS` are over.
    """

    stream: int = 0
    held: int = 0
    ahead: dict[int, int] = {}
    gaps: list[tuple[int, int]] = []
    unsigned: dict[int, Unsigned] = {}
    unsigned_bytes: int = 0
    left: list[Unsigned] = []
    kept: OrderedDict[int, Took] = msgspec.field(default_factory=OrderedDict[int, Took])
    kept_bytes: int = 0
    ids: OrderedDict[str, Until] = msgspec.field(default_factory=OrderedDict[str, Until])
    look_ns: int = 0
    looked_ns: int = -_LOOK_NS

    @property
    def signed(self) -> int:
        """Up to here nothing waits for a signature."""
        return min(min(self.unsigned, default=self.held + 1) - 1, self.held)


class Inbox:
    """The boxes of all peers.

    Args:
        boot_id: names this boot.
        skew_ns: how much longer than its message an id is remembered.
        signs: whether messages are expected to be signed.
    """

    def __init__(self, boot_id: str, skew_ns: int, *, signs: bool) -> None:
        self._boot_id = boot_id
        self._skew_ns = skew_ns
        self._signs = signs
        self._boxes: OrderedDict[str, Box] = OrderedDict()

    def box(self, peer: str) -> Box:
        """Give a peer's box, an empty one at first."""
        found = self._boxes.get(peer)
        if found is None:
            found = self._boxes[peer] = Box()
            while len(self._boxes) > MAX_PEERS:
                self._boxes.popitem(last=False)
        return found

    def begin(self, peer: str, stream: int) -> bool:
        """Take up a peer's stream; False where it is older than the one that is known.

        A later stream begins anew: its sender has lost its outbox, and what it numbers. What it had
        not signed counts on, or a stream for each message would sign none.
        """
        box = self.box(peer)
        if stream > box.stream:
            box.stream, box.held = stream, 0
            box.ahead.clear()
            box.gaps.clear()
            box.left += box.unsigned.values()
            box.unsigned.clear()
            box.kept.clear()
            box.kept_bytes = 0
        return stream == box.stream

    def has_room(self, peer: str) -> bool:
        """Say whether more may be taken from a peer."""
        box = self.box(peer)
        owed = len(box.unsigned) + len(box.left)
        signs = owed < MAX_UNSIGNED and box.unsigned_bytes < MAX_UNSIGNED_BYTES
        return signs and len(box.ahead) < MAX_AHEAD

    def waits_ns(self, peer: str, now: Now) -> int:
        """Say for how long a peer's signatures have been waited for, the first of them."""
        box = self.box(peer)
        first = next(chain(box.left, box.unsigned.values()), None)
        return now.boot_ns - first.since_ns if first is not None else 0

    def is_new(self, peer: str, position: int) -> bool:
        """Say whether a number of the peer's stream has not been heard."""
        box = self.box(peer)
        return position > box.held and position not in box.ahead

    def is_known(self, peer: str, ident: str) -> bool:
        """Say whether an id has been heard, under whatever number."""
        return bool(ident) and ident in self.box(peer).ids

    def take(self, took: Took, now: Now) -> None:
        """Keep what was heard; its number is to be passed as well."""
        box = self.box(took.peer)
        self._remember(box, took)
        if self._signs:
            self._owe(box, took, now)

    @staticmethod
    def _owe(box: Box, took: Took, now: Now) -> None:
        before = box.unsigned.get(took.position)
        box.unsigned_bytes += took.size - (before.took.size if before else 0)
        box.unsigned[took.position] = Unsigned(took, now.boot_ns)

    @staticmethod
    def _settle(box: Box, position: int) -> None:
        found = box.unsigned.pop(position, None)
        box.unsigned_bytes -= found.took.size if found else 0

    def passed(self, peer: str, position: int, after: int) -> None:
        """Note that a number was heard, or is past, and that nothing stands between."""
        box = self.box(peer)
        if after > box.held:
            if after < box.ahead.get(position, after + 1):
                box.ahead[position] = after
                heapq.heappush(box.gaps, (after, position))
                self._tidy(box)
            return
        box.held = max(box.held, position)
        # Whoever sends chooses both numbers: each must cost the same, whatever waits already.
        while box.gaps and box.gaps[0][0] <= box.held:
            _, one = heapq.heappop(box.gaps)
            box.held = max(box.held, one)
            box.ahead.pop(one, None)

    @staticmethod
    def _tidy(box: Box) -> None:
        """Forget gaps that were narrowed since: a number may be told again and again."""
        if len(box.gaps) > 2 * len(box.ahead) + 64:
            box.gaps = [(after, position) for position, after in box.ahead.items()]
            heapq.heapify(box.gaps)

    def signed(self, peer: str, position: int) -> None:
        """Note that a message's signature verifies."""
        self._settle(self.box(peer), position)

    def waiting(self, peer: str, position: int) -> Took | None:
        """Give a message that waits for its signature."""
        found = self.box(peer).unsigned.get(position)
        return found.took if found else None

    def forget(self, peer: str) -> None:
        """Drop all that is known of a peer."""
        self._boxes.pop(peer, None)

    def all_stood(self) -> list[Stood]:
        """Say so of every peer."""
        return [self.stood(peer) for peer in self._boxes]

    def stood(self, peer: str) -> Stood:
        """Say how far a peer's stream is held, as the journal and the peer itself are told."""
        box = self.box(peer)
        return Stood(peer, box.stream, box.held, box.signed)

    def excuse(self, now_ns: int, peer: str = "") -> None:
        """Wait for signatures from now on, of one peer or all: it, or this node, was away."""
        boxes = self._boxes.values() if not peer else [self.box(peer)]
        for box in boxes:
            box.unsigned = {n: replace(one, since_ns=now_ns) for n, one in box.unsigned.items()}
            box.left = [replace(one, since_ns=now_ns) for one in box.left]

    def expire(
        self, now: Now, patience_ns: int, linked: Collection[str] | None = None
    ) -> list[Took]:
        """Drop what is past; give what was not signed in `patience_ns`, and is waited for no more.

        Who is not `linked` cannot sign, and is waited for as long as any message counts.
        A call goes through what is kept only when some of it may be past.
        """
        missing: list[Took] = []
        for peer, box in self._boxes.items():
            here = linked is None or peer in linked
            since_ns = now.boot_ns - (patience_ns if here else MAX_TTL_NS)
            late = _since(box.unsigned.values(), since_ns)
            for took in late:
                self._settle(box, took.position)
                lapsed = replace(took, lapsed=True)
                if took.position in box.kept:
                    box.kept[took.position] = lapsed
                missing.append(lapsed)
            missing += self._given_up(box, since_ns)
            if now.boot_ns >= max(box.look_ns, box.looked_ns + _LOOK_NS):
                self._drop_past(box, now)
        return missing

    @staticmethod
    def _given_up(box: Box, since_ns: int) -> list[Took]:
        """Give what was said in an earlier stream and is waited for no more."""
        late = [one.took for one in box.left if one.since_ns <= since_ns]
        box.left = [one for one in box.left if one.since_ns > since_ns]
        box.unsigned_bytes -= sum(took.size for took in late)
        return [replace(took, lapsed=True) for took in late]

    def _drop_past(self, box: Box, now: Now) -> None:
        past = [n for n, took in box.kept.items() if not took.ends.left_ns(now, self._boot_id)]
        for position in past:
            box.kept_bytes -= box.kept.pop(position).size
        over = [one for one, ends in box.ids.items() if not ends.left_ns(now, self._boot_id)]
        for ident in over:
            del box.ids[ident]
        kept = (took.ends.left_ns(now, self._boot_id) for took in box.kept.values())
        ids = (ends.left_ns(now, self._boot_id) for ends in box.ids.values())
        box.looked_ns = now.boot_ns
        box.look_ns = now.boot_ns + min(chain(kept, ids), default=MAX_TTL_NS)

    def _remember(self, box: Box, took: Took) -> None:
        before = box.kept.get(took.position)
        box.kept[took.position] = took
        box.look_ns = min(box.look_ns, took.ends.boot_ns)
        box.kept_bytes += took.size - (before.size if before else 0)
        while len(box.kept) > MAX_KEPT or box.kept_bytes > MAX_KEPT_BYTES:
            box.kept_bytes -= box.kept.popitem(last=False)[1].size
        self._see(box, took.ident, took.ends)

    def _see(self, box: Box, ident: str, ends: Until) -> None:
        if not ident:
            return
        skew = self._skew_ns
        box.ids[ident] = Until(ends.boot_id, ends.boot_ns + skew, ends.wall_ns + skew)
        while len(box.ids) > MAX_IDS:
            box.ids.popitem(last=False)

    @property
    def size(self) -> int:
        """How much memory all of it is counted as."""
        return sum(box.kept_bytes + 100 * len(box.ids) for box in self._boxes.values())

    # --- the journal ---------------------------------------------------------------------------

    def restore(self, entry: Entry, now: Now) -> None:
        """Take an entry back from the journal, in the order in which they were written."""
        match entry:
            case Took():
                if self.begin(entry.peer, entry.stream):
                    self._restore_took(entry, now)
            case Stood():
                if self.begin(entry.peer, entry.stream):
                    box = self.box(entry.peer)
                    box.held = max(box.held, entry.held)
                    for position in [n for n in box.unsigned if n <= entry.signed]:
                        self._settle(box, position)
            case Seen():
                box = self.box(entry.peer)
                box.ids[entry.ident] = entry.ends
            case Forgotten():
                self.forget(entry.peer)
            case _:
                pass

    def _restore_took(self, took: Took, now: Now) -> None:
        box = self.box(took.peer)
        self._remember(box, took)
        if took.lapsed:
            self._settle(box, took.position)
        elif self._signs:
            self._owe(box, took, now)

    def settled(self) -> None:
        """Drop, after the last entry, what is beyond `held`: its sender will send it again.

        Its ids go too, or it would be known, and heard by nobody who has started since.
        """
        for box in self._boxes.values():
            for position in [n for n in box.kept if n > box.held]:
                took = box.kept.pop(position)
                box.kept_bytes -= took.size
                self._settle(box, position)
                box.ids.pop(took.ident, None)

    def again(self, now: Now) -> Iterator[tuple[Took, bool]]:
        """Give what still counts, and whether it is signed, for a node that has started anew."""
        for box in self._boxes.values():
            for position, took in box.kept.items():
                if took.ends.left_ns(now, self._boot_id):
                    yield took, self._signs and not took.lapsed and position not in box.unsigned

    def dump(self) -> Iterable[Entry]:
        """Give entries that restore all of this."""
        for peer, box in self._boxes.items():
            for ident, ends in box.ids.items():
                yield Seen(peer, ident, ends)
            yield from box.kept.values()
            yield self.stood(peer)


def _since(unsigned: Iterable[Unsigned], since_ns: int) -> list[Took]:
    """Give those that have waited since then; the longest that wait come first."""
    late: list[Took] = []
    for one in unsigned:
        if one.since_ns > since_ns:
            break
        late.append(one.took)
    return late
