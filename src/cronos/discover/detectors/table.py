"""Messages as columns, and the arithmetic of chance that all detectors share."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

from cronos.discover.messages import Message
from cronos.discover.model import Claim, Sem

Ints: TypeAlias = npt.NDArray[np.int64]
Bools: TypeAlias = npt.NDArray[np.bool_]

MAX_COLUMNS: Final = 512
"""Fields at fixed places are sought in the first bytes only: time is bounded by this."""
LEAST_SUPPORT: Final = 0.95
MOST_ALARM: Final = 0.01
ORDERS: Final = {1: ("be",), 2: ("be", "le"), 3: ("be", "le"), 4: ("be", "le"), 8: ("be", "le")}


class Table:
    """A set of messages: `block[i, o]` is byte o of message i, 0 behind its end."""

    def __init__(self, messages: Sequence[Message], columns: int = MAX_COLUMNS) -> None:
        """Lay the first `columns` bytes of every message out, a row each."""
        self.messages = messages
        self.sizes: Ints = np.array([len(m.payload) for m in messages], np.int64)
        self.width = int(min(columns, self.sizes.max(initial=0)))
        self.block = np.zeros((len(messages), self.width + 8), np.uint8)
        for row, message in enumerate(messages):
            head = message.payload[: self.width]
            self.block[row, : len(head)] = np.frombuffer(head, np.uint8)
        flows: dict[str, int] = {}
        self.flows: Ints = np.array(
            [flows.setdefault(m.flow, len(flows)) for m in messages], np.int64
        )
        sides = {"c2s": 1, "s2c": 2}
        self.sides: Ints = np.array([sides.get(m.direction, 0) for m in messages], np.int64)
        self.times = np.array([m.ts for m in messages], np.float64)
        self._words: dict[tuple[int, str], Ints] = {}

    def __len__(self) -> int:
        """Count the messages."""
        return len(self.messages)

    def numbers(self, offset: int, width: int, order: str) -> Ints:
        """Give the number at this offset of every row; what lies behind the end counts as zero."""
        return self.words(width, order)[:, offset]

    def words(self, width: int, order: str) -> Ints:
        """Give the number at every offset of every row: up to 7 bytes exactly, 8 wrapped."""
        key = (width, order)
        if key not in self._words:
            out = np.zeros((len(self), self.width), np.int64)
            for step in range(width):
                shift = 8 * (width - 1 - step if order == "be" else step)
                out |= self.block[:, step : step + self.width].astype(np.int64) << shift
            self._words[key] = out
        return self._words[key]

    def reach(self, end: int) -> Bools:
        """Say which messages have at least `end` bytes."""
        return self.sizes >= end


def within(ends: Ints, columns: int, width: int = 1) -> Bools:
    """Say, a row for each end, whether a number of this width at each offset lies before it."""
    offsets: Ints = np.arange(columns, dtype=np.int64) + width
    out: Bools = np.greater_equal(ends[:, None], offsets[None, :])
    return out


def tail(hits: int, trials: int, chance: float) -> float:
    """Bound the probability of at least `hits` of `trials`: Chernoff, exp(-n KL(h/n || p))."""
    if trials == 0 or hits <= trials * chance:
        return 1.0
    chance = max(chance, 1e-18)
    share = hits / trials
    divergence = share * math.log(share / chance)
    if share < 1:
        divergence += (1 - share) * math.log((1 - share) / (1 - chance))
    return math.exp(-min(700.0, trials * divergence))


def coincidence(left: Ints, right: Ints) -> float:
    """Give the probability that two columns agree if their rows were unrelated."""
    names, counts = np.unique(left, return_counts=True)
    others, other_counts = np.unique(right, return_counts=True)
    _, first, second = np.intersect1d(names, others, return_indices=True)
    pairs = counts[first].astype(np.float64) * other_counts[second]
    return float(pairs.sum()) / max(1, left.size * right.size)


class Found(msgspec.Struct, frozen=True):
    """What a search found, before it is said as a `Claim`: per row an offset, a length, whether."""

    kind: str
    sem: Sem
    offsets: Ints
    lengths: Ints
    holds: Bools
    alarm: float
    terms: Mapping[str, str | int]

    @property
    def support(self) -> float:
        """Give the share of rows in which it holds."""
        return float(self.holds.mean()) if self.holds.size else 0.0

    def claim(self) -> Claim:
        """Say it as a claim over the messages of the table."""
        spans = tuple(
            (int(offset), int(length)) if holds else None
            for offset, length, holds in zip(self.offsets, self.lengths, self.holds, strict=True)
        )
        return Claim(self.kind, self.sem, spans, self.support, self.alarm, dict(self.terms))


def fixed(rows: int, value: int) -> Ints:
    """Give the same number for every row."""
    return np.full(rows, value, np.int64)


def variants(widths: Sequence[int]) -> Iterator[tuple[int, str]]:
    """Give each width with the byte orders that make a difference for it."""
    for width in widths:
        for order in ORDERS[width]:
            yield width, order


def overlap(one: Found, other: Found) -> bool:
    """Say whether two findings lay claim to the same bytes of some message."""
    both = one.holds & other.holds
    ends = (one.offsets + one.lengths, other.offsets + other.lengths)
    return bool(((one.offsets < ends[1]) & (other.offsets < ends[0]) & both).any())
