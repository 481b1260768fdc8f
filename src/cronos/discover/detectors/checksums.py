"""Checksums: over all before them, over the whole message with themselves as zero, over blocks.

A sample of different messages is tried with every algorithm, place and order; what survives is
verified on all. The bound: a value of w bytes that had nothing to do with the message agrees once
in 256^w. One agreement per *different* checksum value counts, so that a constant proves nothing,
and what is covered must vary in two places at least, so that a copied byte is no sum.
"""

from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

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
    coincidence,
    fixed,
    overlap,
    tail,
)  # fmt: skip
from cronos.discover.messages import Message
from cronos.discover.model import Claim, Sem
from cronos.discover.sums import SUMS, Sum

Bytes: TypeAlias = npt.NDArray[np.uint8]

SAMPLE: Final = 16
SHORT: Final = 320
MOST_BYTES: Final = 1500
STARTS: Final = (0, 1, 2, 3, 4, 6, 8)
AFTER: Final = (0, 1, 2)
"""Bytes behind a trailing checksum: an end mark, say."""
HEADER: Final = 40
BLOCKS: Final = (8, 16, 32, 64, 128)
MOST_BLOCKS: Final = 64
CIRCULAR: Final = ("internet", "sum8-neg", "sum8-not", "xor8", "xor8-not")
SUPPORT: Final = 0.6
"""Captures hold truncated and broken messages; the bound is that of the messages that agree."""
TRIED: Final = len(SUMS) * 2 * (len(STARTS) * (len(AFTER) + HEADER) + 2 * HEADER + len(BLOCKS))


def claims(messages: Sequence[Message]) -> list[Claim]:
    """Find the checksums of these messages."""
    return [found.claim() for found in find(Table(messages))]


def find(table: Table) -> list[Found]:
    """Find the checksums of this table; where two overlap, the one with the better bound."""
    rows = _sample(table)
    if rows.size < 3:
        return []
    pages = _Pages(table, rows)
    every = _Pages(table, np.arange(len(table)))
    found: list[Found] = []
    for trial in _placed(pages, list(_survivors(pages))):
        verified = _verify(every, trial)
        if verified.alarm <= MOST_ALARM and verified.support >= SUPPORT:
            found += [verified, *_blocks(every, trial)]
    found.sort(key=_rank)
    kept: list[Found] = []
    for each in found:
        if not any(overlap(each, other) for other in kept):
            kept.append(each)
    return kept


def _rank(found: Found) -> tuple[float, float, int, int]:
    """Order claims: the least alarm, the best support, the wider sum, the more that is covered."""
    return (
        round(found.alarm, 9),
        -round(found.support, 2),
        -int(found.terms["width"]),
        int(found.terms["start"]),
    )


def _placed(pages: "_Pages", trials: list["Trial"]) -> list["Trial"]:
    """Keep one place of each sum that fits everywhere: where the values differ most.

    When all words of a message sum to a constant, each of them is the checksum of the others.
    """
    best: dict[str, tuple[int, int, bool]] = {}
    chosen: dict[str, Trial] = {}
    others: list[Trial] = []
    for trial in trials:
        if trial.algorithm not in CIRCULAR:
            others.append(trial)
            continue
        # Half a bit is noise; the end is where such sums mostly stand.
        support = round(10 * _verify(pages, trial).support)
        rank = (support, round(2 * _spread(pages, trial)), trial.at < 0)
        if rank > best.get(trial.algorithm, (-1, 0, False)):
            best[trial.algorithm], chosen[trial.algorithm] = rank, trial
    return [*others, *chosen.values()]


def _spread(pages: "_Pages", trial: "Trial") -> float:
    """Give the entropy of the values at a place, in bits a byte."""
    places, actual = pages.actual(trial)
    total = 0.0
    for step in range(trial.sum.width):
        column = (actual[places >= 0] >> (8 * step)) & 255
        counts = np.unique(column, return_counts=True)[1]
        shares = counts / max(1, column.size)
        total -= float((shares * np.log2(shares)).sum())
    return total / trial.sum.width


