"""What detectors vouch for, as a grammar needs it: relations are taken over, not found anew.

A claim was verified on all messages, with a bound on chance, so it needs no further proof here:
that it holds on the rows at hand is enough, however few or alike they are. What no claim says is
looked for in `relations` and `items`.
"""

from collections.abc import Sequence
from typing import Final, Literal, NamedTuple

from cronos.discover import ir
from cronos.discover.checksums import ALGORITHMS, function_of
from cronos.discover.interpreter import read_varint
from cronos.discover.items import Partition
from cronos.discover.model import Claim, Sem
from cronos.discover.relations import Relation, numbers
from cronos.discover.rows import Column, Row

_LEAST: Final = 0.95  # of rows that a claim must speak of
_SOUND: Final = 0.6  # of checksums that must hold; captures have broken ones
_WRONG: Final = 200  # one row in so many may not be as claimed
_MAX_CONSTANT: Final = 64
_MAX_RECORDS: Final = 512
_FORMS: Final[dict[str, Literal["", "ber", "leb128"]]] = {"ber": "ber", "varint": "leb128"}


def said_of(claims: Sequence[Claim], count: int) -> list[dict[int, tuple[Claim, ...]]]:
    """Give for each of so many messages the claims by where they stand.

    Blocks stand where their data begins, not where their first checksum does.
    """
    out: list[dict[int, tuple[Claim, ...]]] = [{} for _ in range(count)]
    for claim in claims:
        block = claim.terms.get("cover") == "block"
        if block and claim.terms.get("number") != 0:
            continue
        for said, span in zip(out, claim.spans, strict=False):
            if span is not None:
                at = int(claim.terms.get("start", 0)) if block else span[0]
                said[at] = (*said.get(at, ()), claim)
    return out


def standing(rows: Sequence[Row], *kinds: str) -> list[Claim]:
    """Give the claims of these kinds at the cursor of nearly all rows, the likeliest first."""
    counts: dict[int, int] = {}
    by: dict[int, Claim] = {}
    for row in rows:
        for claim in row.said.get(row.at, ()):
            if claim.kind.startswith(kinds):
                counts[id(claim)] = counts.get(id(claim), 0) + 1
                by[id(claim)] = claim
    found = [by[one] for one, many in counts.items() if many >= _LEAST * len(rows)]
    return sorted(found, key=lambda claim: int(claim.terms.get("choice", 0)))


def said_rest(rows: Sequence[Row], width: int) -> Relation | None:
    """Give what the number at the cursor is claimed to say of the size of the message.

    A length that says where the region ends: as many bytes before the message's end in all rows.
    """
    behind = {len(row.data) - row.end for row in rows}
    places = {row.at for row in rows}
    if len(behind) > 1 or len(places) > 1:
        return None
    for claim in standing(rows, "length."):
        terms = claim.terms
        if terms.get("width") != width or "plus" not in terms:
            continue
        constant = int(terms["plus"]) - (rows[0].at + width) - behind.copy().pop()
        endian: ir.Endian = "le" if terms.get("endian") == "le" else "be"
        found = Relation(endian, int(terms.get("mask", 0)), int(terms.get("unit", 1)), constant)
        values = numbers([row.data[row.at : row.at + width] for row in rows], endian)
        wrong = sum(
            [
                found.of(value) != row.end - row.at - width
                for row, value in zip(rows, values, strict=True)
            ]
        )
        if abs(constant) <= _MAX_CONSTANT and wrong * _WRONG <= len(rows):
            return found
    return None


def said_order(rows: Sequence[Row], width: int) -> ir.Endian | None:
    """Give the order that is claimed of the number at the cursor."""
    for claim in standing(rows, "counter", "timestamp.", "count.", "float", "length."):
        if claim.terms.get("width") == width and claim.terms.get("endian") in ("be", "le"):
            return "le" if claim.terms["endian"] == "le" else "be"
    return None


