"""Describe a gap by what a first scorer thinks of the gaps around it and of its like elsewhere.

A second scorer reads these beside the counted features: which byte order the protocol seems to
have, what the column says in other messages, how long the fields to both sides would be.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from cronos.discover.evidence import Array, Corpus, means
from cronos.discover.grids import grid

AROUND: Final = (-8, -6, -5, -4, -3, -2, -1, 0, 1, 2, 3, 4, 5, 6, 8)
CLOSE: Final = (-4, -3, -2, -1, 0, 1, 2, 3, 4)
FAR: Final = 32


def surround(corpus: Corpus, groups: Array, belief: Array) -> Iterator[tuple[str, Array]]:
    """Give the name and the values of each feature for the gap before each byte.

    `belief` has an entry for every byte and is 1 at the first of each message, where a field
    begins for certain.
    """
    belief = belief.astype(np.float32)
    every = np.zeros_like(groups)
    by_type = means(corpus.front(groups), belief).astype(np.float32)
    for name, values, window in (
        ("belief", belief, AROUND),
        ("belief_type", by_type, CLOSE),
        ("belief_all", means(corpus.front(every), belief), CLOSE),
        ("belief_back", means(corpus.back(groups), belief), (-1, 0, 1)),
    ):
        for by in window:
            yield f"{name}{by:+d}", corpus.near(values, by, 1.0)
    for width in (2, 4):
        for phase in range(width):
            yield f"belief_grid{width}_{phase}", grid(corpus, belief, width, phase)
    yield from _likes(corpus, groups, belief)
    yield from _distances(corpus, belief, by_type)
    yield from _widths(corpus, groups, belief, by_type)


def _likes(corpus: Corpus, groups: Array, belief: Array) -> Iterator[tuple[str, Array]]:
    """Give what is believed of gaps that are alike in one way, all over the corpus."""
    data = corpus.data.astype(np.int64)
    before = corpus.near(data, -1, 0)
    inner = np.where(corpus.offset > 0, belief, 0.0)
    zeros = (before == 0) * 2 + (data == 0)
    wide = zeros * 4 + (corpus.near(data, -2, 0) == 0) * 2 + (corpus.near(data, 1, 0) == 0)
    size = np.log2(np.maximum(corpus.sizes, 1)).astype(np.int64)[corpus.of]
    overall = float(inner.mean())
    yield "believed", np.full(len(data), overall)
    for value, name in ((0, "neither"), (1, "after"), (2, "before"), (3, "both")):
        yield f"zero_{name}", np.full(len(data), _mean(inner[zeros == value], overall))
    for name, alike in (
        ("like_zeros", wide),
        ("like_pair", before * 256 + data),
        ("like_left", corpus.near(data, -2, 0) * 256 + before),
        ("like_right", data * 256 + corpus.near(data, 1, 0)),
        ("like_even", corpus.offset % 2),
        ("like_four", corpus.offset % 4),
        ("like_four_type", groups[corpus.of] * 4 + corpus.offset % 4),
        ("like_size", size),
    ):
        yield name, means(alike, inner)


def _mean(values: Array, otherwise: float) -> float:
    return float(values.mean()) if len(values) else otherwise


def _distances(corpus: Corpus, belief: Array, by_type: Array) -> Iterator[tuple[str, Array]]:
    """Give how far the nearest likely boundaries lie, to the left and to the right."""
    index = np.arange(len(belief))
    for name, values, bar in (
        ("sure", belief, 0.6),
        ("likely", belief, 0.35),
        ("typical", by_type, 0.5),
    ):
        hit = (values > bar) | (corpus.offset == 0)
        last = np.maximum.accumulate(np.where(hit, index, 0))
        left = index - np.concatenate(([0], last[:-1]))
        ahead = np.minimum.accumulate(np.where(hit, index, len(hit))[::-1])[::-1]
        after = np.concatenate((ahead[1:], [len(hit)])) - index
        after = np.minimum(after, corpus.left)
        yield f"{name}_left", np.minimum(left, FAR)
        yield f"{name}_right", np.minimum(after, FAR)
        yield f"{name}_left_odd", left % 4
        yield f"{name}_right_odd", after % 4


def _widths(
    corpus: Corpus, groups: Array, belief: Array, by_type: Array
) -> Iterator[tuple[str, Array]]:
    """Give how wide the fields are that are likely so far: beside each gap, and all over."""
    begins = corpus.starts[corpus.of]
    ends = begins + corpus.sizes[corpus.of]
    for name, values, bar in (("likely", belief, 0.4), ("typical", by_type, 0.4)):
        hit = (values > bar) | (corpus.offset == 0)
        upto = np.cumsum(hit)
        # Two beyond either end, so that there always is a boundary before and behind.
        places = np.concatenate(([0, 0], np.flatnonzero(hit), [len(hit), len(hit)]))
        last = places[upto - hit + 1]
        before = np.where(last > begins, last - places[upto - hit], 0)
        yield f"{name}_width_before", np.minimum(before, FAR)
        first = places[upto + 2]
        after = np.where(first < ends, places[upto + 3] - first, 0)
        yield f"{name}_width_after", np.minimum(after, FAR)
        if name == "likely":
            yield from _shares(corpus, groups, np.minimum(first - places[upto + 1], FAR))


def _shares(corpus: Corpus, groups: Array, widths: Array) -> Iterator[tuple[str, Array]]:
    """Give the share of bytes in likely fields of 1, 2, 4, 8 bytes: in all, in a type, nearby."""
    types = groups[corpus.of]
    for width in (1, 2, 4, 8):
        flags = (widths == width).astype(np.float64)
        yield f"width{width}_all", np.full(len(flags), _mean(flags, 0.0))
        yield f"width{width}_type", means(types, flags)
        upto = np.concatenate(([0.0], np.cumsum(flags)))
        here = np.arange(len(flags))
        low = here - np.minimum(corpus.offset, FAR)
        high = here + np.minimum(corpus.left, FAR)
        yield f"width{width}_near", (upto[high] - upto[low]) / (high - low)
