"""What a number says about what follows it: a length, with its order, mask, scale and constant.

Every relation is checked on all rows that are given, and accepted only where chance would hardly
give it: with `n` different values of a length that all fit, one in 256^(n-1) would.
"""

from collections import Counter
from collections.abc import Sequence
from typing import Final, Literal

import msgspec

from cronos.discover import ir
from cronos.discover.checksums import ALGORITHMS, function_of
from cronos.discover.model import Sem
from cronos.discover.rows import Row

_MASKS: Final = {1: (0x7F, 0x3F, 0x1F, 0x0F, 0xF0), 2: (0x7FFF, 0x3FFF, 0x1FFF, 0x0FFF)}
_SCALES: Final = (1, 2, 4, 8)
_MAX_CONSTANT: Final = 64
_SUM_STARTS: Final = 24
_PLENTY: Final = 12


class Relation(msgspec.Struct, frozen=True):
    """`length = ((value & mask) >> shift) * scale + constant`, the number read in this order."""

    endian: ir.Endian
    mask: int = 0
    scale: int = 1
    constant: int = 0

    def size(self, ref: str) -> ir.Size:
        """Give it as a size that refers to a field."""
        return ir.Size("field", self.constant, ref, self.mask, self.scale)

    def of(self, value: int) -> int:
        """Give the length that a value says."""
        masked = (value & self.mask) >> ir.shift_of(self.mask) if self.mask else value
        return masked * self.scale + self.constant


def numbers(raw: Sequence[bytes], endian: ir.Endian) -> list[int]:
    """Read numbers in an order."""
    order: Final = "big" if endian == "be" else "little"
    return [int.from_bytes(one, order) for one in raw]


def order_of(raw: Sequence[bytes], sem: Sem) -> ir.Endian:
    """Say in which order a number stands: its high bytes change least and are mostly small."""
    if len(raw[0]) < 2 or sem in (Sem.ADDRESS, Sem.BYTES, Sem.TEXT):
        return "be"
    first, last = Counter([one[0] for one in raw]), Counter([one[-1] for one in raw])
    if len(first) != len(last):
        return "be" if len(first) < len(last) else "le"
    big, little = sum(numbers(raw, "be")), sum(numbers(raw, "le"))
    return "be" if big <= little else "le"


def varint_form(heads: Sequence[bytes]) -> Literal["leb128", "ber"] | None:
    """Say in which form numbers of changing width are written, if in one."""
    if max(map(len, heads)) > 5 or min(map(len, heads)) < 1:
        return None
    if all(all(b > 127 for b in head[:-1]) and head[-1] < 128 for head in heads):
        return "leb128"
    if all(
        (len(head) == 1 and head[0] < 128) or (head[0] > 128 and len(head) == head[0] - 127)
        for head in heads
    ):
        return "ber"
    return None


def varint_value(form: str, head: bytes) -> int:
    """Read such a number."""
    if form == "leb128":
        return sum([(byte & 127) << 7 * n for n, byte in enumerate(head)])
    return head[0] if len(head) == 1 else int.from_bytes(head[1:], "big")


def rest_relation(
    raw: Sequence[bytes], rests: Sequence[int], sem: Sem, before: int
) -> Relation | None:
    """Find how a number says what is left of its region behind it.

    Args:
        raw: the number's bytes in each row.
        rests: the bytes left in the region behind it.
        sem: what it is thought to mean; a length needs less proof.
        before: bytes of the region up to and with the number; -1 where that varies.
    """
    if len(raw[0]) > 4:
        return None
    for endian in ("be", "le") if len(raw[0]) > 1 else ("be",):
        values = numbers(raw, endian)
        found = _fixed_relation(values, rests, endian, sem, before)
        if found is not None:
            return found
    if sem is not Sem.LENGTH:
        return None
    return _masked(raw, rests)


def _fixed_relation(
    values: Sequence[int], rests: Sequence[int], endian: ir.Endian, sem: Sem, before: int
) -> Relation | None:
    distinct = len(set(rests))
    if distinct == 1 and (sem is not Sem.LENGTH or len(set(values)) > 1):
        return None
    for scale in _SCALES:
        constant = rests[0] - values[0] * scale
        if abs(constant) > _MAX_CONSTANT or not _holds(values, rests, scale, constant):
            continue
        likely = constant in (0, -before, before) and scale == 1
        if _proved(distinct, sem, likely, scale):
            return Relation(endian, 0, scale, constant)
    return None


