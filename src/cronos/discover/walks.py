"""Walk through messages as if they were records: tag, length, value, and what follows.

A walk that ends exactly where the message ends, after several records, is seldom chance.
"""

import itertools
from typing import Final

import numpy as np

from cronos.discover.evidence import Array, Corpus

# name: (bytes of tag, bytes of length, big endian, what the length counts besides the value)
SHAPES: Final = (
    (0, 1, True, 0),
    (0, 2, True, 0),
    (0, 2, False, 0),
    (0, 4, True, 0),
    (0, 4, False, 0),
    (1, 1, True, 0),
    (1, 1, True, 2),
    (1, 2, True, 0),
    (1, 2, False, 0),
    (1, 4, True, 4),
    (2, 1, True, 0),
    (2, 2, True, 0),
    (2, 2, False, 0),
    (2, 2, True, 4),
    (2, 2, False, 4),
)
MAX_RECORDS: Final = 250
MIN_NESTED: Final = 5
MIN_NESTED_BYTES: Final = 5


def numbers(corpus: Corpus, at: int, width: int, big: bool) -> Array:
    """Give the unsigned number of `width` bytes `at` bytes on; -1 where it does not fit."""
    data = corpus.data.astype(np.int64)
    order = range(width) if big else range(width - 1, -1, -1)
    out = np.zeros(len(data), dtype=np.int64)
    for k in order:
        out = out * 256 + corpus.near(data, at + k, 0)
    return np.where(corpus.left >= at + width, out, -1)


def steps(corpus: Corpus, shape: tuple[int, int, bool, int]) -> Array:
    """Give for each byte the size of the record that would begin there; 0 where none fits."""
    tag, width, big, counted = shape
    value = numbers(corpus, tag, width, big)
    size = tag + width + value - counted
    fits = (value >= 0) & (size >= tag + width) & (size <= corpus.left)
    return np.where(fits, size, 0)


def finishes(corpus: Corpus) -> Array:
    """Mark where records may stop: where only a terminator, zeros or a short trailer follow.

    Entries are flat positions; the end of a message itself is not among them.
    """
    zero = corpus.data == 0
    stop = ~zero
    index = np.arange(len(zero))
    after = np.minimum.accumulate(np.where(stop, index, len(zero))[::-1])[::-1]
    padding = zero & (after - index >= corpus.left)
    begins = padding & (~corpus.near(padding, -1, False) | (corpus.offset == 0))
    marker = (corpus.data == 0xFF) & (corpus.near(padding, 1, True) | (corpus.left == 1))
    return np.asarray(begins | marker)


def chains(corpus: Corpus, size: Array) -> Array:
    """Count the records from each byte to the exact end of its message; 0 where they miss it."""
    stops = finishes(corpus)
    total = len(size)
    target = np.arange(total) + size
    alive = np.flatnonzero(size > 0)
    ends = corpus.starts[corpus.of + 1] if total else target
    count = np.zeros(total, dtype=np.int64)
    # Longest first does not help: a record only points forward, so go by distance to the end.
    order = alive[np.argsort(corpus.left[alive], kind="stable")]
    left = corpus.left[order]
    for begin, stop in _levels(left):
        here = order[begin:stop]
        to = target[here]
        done = (to == ends[here]) | stops[np.minimum(to, total - 1)]
        after = np.where(done, 1, 0)
        inner = ~done
        after[inner] = np.where(count[to[inner]] > 0, count[to[inner]] + 1, 0)
        count[here] = np.minimum(after, MAX_RECORDS)
    return count


def _levels(left: Array) -> list[tuple[int, int]]:
    if len(left) == 0:
        return []
    cuts = np.flatnonzero(np.diff(left)) + 1
    edges = [0, *cuts.tolist(), len(left)]
    return list(itertools.pairwise(edges))


