"""The material a grammar is inferred from: messages with their cuts, and the columns they make.

A `Row` is one region of one message, with a cursor on its fields. A `Column` is a number that has
been placed before the cursor and can say a length, a count or a tag.
"""

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from cronos.discover.model import Claim, Sem

MAX_CUTS: Final = 2_048  # of one message; what is beyond becomes one field
_MAX_ENV: Final = 256

Said: TypeAlias = Mapping[int, tuple[Claim, ...]]
"""What detectors claim of one message, by the offset at which it is claimed."""
_NOTHING: Final[Said] = {}


class Row:
    """A region from the cursor to `end`; `cuts` are where fields begin, the last is the end."""

    __slots__ = ("at", "cuts", "data", "end", "env", "i", "said", "sems", "start")

    def __init__(
        self,
        data: bytes,
        cuts: Sequence[int],
        sems: Sequence[Sem],
        env: dict[str, int],
        said: Said = _NOTHING,
    ) -> None:
        self.said = said
        self.data = data
        self.cuts = cuts
        self.sems = sems
        self.env = env
        self.i = 0
        self.start = self.at = cuts[0] if cuts else 0
        self.end = cuts[-1] if cuts else 0

    @property
    def left(self) -> int:
        """Give how many fields are left in the region."""
        return len(self.cuts) - 1 - self.i

    @property
    def width(self) -> int:
        """Give the length of the field at the cursor, 0 at the end of the region."""
        return self.cuts[self.i + 1] - self.at if self.left > 0 else 0

    @property
    def sem(self) -> Sem:
        """Give what the field at the cursor means."""
        return self.sems[self.i]

    def head(self) -> bytes:
        """Give the bytes of the field at the cursor."""
        return self.data[self.at : self.cuts[self.i + 1]]

    def rest(self) -> Sequence[int]:
        """Give where the fields after the cursor's end; the last is the end of the region."""
        return self.cuts[self.i + 1 :]

    def widths(self, most: int) -> tuple[int, ...]:
        """Give the lengths of the next fields, at most so many."""
        cuts = self.cuts[self.i : self.i + most + 1]
        return tuple([cuts[n + 1] - cuts[n] for n in range(len(cuts) - 1)])

    def skip(self, width: int) -> None:
        """Move the cursor by so many bytes; a field that would be cut in two is."""
        target = self.at + width
        self.i = bisect_right(self.cuts, target, self.i) - 1
        self.at = self.cuts[self.i]
        if self.at < target:
            self.cuts = (target, *self.cuts[self.i + 1 :])
            self.sems = self.sems[self.i :]
            self.i, self.at = 0, target

    def part(self, length: int) -> "Row":
        """Give the next bytes as a region of their own, and move behind them."""
        if not length:
            return Row(self.data, (self.at,), (), self.known(), self.said)
        end = self.at + length
        stop = bisect_left(self.cuts, end, self.i)
        cuts, sems = (*self.cuts[self.i : stop], end), self.sems[self.i : stop]
        row = Row(self.data, cuts, sems, self.known(), self.said)
        self.skip(length)
        return row

    def known(self) -> dict[str, int]:
        """Copy what is known, the latest: references go to the nearest columns only."""
        if len(self.env) <= _MAX_ENV:
            return dict(self.env)
        return dict(list(self.env.items())[-_MAX_ENV:])


def rows_of(
    messages: Iterable[tuple[bytes, Sequence[tuple[int, int, Sem]]]], said: Sequence[Said] = ()
) -> list[Row]:
    """Make rows of messages with their (offset, length, sem), and of what is claimed of each.

    Gaps between fields become fields.
    """
    return [
        _row(data, fields, said[number] if said else _NOTHING)
        for number, (data, fields) in enumerate(messages)
    ]


def _row(data: bytes, fields: Sequence[tuple[int, int, Sem]], said: Said) -> Row:
    cuts: list[int] = []
    sems: list[Sem] = []
    at = 0
    for offset, length, sem in sorted(fields)[:MAX_CUTS]:
        if length < 1 or offset < at or offset + length > len(data):
            continue  # overlaps, or is not there: hostile or broken evidence
        if offset > at:
            cuts.append(at)
            sems.append(Sem.BYTES)
        cuts.append(offset)
        sems.append(sem)
        at = offset + length
    if at < len(data):
        cuts.append(at)
        sems.append(Sem.BYTES)
    return Row(data, (*cuts, len(data)), tuple(sems), {}, said)


class Column:
    """A number before the cursor; the rows know its value under its name."""

    __slots__ = ("claims", "endian", "name", "sem", "spent", "width")

    def __init__(self, name: str, sem: Sem, width: int, endian: str) -> None:
        self.claims: Sequence[Claim] = ()
        """What detectors say of it."""
        self.name = name
        self.sem = sem
        self.width = width
        self.endian = endian
        self.spent = False
        """Whether it says where the region ends, and so nothing else."""


def common(values: Iterable[Sem]) -> Sem:
    """Give what most say, the first named among equals."""
    counts = Counter(values)
    return max(sorted(counts), key=lambda sem: counts[sem]) if counts else Sem.BYTES
