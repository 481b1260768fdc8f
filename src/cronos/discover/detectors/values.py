"""Floats and packed decimals: numbers whose bit pattern shows what they are.

Floats: what people enter and devices report is short in decimal: 21.3, 0.05. Few floats of a size
are, at most 1 in 50 of those counted here, and each different value is one trial. Or the
exponents are of many binades, all plausible: each by chance with 74/256. Decimals (BCD): no nibble
above nine, in columns that use the digits widely: of 256 bytes 100 are decimal, once for each
different byte. Columns of letters and ASCII digits are text, not decimals.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from cronos.discover.detectors.table import (
    LEAST_SUPPORT,
    MOST_ALARM,
    Bools,
    Found,
    Table,
    fixed,
    overlap,
    tail,
)  # fmt: skip
from cronos.discover.messages import Message
from cronos.discover.model import Claim, Sem

FRONT: Final = 256
LEAST_VALUES: Final = 8
SMALLEST: Final = 1e-4
LARGEST: Final = 1e7
FLOAT_CHANCE: Final = 2 * 37 / 256
"""Of 256 exponents 37 lie between 1e-4 and 1e7; either sign."""
LEAST_BINADES: Final = 9
SHORT_CHANCE: Final = 1 / 50
LEAST_DIGITS: Final = 12
TRIED: Final = FRONT * 4


def claims(messages: Sequence[Message]) -> list[Claim]:
    """Find the floats and decimals of these messages."""
    return [found.claim() for found in find(Table(messages))]


def find(table: Table) -> list[Found]:
    """Find floats, then decimals elsewhere; the better bound first where two overlap."""
    floats: list[Found] = []
    for each in sorted(_floats(table), key=lambda each: each.alarm):
        if not any(overlap(each, other) for other in floats):
            floats.append(each)
    return floats + [d for d in _decimals(table) if not any(overlap(d, f) for f in floats)]


def _floats(table: Table) -> Iterator[Found]:
    for width in (4, 8):
        for order in ("be", "le"):
            for offset in range(max(0, min(FRONT, table.width) - width + 1)):
                inside = table.reach(offset + width)
                if inside.mean() < LEAST_SUPPORT:
                    break
                raw = table.block[inside, offset : offset + width]
                alarm = _float_alarm(np.unique(raw, axis=0), width, order)
                if alarm <= MOST_ALARM:
                    terms: dict[str, str | int] = {"endian": order, "width": width}
                    at, widths = fixed(len(table), offset), fixed(len(table), width)
                    kind = f"float{8 * width}"
                    yield Found(kind, Sem.FLOAT, at, widths, inside, alarm, terms)


def _float_alarm(raw: npt.NDArray[np.uint8], width: int, order: str) -> float:
    """Bound the chance that all these different values look like readings."""
    if len(raw) < LEAST_VALUES:
        return 1.0
    kind = np.dtype(f"{'>' if order == 'be' else '<'}f{width}")
    with np.errstate(invalid="ignore"):
        values = np.frombuffer(np.ascontiguousarray(raw).tobytes(), kind).astype(np.float64)
    with np.errstate(invalid="ignore"):
        sizes = np.abs(values[np.isfinite(values) & (values != 0)])
    right = sizes[(sizes >= SMALLEST) & (sizes <= LARGEST)]
    text = ((raw >= 0x20) & (raw < 0x7F)).all(axis=1).mean()
    if right.size < LEAST_VALUES or right.size < LEAST_SUPPORT * len(raw) - 1 or text > 0.3:
        return 1.0
    binades = np.unique(np.floor(np.log2(right))).size
    by_binades = FLOAT_CHANCE**binades if binades >= LEAST_BINADES else 1.0
    # A number with its low bytes all zero is as well an integer of the other order.
    low = raw[:, -2:] if order == "be" else raw[:, :2]
    by_decimals = _short(right, width) if np.unique(low, axis=0).shape[0] >= 4 else 1.0
    return min(1.0, TRIED * min(by_binades, by_decimals))


def _short(sizes: npt.NDArray[np.float64], width: int) -> float:
    """Bound the chance that so many of these floats are short in decimal."""
    spacing = sizes * 2.0 ** (-23 if width == 4 else -52)
    told = np.zeros(sizes.size, np.bool_)
    able = np.zeros(sizes.size, np.bool_)
    for places in range(5):
        scaled = sizes * 10.0**places
        # So many of the floats near this one are within rounding of a decimal of these places.
        usual = 10.0**places * spacing <= SHORT_CHANCE / 5
        able |= usual
        told |= usual & (np.abs(scaled - np.round(scaled)) <= 0.51 * spacing * 10.0**places)
    return tail(int(told.sum()), int(able.sum()), SHORT_CHANCE)


def _decimals(table: Table) -> Iterator[Found]:
    """Find runs of two to ten columns that hold decimal digits and use them."""
    wide = min(FRONT, table.width)
    decimal = np.zeros(wide, np.bool_)
    variety = np.zeros(wide, np.int64)
    for offset in range(wide):
        column = table.block[table.reach(offset + 1), offset]
        if column.size < LEAST_SUPPORT * len(table):
            break
        good = (column >> 4 <= 9) & (column & 15 <= 9)
        text = ((column >= 0x20) & (column < 0x7F)).mean()
        decimal[offset] = bool(good.all()) and text < 0.8
        variety[offset] = np.unique(column).size
    for start, end in _stretches(decimal & (variety >= LEAST_DIGITS)):
        digits = int(variety[start:end].sum())
        alarm = min(1.0, TRIED * (100 / 256) ** digits)
        if end - start >= 2 and alarm <= MOST_ALARM:
            terms: dict[str, str | int] = {"form": "bcd", "width": end - start}
            at, widths = fixed(len(table), start), fixed(len(table), end - start)
            yield Found("bcd", Sem.VALUE, at, widths, table.reach(end), alarm, terms)


def _stretches(mask: Bools) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]