def _proved(distinct: int, sem: Sem, likely: bool, scale: int) -> bool:
    if sem is Sem.LENGTH:
        return distinct >= 2 or (likely and scale == 1)
    return distinct >= 4 or (distinct >= 3 and likely)


def _holds(values: Sequence[int], rests: Sequence[int], scale: int, constant: int) -> bool:
    wrong = 0
    allowed = len(values) // 200
    for value, rest in zip(values, rests, strict=True):
        if value * scale + constant != rest:
            wrong += 1
            if wrong > allowed:
                return False
    return True


def _masked(raw: Sequence[bytes], rests: Sequence[int]) -> Relation | None:
    if len(set(rests)) < 3:
        return None
    for endian in ("be", "le") if len(raw[0]) > 1 else ("be",):
        for mask in _MASKS.get(len(raw[0]), ()):
            shift = ir.shift_of(mask)
            values = [(one & mask) >> shift for one in numbers(raw, endian)]
            for scale in _SCALES:
                constant = rests[0] - values[0] * scale
                if abs(constant) <= _MAX_CONSTANT and _holds(values, rests, scale, constant):
                    return Relation(endian, mask, scale, constant)
    return None


def inner_relation(rows: Sequence[Row], name: str, sure: bool, behind: int) -> Relation | None:
    """Find how a number before the cursor says where a later boundary lies.

    The shortest explanation wins: no constant, then one that takes the bytes between into account,
    then small ones. `sure` says that the number is thought to be a length.
    """
    values = [row.env[name] for row in rows]
    distinct = len(set(values))
    if distinct < (2 if sure else 4):
        return None
    for scale in _SCALES if sure else (1,):
        constants = _constants(rows[0], values[0] * scale)
        for row, value in zip(rows[1:], values[1:], strict=True):
            reach = {end - row.at - value * scale for end in (row.at, *row.rest())}
            constants &= reach
            if not constants:
                break
        usable = [c for c in constants if _worth(values, rows, scale, c)]
        if usable:
            best = min(usable, key=lambda c: (c not in (0, -behind), abs(c), c))
            if sure or best in (0, -behind):
                return Relation("be", 0, scale, best)
    return None


def _constants(row: Row, said: int) -> set[int]:
    ends = (row.at, *row.rest())
    return {end - row.at - said for end in ends if abs(end - row.at - said) <= _MAX_CONSTANT}


def _worth(values: Sequence[int], rows: Sequence[Row], scale: int, constant: int) -> bool:
    """Say whether lengths differ, none is negative, and they say more than where regions end."""
    lengths = [value * scale + constant for value in values]
    inside = any(n < row.end - row.at for n, row in zip(lengths, rows, strict=True))
    return inside and len(set(lengths)) > 1 and min(lengths) >= 0


def checksum_relation(rows: Sequence[Row], width: int) -> ir.Checksum | None:
    """Find which checksum the field at the cursor is, and over what."""
    some = rows[:: max(1, len(rows) // _PLENTY)][:_PLENTY]
    if len({row.head() for row in some}) < 2:
        return None
    starts = sorted({cut for row in some[:2] for cut in (0, *row.cuts) if cut < _SUM_STARTS})
    for name, algorithm in ALGORITHMS.items():
        if algorithm.width != width:
            continue
        for whole in (False, True):
            for start in starts:
                for endian in ("be", "le") if width > 1 else ("be",):
                    leaf = ir.Checksum("", name, endian, start, whole=whole)
                    if all(_checks(row, leaf, width) for row in some):
                        return leaf if all(_checks(row, leaf, width) for row in rows) else None
    return None


def _checks(row: Row, leaf: ir.Checksum, width: int) -> bool:
    if leaf.start > row.at:
        return False
    data = row.data[leaf.start : row.at]
    if leaf.whole:
        data += bytes(width) + row.data[row.at + width :]
    order: Literal["big", "little"] = "big" if leaf.endian == "be" else "little"
    return function_of(leaf.algorithm)(data) == int.from_bytes(row.head(), order)
