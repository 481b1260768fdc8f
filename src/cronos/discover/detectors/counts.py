"""Counts: a number times the size of an item, plus a constant, is the size of the message.

Two values of the number give the size of an item, further ones must agree: with k different sizes
the chance is 1/128 for each of k - 2. What counts single bytes is a length, and left to `lengths`;
so is what counts the whole message in words. The number of records that a walk found is compared
in `records`.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Final

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

FRONT: Final = 96
MOST_ITEM: Final = 256
TRIED: Final = FRONT * 5


def claims(messages: Sequence[Message]) -> list[Claim]:
    """Find the counts of these messages."""
    return [found.claim() for found in find(Table(messages))]


def find(table: Table) -> list[Found]:
    """Find the counts of this table, the better bound first where two overlap."""
    if len(table) < 4 or np.unique(table.sizes).size < 3:
        return []
    kept: list[Found] = []
    for each in sorted(_counts(table), key=lambda each: (round(each.alarm, 9), -_width(each))):
        if not any(overlap(each, other) for other in kept):
            kept.append(each)
    return kept


def _width(found: Found) -> int:
    return {2: 3, 4: 2}.get(int(found.terms["width"]), 1)


def _counts(table: Table) -> Iterator[Found]:
    for width, order in variants((1, 2, 4)):
        for offset in range(min(FRONT, table.width)):
            numbers = table.numbers(offset, width, order)
            inside = table.reach(offset + width)
            if inside.mean() < LEAST_SUPPORT:
                break
            fit = _line(numbers[inside], table.sizes[inside])
            if fit is None:
                continue
            item, constant = fit
            holds = inside & (numbers * item + constant == table.sizes)
            alarm = _alarm(table, numbers * item + constant, holds)
            # Items follow their count; and what a constant of 0 counts is words of the message.
            if holds.mean() >= LEAST_SUPPORT and constant >= offset + width and alarm <= MOST_ALARM:
                terms: dict[str, str | int] = {
                    "endian": order, "width": width, "item": item, "plus": constant,
                }  # fmt: skip
                at, widths = fixed(len(table), offset), fixed(len(table), width)
                yield Found("count.items", Sem.COUNT, at, widths, holds, alarm, terms)


def _line(numbers: Ints, sizes: Ints) -> tuple[int, int] | None:
    """Give the item's size and the constant that fit most messages, from 2 bytes on."""
    names, first = np.unique(numbers, return_index=True)
    if names.size < 3 or names[-1] > 1 << 16:
        return None
    slopes = np.diff(sizes[first]) / np.diff(names)
    item = int(np.median(slopes))
    if not 2 <= item <= MOST_ITEM:
        return None
    apart = sizes - numbers * item
    constants, counts = np.unique(apart, return_counts=True)
    return item, int(constants[counts.argmax()])


def _alarm(table: Table, predicted: Ints, holds: Bools) -> float:
    """Bound the chance by rows and by different sizes, two of which were fitted."""
    by_rows = tail(int(holds.sum()), len(table), coincidence(predicted, table.sizes))
    seen = np.unique(table.sizes[holds]).size
    missed = np.unique(table.sizes[~holds]).size
    # In bits, because many sizes that are missed would leave the range of a float.
    bits = missed * math.log2(max(1, seen + missed)) - 7 * max(0, seen - 2)
    by_sizes = 1.0 if bits >= 0 else 2.0**bits
    return min(1.0, TRIED * MOST_ITEM * max(by_rows, by_sizes))