def said_checksum(rows: Sequence[Row], width: int) -> ir.Checksum | None:
    """Give the checksum that is claimed at the cursor, if it holds in most rows."""
    for claim in standing(rows, "checksum."):
        terms = claim.terms
        name, cover = str(terms.get("algorithm")), terms.get("cover")
        if name not in ALGORITHMS or ALGORITHMS[name].width != width:
            continue
        if cover not in ("before", "whole"):
            continue
        start = int(terms.get("start", 0)) if cover == "before" else 0
        endian: ir.Endian = "le" if terms.get("endian") == "le" else "be"
        leaf = ir.Checksum("", name, endian, start, whole=cover == "whole")
        sound = sum([holds(row, leaf, width) for row in rows])
        if sound >= _SOUND * len(rows):
            return leaf
    return None


def holds(row: Row, leaf: ir.Checksum, width: int) -> bool:
    """Say whether the bytes at the cursor are this checksum."""
    if leaf.start > row.at or row.at + width > row.end:
        return False
    data = row.data[leaf.start : row.at]
    if leaf.whole:
        data += bytes(width) + row.data[row.at + width :]
    value = numbers([row.data[row.at : row.at + width]], leaf.endian)[0]
    return function_of(leaf.algorithm)(data) == value


def said_items(rows: Sequence[Row], column: Column) -> Partition | None:
    """Give the items of one size that a number is claimed to count, if they begin here."""
    for claim in column.claims:
        size, plus = int(claim.terms.get("item", 0)), claim.terms.get("plus")
        if claim.kind != "count.items" or size < 1:
            continue
        counts = [row.env[column.name] for row in rows]
        if all(
            row.at == plus and row.end - row.at == count * size
            for row, count in zip(rows, counts, strict=True)
        ):
            return Partition(tuple([(size,) * count for count in counts]))
    return None


class Records(NamedTuple):
    """Records behind one another: how one is written, and the size of each in each row."""

    tag: int
    width: int
    """Of the length; 0 where it is a varint of this `form`."""
    form: Literal["", "ber", "leb128"]
    endian: ir.Endian
    whole: bool
    stop: bytes
    trailer: int
    sizes: tuple[tuple[int, ...], ...]

    def said(self) -> int:
        """Give what is added to a length for the size of the value behind it."""
        return -(self.tag + self.width) if self.whole else 0


def said_records(rows: Sequence[Row]) -> Records | None:
    """Give the records that are claimed to begin at the cursor and to fill the region."""
    for claim in standing(rows, "tlv.tag", "lv.length"):
        terms = claim.terms
        if terms.get("number") != 0 or int(terms.get("align", 1)) != 1:
            continue
        form = _FORMS.get(str(terms.get("form")), "")
        stop = int(terms.get("stop", -1))
        one = Records(
            int(terms.get("tag_width", 0)),
            int(terms.get("width", 0)),
            form,
            "le" if terms.get("endian") == "le" else "be",
            bool(terms.get("whole", 0)),
            bytes([stop]) if 0 <= stop < 256 else b"",
            int(terms.get("trailer", 0)),
            (),
        )
        if not form and not 1 <= one.width <= 4:
            continue
        found = [_walked(row, one) for row in rows]
        sizes = [sizes for sizes in found if sizes is not None]
        if len(sizes) == len(found) and len(set(sizes)) > 1:
            return one._replace(sizes=tuple(sizes))
    return None


def _walked(row: Row, one: Records) -> tuple[int, ...] | None:
    """Give the size of each record up to the end of the region, None where they do not fit it."""
    at, end = row.at, row.end - one.trailer
    sizes: list[int] = []
    while at < end and not (one.stop and row.data.startswith(one.stop, at, end)):
        head = at + one.tag
        if one.form:
            value, behind = read_varint(one.form, row.data, head, end)
        else:
            behind = head + one.width
            value = numbers([row.data[head:behind]], one.endian)[0]
        if behind < 0 or behind > end:
            return None
        stop = behind + value + one.said()
        if not behind <= stop <= end or len(sizes) >= _MAX_RECORDS:
            return None
        sizes.append(stop - at)
        at = stop
    if at > end or (one.stop and at >= end):
        return None
    return tuple(sizes)


class Cut(NamedTuple):
    """Blocks that begin at the cursor: their size, their checksum, and their data as rows."""

    size: int
    leaf: ir.Checksum
    rows: list[Row]