def marked(corpus: Corpus, shape: tuple[int, int, bool, int], least: int) -> tuple[Array, Array]:
    """Mark the best chain of each message: the role of each gap on it, and the chain's length.

    Roles: 1 a record begins, 2 between tag and length, 3 between length and value; 0 elsewhere.
    """
    size = steps(corpus, shape)
    count = chains(corpus, size)
    role = np.zeros(len(size), dtype=np.int64)
    length = np.zeros(len(size), dtype=np.int64)
    if not len(size):
        return role, length
    best = np.maximum.reduceat(count, corpus.starts[:-1][corpus.sizes > 0])
    whole = np.zeros(len(corpus.sizes), dtype=np.int64)
    whole[corpus.sizes > 0] = best
    # the earliest byte from which the best chain runs
    firsts = np.flatnonzero((count == whole[corpus.of]) & (count >= least))
    _, once = np.unique(corpus.of[firsts], return_index=True)
    at = firsts[once]
    tag, width = shape[0], shape[1]
    while len(at):
        role[at] = 1
        length[at] = whole[corpus.of[at]]
        for place, what in ((tag, 2), (tag + width, 3)):
            inside = at[(place > 0) & (place < size[at])] + place
            role[inside] = np.where(role[inside] == 0, what, role[inside])
            length[inside] = whole[corpus.of[inside]]
        following = at + size[at]
        at = following[(following < corpus.starts[corpus.of[at] + 1])]
        at, over = at[count[at] > 0], at[count[at] == 0]
        role[over] = 1
        length[over] = whole[corpus.of[over]]
    return role, length


def tagged(payload: bytes, begin: int, end: int, depth: int = 0) -> list[tuple[int, int]] | None:
    """Read bytes as nested BER records; give (boundary, role) of all, None where they are not.

    Roles: 1 a record begins, 2 its length, 3 length octets follow, 4 its value. X.690, 8.1.
    """
    out: list[tuple[int, int]] = []
    at = begin
    while at < end:
        head = _head(payload, at, end)
        if head is None:
            return None
        size_at, value_at, stop = head
        out.append((at, 1))
        out.append((size_at, 2))
        if value_at - size_at > 1:
            out.append((size_at + 1, 3))
        if stop > value_at:
            out.append((value_at, 4))
        if payload[at] & 0x20 and depth < 32 and stop > value_at:
            inner = tagged(payload, value_at, stop, depth + 1)
            if inner is None:
                return None
            out.extend(inner)
        at = stop
    return out


def _head(payload: bytes, at: int, end: int) -> tuple[int, int, int] | None:
    size_at = at + 1
    if payload[at] & 0x1F == 0x1F:
        while size_at < end and payload[size_at] & 0x80:
            size_at += 1
        size_at += 1
    if size_at >= end:
        return None
    size, value_at = payload[size_at], size_at + 1
    if size & 0x80:
        octets = size & 0x7F
        if not 1 <= octets <= 4 or value_at + octets > end:
            return None
        size = int.from_bytes(payload[value_at : value_at + octets], "big")
        value_at += octets
    if value_at + size > end:
        return None
    return size_at, value_at, value_at + size


def nested(corpus: Corpus) -> Array:
    """Mark the nested BER records of each message that end exactly with it; roles as in `tagged`.

    They may begin behind a header: at the first byte from which everything reads as such records.
    """
    size = _heads(corpus)
    whole = np.flatnonzero((size == corpus.left) & (corpus.data & 0x20 > 0))
    out = np.zeros(len(size), dtype=np.int64)
    done = np.zeros(len(corpus.sizes), dtype=bool)
    for at in whole.tolist():
        number = int(corpus.of[at])
        if done[number] or corpus.left[at] < MIN_NESTED_BYTES:
            continue
        payload = corpus.messages[number].payload
        found = tagged(payload, int(corpus.offset[at]), len(payload))
        if found is not None and len(found) >= MIN_NESTED:
            done[number] = True
            for place, what in found:
                out[corpus.starts[number] + place] = what
    return out


def _heads(corpus: Corpus) -> Array:
    """Give the size of the BER record that begins at each byte, where its length is definite."""
    one = numbers(corpus, 1, 1, True)
    size = np.where((one >= 0) & (one < 128), one + 2, 0)
    for octets in (1, 2, 3):
        value = numbers(corpus, 2, octets, True)
        size = np.where((one == 128 + octets) & (value >= 0), value + 2 + octets, size)
    return size
