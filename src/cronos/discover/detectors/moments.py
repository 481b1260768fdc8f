"""Timestamps: numbers that say when the message was sent, in the epochs and units in use.

A value must lie near the time of capture: within two seconds, a minute or a day, whichever says
most. The bound: a random number of that width lies so near to one moment with the share of that
window in all numbers; for each further moment of the capture, a number within the same day would
lie so near with the window's share in the day. File times may also lie up to thirty years before,
if they are of three half-years at least. Times in text and in BCD digits are read as dates.
"""

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from cronos.discover.detectors.table import (
    LEAST_SUPPORT,
    MOST_ALARM,
    Bools,
    Found,
    Ints,
    Table,
    fixed,
    overlap,
    tail,
)  # fmt: skip
from cronos.discover.messages import Message
from cronos.discover.model import Claim, Sem

Reals = npt.NDArray[np.float64]

FRONT: Final = 384
DAY: Final = 86400.0
LONG_AGO: Final = 30 * 365.25 * DAY
NTP: Final = 2208988800.0
FILETIME: Final = 11644473600.0
LEAST_VALUES: Final = 2


class Form(msgspec.Struct, frozen=True):
    """A way to write a time: value / unit - epoch is Unix time in seconds."""

    name: str
    width: int
    unit: float
    epoch: float = 0.0
    far: bool = False
    """Wide enough that a time long before the capture is no coincidence."""


FORMS: Final = (
    Form("filetime", 8, 1e7, FILETIME, far=True),
    Form("unix-ns", 8, 1e9),
    Form("unix-us", 8, 1e6),
    Form("unix-ms", 8, 1e3),
    Form("ntp", 8, 4294967296.0, NTP),
    Form("unix-ms48", 6, 1e3),
    Form("unix64", 8, 1.0),
    Form("unix32", 4, 1.0),
    Form("ntp32", 4, 1.0, NTP),
    Form("double", 8, 0.0),
)
NEAR: Final = (2.0, 60.0, DAY)
TRIED: Final = FRONT * len(FORMS) * 2 * (len(NEAR) + 1)
TEXTS: Final = (
    ("compact", re.compile(rb"(?:19|20)\d\d(?:0\d|1[0-2])(?:[0-2]\d|3[01])(?:[01]\d|2[0-3])"
                           rb"[0-5]\d[0-5]\d(?:\.\d+)?Z?")),
    ("iso", re.compile(rb"(?:19|20)\d\d-(?:0\d|1[0-2])-(?:[0-2]\d|3[01])"
                       rb"(?:[T ](?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d(?:\.\d+)?Z?)?")),
    ("rfc", re.compile(rb"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), \d\d? [A-Z][a-z][a-z] \d{4}"
                       rb" \d\d:\d\d:\d\d(?: [A-Z]{3}| [+-]\d{4})?")),
)  # fmt: skip
MOST_TEXTS: Final = 16


def claims(messages: Sequence[Message]) -> list[Claim]:
    """Find the times in these messages."""
    return [found.claim() for found in find(Table(messages))]


def find(table: Table) -> list[Found]:
    """Find the times of this table; forms that fit the capture better go first."""
    numbers = [each for each in _numbers(table) if each.alarm <= MOST_ALARM]
    numbers += [each for each in _digits(table) if each.alarm <= MOST_ALARM]
    numbers.sort(key=lambda each: (round(each.alarm, 12), str(each.terms["window"]) != "day"))
    kept: list[Found] = []
    for each in numbers:
        if not any(overlap(each, other) for other in kept):
            kept.append(each)
    return kept + list(_texts(table))


def _numbers(table: Table) -> Iterator[Found]:
    times = table.times
    known = times > DAY
    if not known.any():
        return
    for form in FORMS:
        for order in ("be", "le"):
            for offset in range(min(FRONT, table.width)):
                inside = table.reach(offset + form.width) & known
                if inside.sum() < 3 or inside.sum() < LEAST_SUPPORT * known.sum():
                    break
                words = _words(table, form.width, order)[:, offset]
                away = _read(words, form) - times
                yield from _fit(table, form, order, offset, (words, away, inside))


def _words(table: Table, width: int, order: str) -> Ints:
    return table.words(width, order)


def _read(words: Ints, form: Form) -> Reals:
    """Turn numbers into Unix time."""
    if form.unit == 0.0:
        values = words.view(np.float64)
        return np.where(np.isfinite(values) & (np.abs(values) < 1e12), values, -1e18)
    unsigned = words.view(np.uint64).astype(np.float64)
    return unsigned / form.unit - form.epoch