def ends_in_blocks(rows: Sequence[Row]) -> bool:
    """Say whether what ends the messages is claimed to be the checksum of a block."""
    many = sum(
        [
            any(c.terms.get("cover") == "block" for said in row.said.values() for c in said)
            for row in rows
        ]
    )
    return many > len(rows) // 2


def said_blocks(rows: Sequence[Row]) -> Cut | None:
    """Give the blocks with checksums that are claimed to begin at the cursor."""
    if any(row.end != len(row.data) for row in rows):
        return None
    for claim in standing(rows, "checksum."):
        terms = claim.terms
        name, size = str(terms.get("algorithm")), int(terms.get("block", 0))
        if terms.get("cover") != "block" or name not in ALGORITHMS or size < 1:
            continue
        endian: ir.Endian = "le" if terms.get("endian") == "le" else "be"
        leaf = ir.Checksum("", name, endian)
        width = ALGORITHMS[name].width
        wholes = _usual(rows, size, width)
        found = [_unblocked(row, size, width, wholes) for row in rows]
        inner = [row for row in found if row is not None]
        sound = sum([holds_in_blocks(row, leaf, size) for row in rows])
        if len(inner) == len(rows) and sound >= _SOUND * len(rows):
            return Cut(size, leaf, inner)
    return None


def holds_in_blocks(row: Row, leaf: ir.Checksum, size: int) -> bool:
    """Say whether all blocks from the cursor to the end have their checksum."""
    width, over, at = ALGORITHMS[leaf.algorithm].width, function_of(leaf.algorithm), row.at
    while at < row.end:
        stop = min(at + size, row.end - width)
        value = numbers([row.data[stop : stop + width]], leaf.endian)[0]
        if stop <= at or over(row.data[at:stop]) != value:
            return False
        at = stop + width
    return True


def _usual(rows: Sequence[Row], size: int, width: int) -> set[tuple[Sem, int]]:
    """Give the widths of fields that no checksum can have cut."""
    usual: set[tuple[Sem, int]] = set()
    for row in rows:
        for n in range(row.i, len(row.cuts) - 1):
            begin, end = row.cuts[n] - row.at, row.cuts[n + 1] - row.at
            if begin % (size + width) and end % (size + width) < size and n + 2 < len(row.cuts):
                usual.add((row.sems[n], end - begin))
    return usual


def _unblocked(row: Row, size: int, width: int, usual: set[tuple[Sem, int]]) -> Row | None:
    """Give the data of blocks in one piece as a row; None where it is not in such blocks."""
    parts: list[bytes] = []
    at = row.at
    while at < row.end:
        stop = min(at + size, row.end - width)
        if stop <= at:
            return None
        parts.append(row.data[at:stop])
        at = stop + width
    data = b"".join(parts)
    fields: dict[int, Sem] = {}
    for n in range(row.i, len(row.cuts) - 1):
        block, within = divmod(row.cuts[n] - row.at, size + width)
        place = block * size + min(within, size)
        if place < len(data) and within < size:
            fields[place] = row.sems[n]
    for place in range(size, len(data), size):
        fields.setdefault(place, Sem.BYTES)
    fields.setdefault(0, Sem.BYTES)
    cuts = sorted(fields)
    for place in range(size, len(data), size):
        index = cuts.index(place)
        before, sem = cuts[index - 1], fields[place]
        after = cuts[index + 1] if index + 1 < len(cuts) else len(data)
        loose = sem in (Sem.TEXT, Sem.BYTES)
        if fields[before] is sem and (loose or _cut(sem, before, place, after, usual)):
            del cuts[index]
    env = {
        name: value - row.at if name.startswith("@") else value
        for name, value in row.known().items()
    }
    return Row(data, (*cuts, len(data)), [fields[cut] for cut in cuts], env)


def _cut(sem: Sem, before: int, place: int, after: int, usual: set[tuple[Sem, int]]) -> bool:
    """Say whether a checksum cuts a field in two: whole it is as wide as others are."""
    halves = (sem, place - before) in usual and (sem, after - place) in usual
    return (sem, after - before) in usual and not halves
