"""Text: places that hold text in every message, runs of it, and the delimiters of text protocols.

Of 256 bytes 95 are printable. A column of text has the bound 95/256 for each different byte; a run
is told when random bytes of the same total length would hold far fewer runs as long. Where nearly
all bytes are text, the marks that stand in nearly every message cut it into tokens.
"""

import re
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
    fixed,
)  # fmt: skip
from cronos.discover.messages import Message
from cronos.discover.model import Claim, Sem

PRINTABLE: Final = 97 / 256
"""Printable ASCII and the two bytes of line ends."""
FRONT: Final = 384
LEAST_COLUMNS: Final = 3
LEAST_RUN: Final = 5
MOST_RUNS: Final = 24
MOST_TOKENS: Final = 96
TEXT_SHARE: Final = 0.9
TABULAR: Final = 0.98
LEAST_RECORDS: Final = 4
MOST_KINDS: Final = 256
MOST_KIND: Final = 32
RUN: Final = re.compile(rb"[\x20-\x7e\t]{5,}(?:\r\n|\n|\x00)?")
WIDE: Final = re.compile(rb"(?:[\x20-\x7e]\x00){4,}(?:\x00\x00)?")
RUN_BYTES: Final = re.compile(rb"[\x20-\x7e\t\r\n\x01]+")
LINES: Final = (b"\r\n", b"\n", b"\r")
FIELDS: Final = (b"|", b"\x01", b";", b"\t", b"^", b",")
PAIRS: Final = (b": ", b"=", b":")


def claims(messages: Sequence[Message]) -> list[Claim]:
    """Find the text in these messages."""
    return [found.claim() for found in find(Table(messages))]


