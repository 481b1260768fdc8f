"""Fillers and sealed tails: bytes that mean nothing, and bytes that cannot be read.

Padding: messages whose sizes are all multiples of four bytes or more, with zeros of changing
number at the end; by chance a size is a multiple of n once in n. Ramps: bytes that count up or down
by one, as what is sent to be sent back holds (echo requests, line tests): of random bytes each goes
on with one in 256. Sealed tails: from some place on
the bytes are spread as random ones are. Nothing proves that they are sealed; the test refuses what
is *not* so spread, and the rate at which it passes on readable fields is measured, not bounded:
`alarm` is the chance that random bytes look less even than these.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from cronos.discover.detectors.table import (
    LEAST_SUPPORT,
    MOST_ALARM,
    Found,
    Ints,
    Table,
    fixed,
)  # fmt: skip
from cronos.discover.messages import Message
from cronos.discover.model import Claim, Sem

UNITS: Final = (16, 8, 4)
LEAST_TAIL: Final = 16
LEAST_BYTES: Final = 2048
MOST_BYTES: Final = 1 << 16
EVENNESS: Final = 4.0
"""So many standard deviations the chi-square of random bytes may be off."""
FRONT: Final = 96
LEAST_RAMP: Final = 16
RAMP: Final = "ramp"


def claims(messages: Sequence[Message]) -> list[Claim]:
    """Find the fillers and sealed tails of these messages."""
    return [found.claim() for found in find(Table(messages))]


def find(table: Table) -> list[Found]:
    """Find what fills these messages up, and from where on they cannot be read."""
    return [*_padding(table), *_ramps(table), *_sealed(table)]


def _padding(table: Table) -> Iterator[Found]:
    sizes = np.unique(table.sizes)
    zeros: Ints = np.array(
        [len(m.payload) - len(m.payload.rstrip(b"\0")) for m in table.messages], np.int64
    )
    for unit in UNITS:
        even = table.sizes % unit == 0
        different = np.unique(table.sizes[even]).size
        if even.mean() < LEAST_SUPPORT or different < 3:
            continue
        filled = even & (zeros > 0) & (zeros < unit)
        alarm = float(unit) ** -different * len(UNITS) * float(2 ** (sizes.size - different))
        if alarm <= MOST_ALARM and np.unique(zeros[filled]).size >= min(3, unit - 1):
            terms: dict[str, str | int] = {"unit": unit}
            at = table.sizes - zeros
            yield Found("padding", Sem.BYTES, at, zeros, filled, alarm, terms)
            return


def _ramps(table: Table) -> Iterator[Found]:
    """Find the longest run of each message in which every byte is one more, or one less."""
    at, sizes = fixed(len(table), 0), fixed(len(table), 0)
    for row, message in enumerate(table.messages):
        data = np.frombuffer(message.payload, np.uint8)
        for step in (1, 255):
            breaks = np.flatnonzero(data[1:] - data[:-1] != step) + 1
            edges = np.concatenate(([0], breaks, [len(data)]))
            longest = int(np.diff(edges).argmax())
            size = int(edges[longest + 1] - edges[longest])
            if size > sizes[row]:
                at[row], sizes[row] = edges[longest], size
    holds = sizes >= LEAST_RAMP
    alarm = 2.0 * float(table.sizes.sum()) * 256.0 ** (1 - LEAST_RAMP)
    if holds.any() and alarm <= MOST_ALARM:
        yield Found(RAMP, Sem.BYTES, at, sizes, holds, alarm, {"bytes": int(sizes[holds].sum())})


def evenness(data: bytes) -> float:
    """Give by how many standard deviations the byte counts are off those of random bytes."""
    counts = np.bincount(np.frombuffer(data, np.uint8), minlength=256)
    expected = len(data) / 256
    chi = float(((counts - expected) ** 2).sum()) / max(expected, 1e-9)
    return (chi - 255.0) / math.sqrt(2 * 255.0)


def _sealed(table: Table) -> Iterator[Found]:
    """Find the first place from which on nearly all messages are even to their end."""
    long = table.sizes >= LEAST_TAIL
    for start in range(min(FRONT, table.width)):
        reach = table.sizes >= start + LEAST_TAIL
        if reach.sum() < 0.8 * max(1, long.sum()) or reach.mean() < 0.5:
            return
        different = {table.messages[int(row)].payload[start:] for row in np.flatnonzero(reach)}
        data = b"".join(different)[:MOST_BYTES]
        if len(data) < LEAST_BYTES:
            return
        off = evenness(data)
        # A place before the tail spoils little of a long one: the first column must be even too.
        if off <= EVENNESS and _lively(table, start):
            alarm = float(np.exp(-(max(0.0, EVENNESS - off) ** 2) / 2))
            terms: dict[str, str | int] = {"start": start, "bytes": len(data)}
            at, sizes = fixed(len(table), start), np.maximum(0, table.sizes - start)
            kind = "sealed"
            yield Found(kind, Sem.BYTES, at, sizes, reach, min(alarm, MOST_ALARM), terms)
            return


def _lively(table: Table, start: int) -> bool:
    """Say whether each of the first bytes differs as random bytes do."""
    rows = np.flatnonzero(table.sizes >= start + LEAST_TAIL)
    random = 256 * (1 - (255 / 256) ** rows.size)
    return all(
        np.unique(table.block[rows, start + step]).size >= 0.75 * random for step in range(8)
    )