def _fit(
    table: Table, form: Form, order: str, offset: int, columns: tuple[Ints, Reals, Bools]
) -> Iterator[Found]:
    """Say what holds of one place: near the capture, or before it at all."""
    words, away, inside = columns
    used = inside & (words != 0)
    near = used & (np.abs(away) <= max(NEAR))
    past = used & (away <= DAY) & (away >= -LONG_AGO) if form.far else near
    # Nearly no place is one: what is cheap to ask goes first.
    most = max(near.sum(), past.sum())
    if most < max(3, LEAST_SUPPORT * used.sum()) or np.unique(words[used]).size < LEAST_VALUES:
        return
    # A double has a sign and eleven bits of exponent to be wrong in.
    span = 2.0 ** (8 * form.width) / form.unit if form.unit else 2.0**11 * 2e9
    best: tuple[float, str, Bools] | None = None
    for reach in NEAR:
        right = used & (np.abs(away) <= reach)
        if right.sum() >= LEAST_SUPPORT * used.sum():
            moments = np.unique(np.floor(table.times[right] / (2 * reach))).size
            chance = 2 * reach / span * min(1.0, reach / DAY) ** (moments - 1)
            if best is None or chance < best[0]:
                best = (chance, "day", right)
    if best is None and form.far:
        periods = np.unique(np.floor(away[past] / (LONG_AGO / 60))).size
        if past.sum() >= LEAST_SUPPORT * used.sum() and periods >= 3 and _ticks(words[past]):
            best = ((LONG_AGO / span) ** periods, "past", past)
    if best is None:
        return
    chance, window, right = best
    terms: dict[str, str | int] = {
        "endian": order, "width": form.width, "form": form.name, "window": window,
    }  # fmt: skip
    holds = right | (inside & (words == 0))
    at, widths = fixed(len(table), offset), fixed(len(table), form.width)
    alarm = min(1.0, TRIED * chance)
    yield Found(f"timestamp.{form.name}", Sem.TIMESTAMP, at, widths, holds, alarm, terms)


def _ticks(words: Ints) -> bool:
    """Say whether the low bytes run through all values, as those of a fine clock do."""
    values = np.unique(words)
    return all(
        np.unique(values >> (8 * step) & 255).size >= min(24, values.size // 3)
        for step in range(1, 5)
    )


def _digits(table: Table) -> Iterator[Found]:
    """Read six or seven bytes as the digits of a date and time near the capture."""
    known = np.flatnonzero(table.times > DAY)
    if known.size < 3:
        return
    for width in (7, 6):
        for offset in range(max(0, min(FRONT, table.width) - width + 1)):
            column = table.block[known, offset]
            high = column >> 4
            if (high > 9).any() or np.unique(column).size > 4:
                continue
            parts = {
                bytes(table.block[row, offset : offset + width]): float(table.times[row])
                for row in known
                if table.sizes[row] >= offset + width
            }
            right = sum(_is_date(part.hex(), at) for part, at in parts.items())
            if len(parts) < LEAST_VALUES or right < LEAST_SUPPORT * len(parts):
                continue
            # Of the 256^4 values of year, month and day and hour some 72 are near the capture.
            alarm = min(1.0, TRIED * tail(right, len(parts), 72 / 256.0**4))
            terms: dict[str, str | int] = {"width": width, "form": "bcd", "window": "day"}
            holds = table.reach(offset + width)
            at, widths = fixed(len(table), offset), fixed(len(table), width)
            yield Found("timestamp.bcd", Sem.TIMESTAMP, at, widths, holds, alarm, terms)


def _is_date(digits: str, near: float) -> bool:
    """Say whether digits are a date and time within some days of a capture, whatever the zone."""
    if not digits.isdecimal():
        return False
    text = digits if len(digits) == 14 else f"20{digits}"
    try:
        moment = dt.datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=dt.UTC)
    except ValueError:
        return False
    return abs(moment.timestamp() - near) <= 1.5 * DAY


def _texts(table: Table) -> Iterator[Found]:
    """Find dates in text, the first of each message first."""
    rows = len(table)
    for name, pattern in TEXTS:
        spans: list[tuple[Ints, Ints]] = []
        for row, message in enumerate(table.messages):
            for number, match in enumerate(pattern.finditer(message.payload)):
                if number >= MOST_TEXTS:
                    break
                if number == len(spans):
                    spans.append((np.zeros(rows, np.int64), np.zeros(rows, np.int64)))
                spans[number][0][row] = match.start()
                spans[number][1][row] = match.end() - match.start()
        # Eight digits of a date by chance: 10^-8 a place, and the places there are.
        alarm = min(1.0, 1e-12 * float(table.sizes.sum()))
        for number, (at, sizes) in enumerate(spans):
            terms: dict[str, str | int] = {"form": name, "number": number, "window": "any"}
            kind = "timestamp.text"
            yield Found(kind, Sem.TIMESTAMP, at, sizes, sizes > 0, alarm, terms)