class Trial(msgspec.Struct, frozen=True):
    """A checksum as it may be: algorithm, order, where it stands, what it covers.

    `at` >= 0 counts from the front, below 0 from the end. `cover` is before: [start, at); whole:
    [0, end) with itself as zero; behind: all that follows it.
    """

    algorithm: str
    order: str
    at: int
    start: int = 0
    cover: str = "before"

    @property
    def sum(self) -> Sum:
        """Give the algorithm itself."""
        return SUMS[self.algorithm]

    def terms(self) -> dict[str, str | int]:
        """Say what reproduces it."""
        return {
            "algorithm": self.algorithm, "endian": self.order, "width": self.sum.width,
            "at": self.at, "start": self.start, "cover": self.cover,
        }  # fmt: skip


class _Pages:
    """Whole messages laid out, cut at `MOST_BYTES`, with the words that may be checksums."""

    def __init__(self, table: Table, rows: Ints) -> None:
        payloads = [table.messages[int(row)].payload[:MOST_BYTES] for row in rows]
        self.sizes: Ints = np.array([len(payload) for payload in payloads], np.int64)
        self.whole: Bools = table.sizes[rows] <= MOST_BYTES
        self.width = int(self.sizes.max(initial=0))
        self.block: Bytes = np.zeros((len(payloads), self.width + 4), np.uint8)
        for row, payload in enumerate(payloads):
            self.block[row, : len(payload)] = np.frombuffer(payload, np.uint8)
        self._words: dict[tuple[int, str], Ints] = {}

    def words(self, width: int, order: str) -> Ints:
        """Give the number at every offset of every row."""
        key = (width, order)
        if key not in self._words:
            out = np.zeros((len(self.sizes), self.width + 1), np.int64)
            for step in range(width):
                shift = 8 * (width - 1 - step if order == "be" else step)
                out |= self.block[:, step : step + self.width + 1].astype(np.int64) << shift
            self._words[key] = out
        return self._words[key]

    def places(self, trial: Trial) -> Ints:
        """Give where the checksum would stand in every row; below 0 where it cannot."""
        at = fixed(len(self.sizes), trial.at) if trial.at >= 0 else self.sizes + trial.at
        least = trial.start + 2 if trial.cover == "before" else 0
        fits = self.whole & (at >= least) & (at + trial.sum.width <= self.sizes)
        if trial.cover != "before":
            fits &= self.sizes >= at + trial.sum.width + 2
        return np.where(fits, at, -1)

    def actual(self, trial: Trial) -> tuple[Ints, Ints]:
        """Give the places of a trial and what stands there."""
        places = self.places(trial)
        words = self.words(trial.sum.width, trial.order)
        return places, words[np.arange(len(places)), np.maximum(places, 0)]

    def expected(self, trial: Trial, places: Ints) -> Ints:
        """Compute what should stand there."""
        rows, width = np.arange(len(places)), trial.sum.width
        if trial.cover == "before":
            ends, block, start = np.maximum(places, 0), self.block, trial.start
        else:
            block = self.block.copy()
            ends, start = self.sizes, 0
            for step in range(width):
                block[rows, np.maximum(places, 0) + step] = 0
            if trial.cover == "behind":
                start = trial.at + width
        columns = int(ends.max(initial=0))
        return trial.sum.before(block[:, :columns], start)[rows, ends].astype(np.int64)

    def summed(self, trial: Trial, actual: Ints) -> bool:
        """Say whether two of the covered places matter at least: one would be a copy of it."""
        last = trial.at if trial.cover == "before" and trial.at >= 0 else self.width
        first = trial.at + trial.sum.width if trial.cover == "behind" else trial.start
        actual, rows = np.unique(actual, return_index=True)
        seen = self.block[rows, first:last].astype(np.int64)
        if trial.cover == "whole":
            seen = np.delete(seen, range(trial.at, trial.at + trial.sum.width), axis=1)
        seen = seen[:, (seen != seen[:1]).any(axis=0)]
        if seen.shape[1] < 2:
            return False
        for parts in ((actual[:, None] - seen) & 255, (actual[:, None] ^ seen) & 255):
            for column in parts.T:
                if np.bincount(column).max() >= 0.9 * column.size:
                    return False
        return True


