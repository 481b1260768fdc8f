"""Lengths: of the whole message, of what follows, of an inner part; fixed, BER or varint.

A candidate is a number at a fixed place; it is a length when number x unit = size + constant in at
least 95 % of the messages. Two bounds are kept and the larger is stated. Rows: the chance that
number and size agree in so many messages if they were unrelated. Sizes: the chance that one number
fits each of the different sizes, 1/128 each (1/4096 from 256 on), where the first size pays for a
constant that was fitted. The second is what keeps a type code, which goes with the size, out.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import numpy as np

from cronos.discover.detectors.table import (
    LEAST_SUPPORT,
    MOST_ALARM,
    Bools,
    Found,
    Ints,
    Table,
    coincidence,
    fixed,
    overlap,
    tail,
    variants,
)  # fmt: skip
from cronos.discover.messages import Message
from cronos.discover.model import Claim, Sem

WIDTHS: Final = (1, 2, 3, 4)
MASKS: Final = (0, 0x7FFF, 0x3FFF, 0x1FFF, 0x0FFF, 0x07FF, 0x03FF)
UNITS: Final = (1, 2, 4)
MOST_CONSTANT: Final = 64
FRONT: Final = 64
"""Lengths at fixed places stand in the first bytes of a message."""
TRIED: Final = FRONT * (7 + 2 * (len(MASKS) - 1) + 2 * 2 + 2)
"""Places times variants: what the bound pays for having looked everywhere."""


def claims(messages: Sequence[Message]) -> list[Claim]:
    """Find the lengths of these messages."""
    return [found.claim() for found in find(Table(messages))]


def find(table: Table) -> list[Found]:
    """Find the lengths of this table, the likeliest form of each place first."""
    if len(table) < 2 or np.unique(table.sizes).size < 2:
        return []
    found = [each for each in _direct(table) if each.alarm <= MOST_ALARM]
    return _choices(found + [each for each in _inner(table) if each.alarm <= MOST_ALARM])


def _direct(table: Table) -> Iterator[Found]:
    """Try every place for a number that goes with the size."""
    for offset in range(min(FRONT, table.width)):
        plain = False
        for width, order in variants(WIDTHS):
            numbers = table.numbers(offset, width, order)
            for unit in UNITS if width <= 2 else (1,):
                found = _fit(table, numbers, offset, width, _terms(order, width, 0, unit))
                if found is not None:
                    plain = True
                    yield found
        if not plain:
            yield from _coded(table, offset)


def _coded(table: Table, offset: int) -> Iterator[Found]:
    """Try masks and the two forms of changing width at one place."""
    for order in ("be", "le"):
        numbers = table.numbers(offset, 2, order)
        for mask in MASKS[1:]:
            # Flags and the length must share a byte, or it is a shorter length beside something.
            shared = bool((numbers & ~np.int64(mask)).any()) and bool((numbers & mask > 255).any())
            if shared:
                found = _fit(table, numbers & mask, offset, 2, _terms(order, 2, mask, 1))
                if found is not None:
                    yield found
                    break
    for form, (numbers, widths) in (("ber", ber(table, offset)), ("varint", varint(table, offset))):
        if np.unique(widths[table.reach(offset + 1)]).size > 1:
            found = _fit(table, numbers, offset, widths, {"form": form, "unit": 1})
            if found is not None:
                yield found


def _terms(order: str, width: int, mask: int, unit: int) -> dict[str, str | int]:
    return {"endian": order, "width": width, "mask": mask, "unit": unit}


def _fit(
    table: Table, numbers: Ints, offset: int, width: int | Ints, terms: dict[str, str | int]
) -> Found | None:
    """Give what holds of this number, if it goes with the size of the messages at all."""
    widths = fixed(len(table), width) if isinstance(width, int) else width
    inside = offset + widths <= table.sizes
    rows = int(inside.sum())
    if rows < 2 or rows < LEAST_SUPPORT * len(table):
        return None
    unit = int(terms["unit"])
    # BER and varint count what follows them: their own width is no part of a constant.
    sizes = table.sizes if isinstance(width, int) else table.sizes - widths
    apart = sizes - numbers * unit
    constant = _mode(apart[inside])
    if constant is None or abs(constant) > MOST_CONSTANT + offset:
        return None
    holds = inside & (apart == constant)
    if holds.mean() < LEAST_SUPPORT or np.unique(numbers[holds]).size < 2:
        return None
    start = offset + (int(terms.get("width", 0)))
    exact = constant in (0, start) and unit == 1
    alarm = _alarm(table, numbers * unit + constant, holds, exact, sizes)
    kind = (
        "length.whole" if constant == 0 else "length.rest" if constant == start else "length.plus"
    )
    return Found(
        kind,
        Sem.LENGTH,
        fixed(len(table), offset),
        widths,
        holds,
        alarm,
        {**terms, "plus": constant},
    )


def _mode(values: Ints) -> int | None:
    """Give the most frequent value, None where none has half of the rows."""
    names, counts = np.unique(values, return_counts=True)
    best = int(counts.argmax())
    return int(names[best]) if counts[best] * 2 >= values.size else None


def _alarm(table: Table, predicted: Ints, holds: Bools, exact: bool, sizes: Ints) -> float:
    """Bound the chance of this agreement by rows and by sizes."""
    by_rows = tail(int(holds.sum()), len(table), coincidence(predicted, sizes))
    seen = np.unique(sizes[holds])
    by_sizes = float(np.prod(np.where(seen < 256, 1 / 128.0, 1 / 4096.0)))
    constants = 1.0
    if not exact:
        by_sizes /= float(np.where(seen < 256, 1 / 128.0, 1 / 4096.0).max())
        constants = 2.0
    missed = np.unique(sizes[~holds]).size
    # Each size that does not fit could have been any of those that were seen.
    by_sizes *= float(max(1, seen.size + missed)) ** missed
    return min(1.0, TRIED * constants * max(by_rows, by_sizes))


def ber(table: Table, offset: int) -> tuple[Ints, Ints]:
    """Read a BER length at this offset of every row: its number and how many bytes it takes."""
    block = table.block.astype(np.int64)
    first = block[:, offset]
    more = np.where(first > 128, first - 128, 0)
    numbers = np.where(first < 128, first, 0)
    for count in (1, 2, 3):
        if offset + 1 + count <= block.shape[1]:
            value = np.zeros(len(table), np.int64)
            for step in range(count):
                value = value << 8 | block[:, offset + 1 + step]
            numbers = np.where(more == count, value, numbers)
    bad = (first == 128) | (more > 3)
    return np.where(bad, -(1 << 40), numbers), 1 + np.minimum(more, 3)


def varint(table: Table, offset: int) -> tuple[Ints, Ints]:
    """Read a varint (seven bits a byte, lowest first, up to four bytes) at this offset."""
    block = table.block.astype(np.int64)
    numbers = np.zeros(len(table), np.int64)
    widths = np.zeros(len(table), np.int64)
    going = np.ones(len(table), np.bool_)
    for step in range(min(4, block.shape[1] - offset)):
        byte = block[:, offset + step]
        numbers += np.where(going, (byte & 127) << (7 * step), 0)
        widths += going
        going &= byte > 127
    return np.where(going, -(1 << 40), numbers), np.maximum(1, widths)


def _inner(table: Table) -> Iterator[Found]:
    """Try two lengths, the second right behind what the first one measures: both reach the end."""
    rows = np.arange(len(table))
    for width, order in variants((1, 2, 4)):
        words = table.words(width, order)
        for offset in range(min(FRONT, table.width)):
            first = words[:, offset]
            for gap in range(5):
                second_at = offset + width + first + gap
                inside = second_at + width <= np.minimum(table.sizes, table.width)
                if inside.mean() < LEAST_SUPPORT or np.unique(first[inside]).size < 2:
                    break
                second = words[rows, np.where(inside, second_at, 0)]
                apart = table.sizes - second_at - width - second
                rest = _mode(apart[inside])
                if rest is None or not 0 <= rest <= MOST_CONSTANT:
                    continue
                holds = inside & (apart == rest)
                if holds.mean() < LEAST_SUPPORT or np.unique(second[holds]).size < 2:
                    continue
                predicted = second_at + width + second + rest
                alarm = 5 * _alarm(table, predicted, holds, rest == 0, table.sizes)
                terms = {**_terms(order, width, 0, 1), "gap": gap, "rest": rest}
                widths = fixed(len(table), width)
                at = fixed(len(table), offset)
                yield Found("length.inner", Sem.LENGTH, at, widths, holds, alarm, terms)
                yield Found("length.inner", Sem.LENGTH, second_at, widths, holds, alarm, terms)
                break


def _choices(found: list[Found]) -> list[Found]:
    """Number the claims that overlap: ``choice`` 0 is the likeliest, others are possible too.

    A length below 256 fits one, two and four bytes alike where zeros stand before it (or behind
    it); which it is, only other evidence can tell.
    """
    groups: list[list[Found]] = []
    for each in sorted(found, key=_rank):
        home = next((group for group in groups if overlap(each, group[0])), None)
        if home is None:
            groups.append([each])
        elif each.kind == home[0].kind:
            home.append(each)
    return [
        msgspec.structs.replace(each, terms={**each.terms, "choice": number})
        for group in groups
        for number, each in enumerate(group)
    ]


def _rank(found: Found) -> tuple[int, float, int]:
    """Order claims: plain ones first, then the better held, then the wider, three bytes last."""
    plain = 0 if found.kind in ("length.whole", "length.rest") else 1
    plain += 2 if found.terms.get("unit", 1) != 1 or found.terms.get("mask", 0) else 0
    plain += 1 if found.kind == "length.inner" else 0
    width = int(found.terms.get("width", 0))
    return plain, -round(found.support, 2), {4: 0, 2: 1, 1: 2, 3: 3}.get(width, 0)
