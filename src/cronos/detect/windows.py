"""Bounded memory over event time: the least recently used table, and the sliding window.

Event time comes from many clocks and may jump. Rule 1: within a key, time never runs backwards;
an event a little late counts as now. Rule 2: a jump back by more than the window means that the
clock was set, and the window starts anew: nothing old is ever added to something new.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, Generic, TypeVar

import msgspec

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")
StateT = TypeVar("StateT")

SECOND_NS: Final = 1_000_000_000
# A flood of one key may not grow its window without bound: the oldest members leave first.
MAX_MEMBERS: Final = 128
_NO_LEVELS: Final = (0, 0, 0)


class Recent(Generic[KeyT, ValueT]):
    """A table of at most `limit` keys; the least recently touched leaves first."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._table: OrderedDict[KeyT, ValueT] = OrderedDict()

    def touch(self, key: KeyT, make: Callable[[], ValueT]) -> ValueT:
        """Give the value of `key`, made if it is new, and count it as just used."""
        value = self._table.get(key)
        if value is None:
            value = make()
            self.put(key, value)
        else:
            self._table.move_to_end(key)
        return value

    def put(self, key: KeyT, value: ValueT) -> None:
        """Set a value and count its key as just used."""
        self._table[key] = value
        self._table.move_to_end(key)
        if len(self._table) > self._limit:
            self._table.popitem(last=False)

    def get(self, key: KeyT) -> ValueT | None:
        """Give the value of `key` without counting it as used."""
        return self._table.get(key)

    def items(self) -> list[tuple[KeyT, ValueT]]:
        """Give all entries, the least recently used first."""
        return list(self._table.items())

    def fill(self, items: list[tuple[KeyT, ValueT]]) -> None:
        """Replace everything by `items`, the least recently used first."""
        self._table.clear()
        for key, value in items:
            self.put(key, value)

    def __len__(self) -> int:
        return len(self._table)


class Member(msgspec.Struct, array_like=True, gc=False):
    """One member of a window: when it was last seen, whether it failed, who vouches for it."""

    time_ns: int
    failed: bool
    strength: int
    mark: str


class Window(msgspec.Struct, array_like=True):
    """The distinct members seen for one key within the last while, oldest first."""

    members: dict[str, Member] = {}
    failed: int = 0
    # The level told so far, by how strong a voice vouched for it, the weakest first: what
    # forged packets reach must not silence what proven ones reach later.
    levels: tuple[int, int, int] = _NO_LEVELS
    last_ns: int = 0

    def add(self, name: str, seen: Member, window_ns: int, quiet_ns: int) -> None:
        """Add or renew a member and forget what is older than `window_ns`.

        A member that ever answered counts as answered. The episode ends, so that it may be
        reported again, after `quiet_ns` without any member.
        """
        now_ns = self._settle(seen.time_ns, window_ns, quiet_ns)
        old = self._drop(name)
        failed = seen.failed and (old is None or old.failed)
        # The dictionary keeps insertion order: dropping and adding moves a member to the end.
        self.members[name] = Member(now_ns, failed, seen.strength, seen.mark)
        self.failed += failed
        self._forget(now_ns - window_ns)

    def reached(self, thresholds: tuple[int, ...]) -> int:
        """Give the level newly reached, 0 where nothing is new; levels count from 1.

        A level is reached anew when stronger voices alone reach what weaker ones had reached.
        """
        if not thresholds or len(self.members) < thresholds[0]:
            return 0
        strengths = [member.strength for member in self.members.values()]
        # The strongest voice first: one finding says it for the weaker ones too.
        for strength in reversed(range(len(self.levels))):
            count = sum(one >= strength for one in strengths)
            level = sum(count >= threshold for threshold in thresholds)
            if level > self.levels[strength]:
                self._told(level, strength)
                return level
        return 0

    def span_ns(self) -> int:
        """Give the time between the oldest member and the newest."""
        if not self.members:
            return 0
        oldest = next(iter(self.members.values()))
        return self.last_ns - oldest.time_ns

    def marks(self, count: int) -> tuple[str, ...]:
        """Name the latest `count` observations, oldest first."""
        return tuple(member.mark for member in list(self.members.values())[-count:])

    def clear(self) -> None:
        """Forget the members, not the episode."""
        self.members = {}
        self.failed = 0

    def forget(self, strength: int) -> None:
        """Forget the members that are vouched for no better than this, not the episode."""
        for name in [name for name, one in self.members.items() if one.strength <= strength]:
            self._drop(name)

    def _told(self, level: int, strength: int) -> None:
        weakest, middle, strongest = (
            max(told, level) if at <= strength else told for at, told in enumerate(self.levels)
        )
        self.levels = weakest, middle, strongest

    def _settle(self, time_ns: int, window_ns: int, quiet_ns: int) -> int:
        if self.last_ns - time_ns > window_ns:
            self.clear()
            self.levels = _NO_LEVELS
            self.last_ns = time_ns
        if time_ns - self.last_ns > quiet_ns:
            self.levels = _NO_LEVELS
        self.last_ns = max(time_ns, self.last_ns)
        return self.last_ns

    def _drop(self, name: str) -> Member | None:
        old = self.members.pop(name, None)
        if old is not None:
            self.failed -= old.failed
        return old

    def _forget(self, before_ns: int) -> None:
        while len(self.members) > MAX_MEMBERS:
            # The oldest of the weakest: forged ones must not push proven ones out.
            self._drop(min(self.members, key=lambda name: self.members[name].strength))
        for name in list(self.members):
            if self.members[name].time_ns >= before_ns:
                return
            self._drop(name)


def pack(state: Any) -> bytes:
    """Give a detector's state as bytes, in the order in which it came: the oldest stands first."""
    return msgspec.msgpack.encode(state)


def unpack(data: bytes, kind: type[StateT]) -> StateT:
    """Give the state that `pack` made of a `kind`.

    Raises:
        ValueError: the bytes are no such state.
    """
    try:
        return msgspec.msgpack.decode(data, type=kind)
    except msgspec.MsgspecError as error:
        message = f"not a saved {kind.__name__}: {error}"
        raise ValueError(message) from error
