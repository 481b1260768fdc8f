"""Evidence about bytes: what can be counted about every position, in columns and without labels.

All messages lie behind one another in one buffer; every array here has one entry per byte of it.
"""

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from cronos.discover.messages import Message

Array = NDArray[Any]

# Columns further than this from an end are not told apart: a hostile message of 64 KB may not cost
# memory by its length.
MAX_COLUMNS: Final = 1024


class Corpus:
    """Messages in one buffer, with the message, offset and remaining length of every byte."""

    def __init__(self, messages: Sequence[Message]) -> None:
        self.messages = tuple(messages)
        self.sizes = np.array([len(m.payload) for m in self.messages], dtype=np.int64)
        self.data = np.frombuffer(b"".join(m.payload for m in self.messages), np.uint8)
        self.starts = np.concatenate(([0], np.cumsum(self.sizes))).astype(np.int64)
        self.of = np.repeat(np.arange(len(self.sizes)), self.sizes)
        self.offset = np.arange(len(self.data)) - self.starts[self.of]
        self.left = self.sizes[self.of] - self.offset  # counts this byte, so at least 1

    def gaps(self) -> Array:
        """Give the flat positions before which a boundary may be: every byte but the first ones."""
        return np.flatnonzero(self.offset > 0)

    def front(self, groups: Array) -> Array:
        """Number the columns counted from the front, one set of columns for each group."""
        return np.asarray(groups[self.of] * MAX_COLUMNS + np.minimum(self.offset, MAX_COLUMNS - 1))

    def back(self, groups: Array) -> Array:
        """Number the columns counted from the back."""
        return np.asarray(
            groups[self.of] * MAX_COLUMNS + np.minimum(self.left - 1, MAX_COLUMNS - 1)
        )

    def near(self, values: Array, by: int, fill: float) -> Array:
        """Give the value `by` bytes on in the same message, and `fill` where that is outside."""
        out = np.full(len(values), fill, dtype=values.dtype)
        if 0 <= by < len(values):
            out[: len(values) - by] = values[by:]
            return np.where(self.left > by, out, np.array(fill, dtype=values.dtype))
        if -len(values) < by < 0:
            out[-by:] = values[:by]
            return np.where(self.offset >= -by, out, np.array(fill, dtype=values.dtype))
        return out


def entropies(columns: Array, values: Array, span: int) -> tuple[Array, Array, Array, Array]:
    """Give for each entry its column's entropy (bits), size, distinct values and largest share.

    `values` lie in [0, span). Entropy is corrected for small columns (Miller and Madow).
    """
    names, inverse = np.unique(columns, return_inverse=True)
    keys, counts = np.unique(inverse * np.int64(span) + values, return_counts=True)
    home = keys // span
    size = np.bincount(home, weights=counts, minlength=len(names))
    share = counts / size[home]
    bits = np.bincount(home, weights=-share * np.log2(share), minlength=len(names))
    kinds = np.bincount(home, minlength=len(names))
    bits = bits + (kinds - 1) / (2 * size * np.log(2))
    largest = np.zeros(len(names))
    np.maximum.at(largest, home, share)
    return bits[inverse], size[inverse], kinds[inverse], largest[inverse]


def means(columns: Array, flags: Array) -> Array:
    """Give for each entry the mean of `flags` in its column."""
    _, inverse = np.unique(columns, return_inverse=True)
    total = np.bincount(inverse, weights=flags)
    return (total / np.bincount(inverse))[inverse]


def runs(corpus: Corpus, flags: Array) -> tuple[Array, Array]:
    """Give for each byte how many flagged bytes in a row end with it, and begin with it."""
    index = np.arange(len(flags))
    stop = ~flags
    before = np.maximum.accumulate(np.where(stop, index, -1))
    ending = np.minimum(index - before, corpus.offset + 1) * flags
    after = np.minimum.accumulate(np.where(stop, index, len(flags))[::-1])[::-1]
    beginning = np.minimum(after - index, corpus.left) * flags
    return ending, beginning


def branching(corpus: Corpus, order: int, forward: bool) -> tuple[Array, Array]:
    """Give the entropy of the byte that follows (or precedes) each context of `order` bytes.

    The entry at i speaks of byte i given the `order` bytes before it (or after it, backward); the
    second array says how often that context was seen. It needs no alignment of messages.
    """
    step = -1 if forward else 1
    context = np.zeros(len(corpus.data), dtype=np.int64)
    valid = (corpus.offset if forward else corpus.left - 1) >= order
    for k in range(1, order + 1):
        context = context * 256 + corpus.near(corpus.data.astype(np.int64), step * k, 0)
    bits, seen, _, _ = entropies(np.where(valid, context, -1), corpus.data.astype(np.int64), 256)
    return np.where(valid, bits, -1.0), np.where(valid, seen, 0)


def dependence(corpus: Corpus, columns: Array, by: int) -> Array:
    """Give the normalised mutual information of each column with the one `by` bytes on.

    The entry at i speaks of bytes i and i + by; -1 where there is no such byte.
    """
    data = corpus.data.astype(np.int64)
    other = corpus.near(data, by, -1)
    valid = other >= 0
    out = np.full(len(data), -1.0)
    if not valid.any():
        return out
    cols, here, there = columns[valid], data[valid], other[valid]
    one, _, _, _ = entropies(cols, here, 256)
    two, _, _, _ = entropies(cols, there, 256)
    both, _, _, _ = entropies(cols, here * 256 + there, 65536)
    least = np.minimum(one, two)
    shared = np.where(least > 1e-6, (one + two - both) / np.maximum(least, 1e-6), -0.5)
    out[valid] = np.clip(shared, -0.5, 1.0)
    return out


def previous(corpus: Corpus) -> Array:
    """Give for each message the one before it in its flow and direction, -1 for the first."""
    last: dict[tuple[str, str], int] = {}
    out = np.full(len(corpus.messages), -1)
    for i, message in enumerate(corpus.messages):
        key = (message.flow, message.direction)
        out[i] = last.get(key, -1)
        last[key] = i
    return out


def changes(corpus: Corpus, before: Array) -> Array:
    """Give for each byte its difference (mod 256) to the same offset of an earlier message.

    -1 where there is no earlier message, or it is shorter.
    """
    prior = before[corpus.of]
    valid = (prior >= 0) & (corpus.offset < corpus.sizes[prior])
    at = np.where(valid, corpus.starts[np.maximum(prior, 0)] + corpus.offset, 0)
    step = (corpus.data.astype(np.int64) - corpus.data[at]) % 256
    return np.where(valid, step, -1)
