"""Describe fields so that a learned scorer can say what they mean."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from cronos.discover.evidence import Array, Corpus, entropies
from cronos.discover.model import Sem

CLASSES: Final = tuple(Sem)
FAR: Final = 64
YEAR_S: Final = 366 * 86_400.0
# Seconds from other epochs to 1970: NTP (1900), file times (1601, 100 ns).
NTP_S: Final = 2_208_988_800
FILETIME_S: Final = 11_644_473_600


def fields(corpus: Corpus, groups: Array, starts: Array) -> Iterator[tuple[str, Array]]:
    """Give the name and the values of each feature of the fields that begin at `starts`.

    Fields tile the messages, so each ends where the next one begins.
    """
    sizes = np.diff(np.concatenate((starts, [len(corpus.data)])))
    owner = corpus.of[starts]
    yield "length", np.minimum(sizes, FAR)
    for by in (-2, -1, 1, 2):
        yield f"length{by:+d}", _beside(np.minimum(sizes, FAR), owner, by)
    first = np.flatnonzero(np.concatenate(([True], owner[1:] != owner[:-1])))
    ordinal = np.arange(len(starts)) - np.repeat(first, np.diff(np.append(first, len(starts))))
    yield "ordinal", np.minimum(ordinal, FAR)
    yield "last", corpus.left[starts] == sizes
    yield "place", np.minimum(corpus.offset[starts], FAR)
    yield from _content(corpus, starts, sizes)
    yield from _numbers(corpus, groups, starts, sizes)


def _beside(values: Array, owner: Array, by: int) -> Array:
    """Give the value of the field `by` fields on in the same message, else 0."""
    index = np.arange(len(values)) + by
    inside = (index >= 0) & (index < len(values))
    index = np.clip(index, 0, max(len(values) - 1, 0))
    return np.where(inside & (owner[index] == owner), values[index], 0)


def _content(corpus: Corpus, starts: Array, sizes: Array) -> Iterator[tuple[str, Array]]:
    data = corpus.data
    digit = (data >= 48) & (data <= 57)
    letter = ((data | 0x20) >= 97) & ((data | 0x20) <= 122)
    for name, flags in (
        ("texts", (data >= 32) & (data < 127)),
        ("digits", digit),
        ("letters", letter),
        ("zeros", data == 0),
        ("dots", (data == 46) | (data == 58) | (data == 45)),
        ("breaks", (data == 10) | (data == 13)),
    ):
        share = np.add.reduceat(flags.astype(np.int64), starts) / sizes
        yield f"own_{name}", share
        yield f"next_{name}", _beside(share, corpus.of[starts], 1)


def _number(corpus: Corpus, starts: Array, sizes: Array, big: bool) -> Array:
    """Give the first eight bytes of each field as an unsigned number."""
    value = np.zeros(len(starts), dtype=np.uint64)
    width = np.minimum(sizes, 8)
    for k in range(8):
        at = starts + (k if big else width - 1 - k)
        byte = corpus.data[np.clip(at, 0, len(corpus.data) - 1)].astype(np.uint64)
        value = np.where(k < width, value * np.uint64(256) + byte, value)
    return value


def _numbers(
    corpus: Corpus, groups: Array, starts: Array, sizes: Array
) -> Iterator[tuple[str, Array]]:
    owner = corpus.of[starts]
    rest = corpus.left[starts] - sizes
    following = _beside(sizes, owner, 1)
    columns = corpus.front(groups)[starts] * 16 + np.minimum(sizes, 15)
    for name, big in (("be", True), ("le", False)):
        value = _number(corpus, starts, sizes, big)
        small = np.minimum(value, np.uint64(1 << 40)).astype(np.int64)
        short = sizes <= 4
        yield f"{name}_value", np.where(short, np.log2(1.0 + small), -1)
        yield f"{name}_next", np.where(short, np.clip(following - small, -9, 9), 99)
        yield f"{name}_rest", np.where(short, np.clip(rest - small, -99, 99), 199)
        yield f"{name}_time", _times(corpus, value, sizes, owner)
        yield f"{name}_float", _floats(value, sizes)
        bits, seen, kinds, mode = entropies(
            columns, (value % np.uint64(65_521)).astype(np.int64), 65_521
        )
        if big:
            yield "field_bits", bits
            yield "field_kinds", kinds / seen
            yield "field_seen", seen
            yield "field_mode", mode


def _times(corpus: Corpus, value: Array, sizes: Array, owner: Array) -> Array:
    """Give how near a number is to the time of capture, in any of the usual forms; 9 if far."""
    stamp = np.array([m.ts for m in corpus.messages])[owner]
    number = value.astype(np.float64)
    out = np.full(len(value), 9.0)
    for width, scale, epoch in (
        (4, 1.0, 0.0),
        (4, 1.0, NTP_S),
        (8, 1e3, 0.0),
        (8, 1e6, 0.0),
        (8, 1e9, 0.0),
        (8, 1e7, FILETIME_S),
        (8, 2.0**32, NTP_S),
        (6, 1e3, 0.0),
        (8, 1.0, 0.0),
    ):
        apart = np.abs(number / scale - epoch - stamp)
        near = np.log10(1.0 + apart / 86_400)
        out = np.where((sizes == width) & (stamp > 0), np.minimum(out, near), out)
    return out


def _floats(value: Array, sizes: Array) -> Array:
    """Give the decimal exponent of a field read as a float, 99 where it is none of use."""
    out = np.full(len(value), 99.0)
    four = sizes == 4
    eight = sizes == 8
    with np.errstate(all="ignore"):
        single = value[four].astype(np.uint32).view(np.float32).astype(np.float64)
        double = value[eight].view(np.float64)
        for where, number in ((four, single), (eight, double)):
            fine = np.isfinite(number) & (number != 0)
            out[where] = np.where(fine, np.clip(np.log10(np.abs(number)), -40, 40), 99.0)
    return out
