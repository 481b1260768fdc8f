"""Items that repeat: how the fields after the cursor fall into groups that look alike."""

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final, Literal

import msgspec

from cronos.discover.interpreter import read_varint
from cronos.discover.model import Sem
from cronos.discover.relations import Relation
from cronos.discover.rows import Row

_MAX_FIELDS: Final = 12  # of one item
_MAX_HEADER: Final = 4
_SOME: Final = 12
_PLENTY: Final = 20


class Partition(msgspec.Struct, frozen=True):
    """The length of every item in every row.

    With `relation` each item is a header of so many fields, of which the one at `length_at` says
    how long the rest is.
    """

    lengths: tuple[tuple[int, ...], ...]
    header: int = 0
    length_at: int = 0
    relation: Relation | None = None


def counted(rows: Sequence[Row], name: str, *, sure: bool) -> Partition | None:
    """Find items of equally many fields, as many of them as the number `name` says."""
    counts = [row.env[name] for row in rows]
    least = 2 if sure else 3
    if max(counts) < 2 or len(set(counts)) < (1 if sure else least) or max(counts) > 4_096:
        return None
    first = next(index for index, count in enumerate(counts) if count == max(counts))
    row, count = rows[first], counts[first]
    for fields in range(1, min(_MAX_FIELDS, row.left // count) + 1):
        pattern = row.sems[row.i : row.i + fields]
        lengths = _all(
            _groups(one, fields, many, pattern) for one, many in zip(rows, counts, strict=True)
        )
        if lengths is not None and _same_width(lengths):
            return Partition(lengths)
    return None


def _same_width(lengths: Sequence[tuple[int, ...]]) -> bool:
    """Ask for items of one size: whether others are cut rightly, a count alone cannot prove."""
    return len({length for one in lengths for length in one}) == 1


def _groups(row: Row, fields: int, count: int, pattern: Sequence[Sem]) -> tuple[int, ...] | None:
    if row.left < fields * count:
        return None
    cuts = row.cuts[row.i : row.i + fields * count + 1]
    sems = row.sems[row.i : row.i + fields * count]
    if any(sem is not pattern[n % fields] for n, sem in enumerate(sems)):
        return None
    return tuple([cuts[(n + 1) * fields] - cuts[n * fields] for n in range(count)])


def to_the_end(rows: Sequence[Row]) -> Partition | None:
    """Find items that fill what is left of every row."""
    if max(row.left for row in rows) < 2:
        return None
    return _self_sized(rows) or _alike(rows)


def _alike(rows: Sequence[Row]) -> Partition | None:
    """Find items of equal fields; only where rows differ in how many they have."""
    if len({row.left for row in rows}) < 2:
        return None
    longest = max(rows, key=lambda row: row.left)
    common = math.gcd(*[row.left for row in rows])
    for fields in range(1, min(_MAX_FIELDS, longest.left // 2) + 1):
        if common % fields:
            continue
        pattern = tuple(longest.sems[longest.i : longest.i + fields])
        widths = longest.widths(fields)
        lengths = _all(_periodic(row, fields, pattern, widths) for row in rows)
        if lengths is not None:
            return Partition(lengths)
    return None


def _all(given: Iterable[tuple[int, ...] | None]) -> tuple[tuple[int, ...], ...] | None:
    """Give the lengths of all rows; nothing as soon as one has none."""
    out: list[tuple[int, ...]] = []
    for one in given:
        if one is None:
            return None
        out.append(one)
    return tuple(out)


def _periodic(
    row: Row, fields: int, pattern: tuple[Sem, ...], widths: tuple[int, ...]
) -> tuple[int, ...] | None:
    lengths = _groups(row, fields, row.left // fields, pattern)
    if lengths is None:
        return None
    for n, width in enumerate(row.widths(row.left)):
        loose = pattern[n % fields] in (Sem.TEXT, Sem.BYTES) and widths[n % fields] > 2
        if width != widths[n % fields] and not loose:
            return None
    return lengths


def _self_sized(rows: Sequence[Row]) -> Partition | None:
    """Find items that begin with a header of fixed width which says how long they are."""
    full = [row for row in rows if row.left]
    if len(full) < 2:
        return None
    first = full[0]
    for header in range(1, min(_MAX_HEADER, first.left) + 1):
        widths = first.widths(header)
        if len(widths) < header or max(widths) > 8:
            return None
        for at in range(header):
            if widths[at] > 4:
                continue
            found = _with_length(rows, full, widths, at)
            if found is not None:
                return found
    return None


def _with_length(
    rows: Sequence[Row], full: Sequence[Row], widths: tuple[int, ...], at: int
) -> Partition | None:
    size = sum(widths)
    for endian in ("be", "le") if widths[at] > 1 else ("be",):
        for constant in sorted({0, -size, -sum(widths[at:]), -sum(widths[at + 1 :])}, reverse=True):
            relation = Relation(endian, 0, 1, constant)
            if any(_cut(row, widths, at, relation) is None for row in full[:_SOME]):
                continue
            items = _all(_cut(row, widths, at, relation) for row in rows)
            if items is not None and _convincing(rows, items, size, at):
                return Partition(items, len(widths), at, relation)
    return None


def _convincing(rows: Sequence[Row], items: Sequence[tuple[int, ...]], size: int, at: int) -> bool:
    """Ask for several items somewhere and several lengths: else a chance hit would do.

    Where the field is not thought to be a length, rows must differ in how many items they have.
    """
    distinct = {length for one in items for length in one}
    if max(map(len, items)) < 2 or len(distinct) < 2 or max(distinct) <= size:
        return False
    said = total = 0
    for row, lengths in zip(rows, items, strict=True):
        begins = accumulate(lengths[:-1], initial=row.at) if lengths else ()
        for begin in begins:
            index = bisect_left(row.cuts, begin, row.i) + at
            said += row.sems[index] is Sem.LENGTH
            total += 1
    if said >= 0.7 * total:
        return True
    return len(set(map(len, items))) > 2 and len(distinct) > 2 and total >= _PLENTY


def _cut(row: Row, widths: tuple[int, ...], at: int, relation: Relation) -> tuple[int, ...] | None:
    """Give the items' lengths where every item ends on a boundary, and the last on the end."""
    cuts, here, header = row.cuts, row.i, len(widths)
    starts = tuple(accumulate(widths))
    size, before = starts[-1], starts[at] - widths[at]
    lengths: list[int] = []
    order: Literal["big", "little"] = "big" if relation.endian == "be" else "little"
    while here < len(cuts) - 1:
        begin = cuts[here]
        if tuple([cut - begin for cut in cuts[here + 1 : here + header + 1]]) != starts:
            return None
        place = begin + before
        value = int.from_bytes(row.data[place : place + widths[at]], order)
        end = begin + size + relation.of(value)
        here = bisect_left(cuts, end, here + header)
        if here >= len(cuts) or cuts[here] != end:
            return None
        lengths.append(end - begin)
    return tuple(lengths)


def ber_fits(rows: Sequence[Row]) -> bool:
    """Say whether what is left of the rows is BER, cut where BER is.

    Bytes that hold BER again may be cut finer than the rule does; a few rows may be none at all.
    """
    full = [row for row in rows if row.left]
    deep = hits = wanted = own = wrong = 0
    for row in full:
        cuts: set[int] = set()
        levels = ber_cuts(row.data, row.at, row.end, cuts, 0)
        if levels < 0:
            wrong += 1
            if wrong > len(full) // 20:
                return False
            continue
        deep = max(deep, levels)
        inner = {cut for cut in row.rest() if cut < row.end}
        cuts.discard(row.at)
        hits, wanted, own = hits + len(inner & cuts), wanted + len(cuts), own + len(inner)
    return deep >= 1 and hits >= 0.7 * wanted and hits >= 0.3 * own


def ber_cuts(data: bytes, at: int, end: int, cuts: set[int], depth: int) -> int:
    """Collect where BER elements' parts begin; give how deep they nest, -1 where it is none."""
    deepest = depth
    while at < end:
        length, start = read_varint("ber", data, at + 1, end)
        if start < 0 or start + length > end or depth > 16:
            return -1
        cuts.update((at, at + 1, start))
        if data[at] & 0x20 and length:
            inner = ber_cuts(data, start, start + length, cuts, depth + 1)
            if inner < 0:
                return -1
            deepest = max(deepest, inner)
        at = start + length
    return deepest
