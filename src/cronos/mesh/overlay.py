"""Who keeps links with whom: all with all while they are few, a ring with paired chords above.

Members stand on a ring in the order of a hash of their names, and each keeps links to those at
the offsets 1, 2, 6, 7, 36, 37, 216, 217 … on both sides: 16 links for 1,000 members, and a few hops
from each to each.

Offsets come in pairs for a reason: news of a third member is believed on the word of two. Any two
members that stand side by side have a neighbour in common at each chord, so that what two such
members say reaches everyone by two ways, also past one member that keeps silent or lies.
"""

import functools
import hashlib
from bisect import bisect_left, insort
from typing import Final

FULL_MESH: Final = 17
_BASE: Final = 6


def offsets(count: int) -> tuple[int, ...]:
    """Give how far away on a ring of `count` the neighbours of a member stand, on each side."""
    if count <= FULL_MESH:
        return tuple(range(1, count // 2 + 1))
    found = [1, 2]
    chord = _BASE
    while chord + 1 <= count // 2:
        found += [chord, chord + 1]
        chord *= _BASE
    return tuple(found)


class Ring:
    """The members in ring order; adding and removing one is a search and a shift."""

    def __init__(self) -> None:
        self._order: list[tuple[bytes, str]] = []

    def __len__(self) -> int:
        return len(self._order)

    def copy(self) -> "Ring":
        """Give another ring with the same members."""
        made = Ring()
        made._order = list(self._order)
        return made

    def add(self, name: str) -> None:
        """Put a member in its place; one that is there stays."""
        place = _place(name)
        at = bisect_left(self._order, place)
        if at == len(self._order) or self._order[at] != place:
            insort(self._order, place)

    def remove(self, name: str) -> None:
        """Take a member out; one that is not there is none."""
        place = _place(name)
        at = bisect_left(self._order, place)
        if at < len(self._order) and self._order[at] == place:
            del self._order[at]

    def near(self, name: str) -> tuple[str, ...]:
        """Give the neighbours of a member of the ring, sorted; () for a stranger."""
        place, count = _place(name), len(self._order)
        at = bisect_left(self._order, place)
        if at == count or self._order[at] != place:
            return ()
        around = {
            self._order[(at + side * offset) % count][1]
            for offset in offsets(count)
            for side in (-1, 1)
        }
        return tuple(sorted(around - {name}))


@functools.lru_cache(maxsize=8192)
def _place(name: str) -> tuple[bytes, str]:
    return hashlib.sha256(b"cronos ring\0" + name.encode()).digest()[:8], name