def find(table: Table) -> list[Found]:
    """Find tokens where all is text; else columns and runs of text between other bytes."""
    if len(table) < 2:
        return []
    data = [message.payload for message in table.messages]
    other = sum(len(RUN_BYTES.sub(b"", payload)) for payload in data)
    whole = max(1, sum(map(len, data)))
    if 1 - other / whole >= TEXT_SHARE:
        return list(_tokens(table, min(1.0, PRINTABLE ** min(600, whole // 4))))
    return [*_columns(table), *_runs(table, RUN, "text.run"), *_runs(table, WIDE, "text.utf16")]


def _columns(table: Table) -> Iterator[Found]:
    """Find fixed places that are text in every message, zeros or blanks behind it."""
    wide = min(FRONT, table.width)
    good = np.zeros(wide, np.bool_)
    different = np.zeros(wide, np.int64)
    for offset in range(wide):
        inside = table.reach(offset + 1)
        if inside.mean() < LEAST_SUPPORT:
            break
        names, counts = np.unique(table.block[inside, offset], return_counts=True)
        printable = (names >= 0x20) & (names < 0x7F)
        good[offset] = counts[printable | (names == 0)].sum() >= LEAST_SUPPORT * inside.sum()
        different[offset] = int(printable.sum())
    for start, end in _stretches(good & (different > 0)):
        letters = int(different[start:end].sum())
        alarm = min(1.0, FRONT * PRINTABLE**letters)
        last = end
        while last < wide and good[last] and (table.block[table.reach(last + 1), last] == 0).all():
            last += 1
        if end - start >= LEAST_COLUMNS and alarm <= MOST_ALARM:
            at, widths = fixed(len(table), start), fixed(len(table), last - start)
            terms: dict[str, str | int] = {"width": last - start, "text": end - start}
            yield Found("text.fixed", Sem.TEXT, at, widths, table.reach(last), alarm, terms)


def _stretches(mask: Bools) -> list[tuple[int, int]]:
    edges = np.flatnonzero(np.diff(np.concatenate([[False], mask, [False]]).astype(np.int8)))
    return [(int(a), int(b)) for a, b in zip(edges[::2], edges[1::2], strict=True)]


def _runs(table: Table, pattern: re.Pattern[bytes], kind: str) -> Iterator[Found]:
    """Give the runs of text of every message, the first ones first."""
    total = int(table.sizes.sum())
    chance = PRINTABLE**LEAST_RUN if kind == "text.run" else (PRINTABLE / 256) ** 4
    found = [list(pattern.finditer(message.payload))[:MOST_RUNS] for message in table.messages]
    count = sum(map(len, found))
    # Poisson, bounded: exp(-(k ln(k/m) - k + m)) for k runs where m are expected.
    expected = max(1e-9, total * chance)
    if count <= 2 * expected:
        return
    alarm = float(np.exp(-min(700.0, count * np.log(count / expected) - count + expected)))
    if alarm > MOST_ALARM:
        return
    for number in range(max(map(len, found), default=0)):
        at, sizes = np.zeros(len(table), np.int64), np.zeros(len(table), np.int64)
        for row, matches in enumerate(found):
            if number < len(matches):
                start, end = matches[number].span()
                # A length below 127 before its text looks like a letter of it.
                text = matches[number][0]
                start += text[0] == len(text.rstrip(b"\0")) - 1
                at[row], sizes[row] = start, end - start
        terms: dict[str, str | int] = {"number": number}
        yield Found(kind, Sem.TEXT, at, sizes, sizes > 0, alarm, terms)


def _tokens(table: Table, alarm: float) -> Iterator[Found]:
    """Cut every message at the marks that nearly all of them hold."""
    marks = _marks(table)
    pattern = re.compile(b"|".join(re.escape(mark) for mark in marks) or b"$^")
    rows = len(table)
    tokens: list[tuple[Ints, Ints]] = []
    ends: list[tuple[Ints, Ints]] = []
    for row, message in enumerate(table.messages):
        last, number = 0, 0
        for match in [*pattern.finditer(message.payload)][:MOST_TOKENS]:
            _put(tokens, rows, number, (row, last, match.start()))
            _put(ends, rows, number, (row, match.start(), match.end()))
            last, number = match.end(), number + 1
        _put(tokens, rows, number, (row, last, len(message.payload)))
    names = b" ".join(mark.hex().encode() for mark in marks).decode()
    exact = int(_tabular(table, marks))
    for kind, places in (("text.token", tokens), ("text.delimiter", ends)):
        for number, (at, sizes) in enumerate(places):
            terms: dict[str, str | int] = {"number": number, "marks": names, "exact": exact}
            yield Found(kind, Sem.TEXT, at, sizes, sizes > 0, alarm, terms)


def _tabular(table: Table, marks: Sequence[bytes]) -> bool:
    """Say whether marks part records as a grammar would: each kind always has as many fields.

    A record's kind is what stands before its first mark. Where a mark is a sign of writing, as in
    most texts that people read, records of a kind differ in how many they hold.
    """
    line = next((mark for mark in marks if mark in LINES), None)
    field = next((mark for mark in marks if mark in FIELDS), None)
    if field is None:
        return False
    kinds: dict[bytes, dict[int, int]] = {}
    total = parted = 0
    for message in table.messages:
        for record in message.payload.split(line) if line else (message.payload,):
            if not record:
                continue
            held = kinds.setdefault(record.split(field, 1)[0][:MOST_KIND], {})
            many = record.count(field)
            held[many] = held.get(many, 0) + 1
            total, parted = total + 1, parted + (many > 1)
            if len(kinds) > MOST_KINDS:
                return False
    often = [held for held in kinds.values() if sum(held.values()) >= LEAST_RECORDS]
    same = sum([max(held.values()) for held in often])
    return same >= TABULAR * total and 2 * parted >= total


def _put(
    places: list[tuple[Ints, Ints]], rows: int, number: int, span: tuple[int, int, int]
) -> None:
    row, start, end = span
    while number >= len(places):
        places.append((np.zeros(rows, np.int64), np.zeros(rows, np.int64)))
    places[number][0][row], places[number][1][row] = start, end - start


def _marks(table: Table) -> list[bytes]:
    """Choose the marks: line ends, one delimiter of fields, and what parts name and value."""
    counts = {
        mark: np.array([message.payload.count(mark) for message in table.messages])
        for mark in (*LINES, *FIELDS, *PAIRS, b" ")
    }
    usual = {mark: float(held.mean()) for mark, held in counts.items() if (held > 0).mean() >= 0.8}
    lines = [mark for mark in LINES if usual.get(mark, 0) >= 1][:1]
    fields = sorted((m for m in FIELDS if usual.get(m, 0) >= 2), key=lambda m: -usual[m])[:1]
    pieces = 1 + sum(usual[mark] for mark in [*lines, *fields])
    pairs = [mark for mark in PAIRS if 0.4 <= usual.get(mark, 0) / pieces <= 1.1][:1]
    return [*lines, *fields, *pairs] or [mark for mark in (b" ",) if usual.get(mark, 0) >= 1]