def _sample(table: Table) -> Ints:
    """Choose different messages, evenly from the shorter half."""
    seen: set[bytes] = set()
    rows: list[int] = []
    for row in np.argsort(table.sizes, kind="stable"):
        payload = table.messages[int(row)].payload
        if 4 <= len(payload) <= MOST_BYTES and payload not in seen:
            seen.add(payload)
            rows.append(int(row))
    # Long messages cost time and tell no more than short ones, where there are enough of those.
    short = [row for row in rows if table.sizes[row] <= SHORT]
    rows = short if len(short) >= SAMPLE // 2 else rows[:SAMPLE]
    half = rows[: max(SAMPLE, len(rows) // 2)]
    return np.array(half[:: max(1, len(half) // SAMPLE)][:SAMPLE], np.int64)


def _survivors(pages: _Pages) -> Iterator[Trial]:
    """Give the trials that hold in nearly all of the sample."""
    rows, columns = len(pages.sizes), pages.width
    starts = [start for start in STARTS if start + 2 < columns]
    shifted = np.concatenate([_shift(pages.block[:, :columns], start) for start in starts])
    for algorithm in SUMS.values():
        prefixes = algorithm.before(shifted).astype(np.int64).reshape(len(starts), rows, -1)
        for number, start in enumerate(starts):
            values = np.zeros((rows, columns + 1), np.int64)
            values[:, start:] = prefixes[number][:, : columns + 1 - start]
            yield from _before(pages, algorithm, start, values)
        yield from _around(pages, algorithm)


def _shift(block: Bytes, by: int) -> Bytes:
    out = np.zeros_like(block)
    out[:, : block.shape[1] - by] = block[:, by:]
    return out


def _orders(algorithm: Sum) -> tuple[str, ...]:
    return ("be",) if algorithm.width == 1 else ("be", "le")


def _before(pages: _Pages, algorithm: Sum, start: int, values: Ints) -> Iterator[Trial]:
    """Compare the sums over [start, o) with what stands at o: at the end, and at fixed places."""
    rows = np.arange(len(pages.sizes))
    for order in _orders(algorithm):
        words = pages.words(algorithm.width, order)
        for after in AFTER:
            trial = Trial(algorithm.name, order, -algorithm.width - after, start)
            places = pages.places(trial)
            at = np.maximum(places, 0)
            if _mostly(places, words[rows, at] == values[rows, at], words[rows, at]):
                yield trial
        equal = words[:, :HEADER] == values[:, :HEADER]
        for offset in np.flatnonzero(equal.mean(axis=0) > 0.5):
            trial = Trial(algorithm.name, order, int(offset), start)
            places = pages.places(trial)
            if _mostly(places, equal[:, offset], words[:, offset]):
                yield trial


def _mostly(places: Ints, equal: Bools, words: Ints) -> bool:
    """Say whether a sample agrees: most rows that can, in at least three different values."""
    can = places >= 0
    agreed = can & equal
    return bool(agreed.sum() >= SUPPORT * can.sum() > 0) and np.unique(words[agreed]).size >= 3


def _around(pages: _Pages, algorithm: Sum) -> Iterator[Trial]:
    """Try headers that carry a sum over the whole message, or over what follows."""
    few, width = min(6, len(pages.sizes)), algorithm.width
    offsets = range(min(HEADER, max(0, int(pages.sizes[:few].min()) - width - 1)))
    if not offsets:
        return
    sizes = pages.sizes[:few]
    columns = int(sizes.max())
    block = pages.block[:few, :columns]
    whole = np.repeat(block[None], len(offsets), axis=0)
    for offset in offsets:
        whole[offset, :, offset : offset + width] = 0
    behind = np.stack([_shift(block, offset + width) for offset in offsets])
    ends = np.tile(sizes, len(offsets))
    rows = np.arange(ends.size)
    sums = algorithm.before(whole.reshape(-1, columns))[rows, ends].reshape(len(offsets), few)
    rest = ends - np.repeat(np.array(offsets) + width, few)
    later = algorithm.before(behind.reshape(-1, columns))[rows, rest].reshape(len(offsets), few)
    for order in _orders(algorithm):
        words = pages.words(width, order)[:few, : len(offsets)].T
        for cover, values in (("whole", sums), ("behind", later)):
            for at in np.flatnonzero((words == values).mean(axis=1) >= SUPPORT):
                if np.unique(words[at]).size >= 3:
                    yield Trial(algorithm.name, order, int(at), 0, cover)


def _verify(pages: _Pages, trial: Trial) -> Found:
    """Hold a trial against every message."""
    places, actual = pages.actual(trial)
    expected = pages.expected(trial, places)
    can = places >= 0
    holds = can & (actual == expected)
    alarm = 1.0
    if can.any() and pages.summed(trial, actual):
        alarm = TRIED * _chance(actual[can], expected[can], trial.sum.width)
    kind = f"checksum.{trial.algorithm}"
    widths = fixed(len(places), trial.sum.width)
    return Found(kind, Sem.CHECKSUM, places, widths, holds, min(1.0, alarm), trial.terms())


def _chance(actual: Ints, expected: Ints, width: int) -> float:
    """Bound the chance of the agreement, by rows and by different values."""
    agreed = actual == expected
    by_rows = tail(int(agreed.sum()), agreed.size, coincidence(actual, expected))
    values = np.unique(actual).size
    right = np.unique(actual[agreed]).size
    return max(by_rows, tail(right, values, 256.0**-width))


def _blocks(pages: _Pages, header: Trial) -> list[Found]:
    """Look, behind a header with its sum, for blocks of one size that each end with theirs."""
    if header.cover != "before" or header.at < 0 or header.start != 0:
        return []
    width = header.sum.width
    best: list[Found] = []
    for size in BLOCKS:
        found = list(_cut(pages, header, size))
        good = [each for each in found if each.alarm <= MOST_ALARM]
        if found and found[0].alarm <= MOST_ALARM and len(good) > len(best):
            reach = pages.sizes > header.at + width
            if (found[0].holds | ~reach).mean() >= LEAST_SUPPORT:
                best = good
    return best


def _cut(pages: _Pages, header: Trial, size: int) -> Iterator[Found]:
    """Check block after block of this size, the last one shorter."""
    width, rows = header.sum.width, np.arange(len(pages.sizes))
    words = pages.words(width, header.order)
    start = header.at + width
    for number in range(MOST_BLOCKS):
        ends = np.minimum(start + size, pages.sizes - width)
        can = pages.whole & (ends > start)
        if not can.any():
            return
        sums = header.sum.before(pages.block[:, : int(ends.max(initial=0))], start)
        at = np.where(can, ends, 0)
        actual, expected = words[rows, at], sums[rows, at].astype(np.int64)
        holds = can & (actual == expected)
        alarm = TRIED * _chance(actual[can], expected[can], width)
        terms = {
            **header.terms(),
            "block": size,
            "number": number,
            "start": start,
            "cover": "block",
        }
        kind = f"checksum.{header.algorithm}"
        yield Found(kind, Sem.CHECKSUM, at, fixed(len(rows), width), holds, min(1.0, alarm), terms)
        start += size + width
