"""Describe gaps by the company they keep: grids of bytes, flows, questions and answers."""

from collections.abc import Iterator
from typing import Final

import numpy as np

from cronos.discover.evidence import Array, Corpus, changes, entropies, means, previous

Wide = Iterator[tuple[str, Array, tuple[int, ...], float]]
HERE: Final = (0,)
NARROW: Final = (-2, -1, 0, 1)
NEAR: Final = (-3, -2, -1, 0, 1, 2)
STEPS: Final = (-6, -5, -4, -3, -2, -1, 1, 2, 3, 4, 5, 6)
REACH: Final = 16


def sources(corpus: Corpus, groups: Array) -> tuple[Wide, ...]:
    """Give the sources of features, each as a name, values, a window and what stands outside."""
    return (_grids(corpus, groups), _flows(corpus, groups), _around(corpus, groups))


def grid(corpus: Corpus, values: Array, width: int, phase: int) -> Array:
    """Give the mean of the values `width` bytes apart, from `phase` bytes on, to both sides."""
    total = np.zeros(len(values))
    count = np.zeros(len(values))
    for step in STEPS:
        by = step * width + phase
        total += corpus.near(values, by, 0.0)
        count += corpus.near(np.ones(len(values)), by, 0.0)
    return np.where(count > 0, total / np.maximum(count, 1), -1.0)


def _grids(corpus: Corpus, groups: Array) -> Wide:
    front = corpus.front(groups)
    data = corpus.data.astype(np.int64)
    bits, _, _, _ = entropies(front, data, 256)
    zero = (corpus.data == 0).astype(np.float64)
    for name, values in (("zero", zero), ("bits", np.minimum(bits, 4.0))):
        for width in (2, 4):
            for phase in range(width):
                yield f"grid{width}_{name}{phase}", grid(corpus, values, width, phase), HERE, -1


def _flows(corpus: Corpus, groups: Array) -> Wide:
    """Tell what stays in a flow, and what an answer repeats of its question at the same place."""
    front = corpus.front(groups)
    flows = {name: i for i, name in enumerate(dict.fromkeys(m.flow for m in corpus.messages))}
    number = np.array([flows[m.flow] for m in corpus.messages], dtype=np.int64)
    _, cell = np.unique(number[corpus.of] * np.int64(1 << 40) + front, return_inverse=True)
    bits, _, _, _ = entropies(cell, corpus.data.astype(np.int64), 256)
    yield "flow_bits", means(front, bits), NEAR, -1
    step = changes(corpus, _asked(corpus))
    said = step >= 0
    share = means(front, said)
    echoed = means(front, step == 0) / np.maximum(share, 1e-6)
    yield "echoed", np.where(share > 0, echoed, -1.0), NEAR, -1
    move = changes(corpus, previous(corpus))
    small = ((move > 0) & (move <= 8)) | (move >= 248)
    moved = np.maximum(means(front, move > 0), 1e-6)
    yield "small_moves", means(front, small) / moved, NARROW, -1


def _asked(corpus: Corpus) -> Array:
    """Give for each message the last one of its flow in the other direction, -1 where none is."""
    last: dict[tuple[str, str], int] = {}
    out = np.full(len(corpus.messages), -1)
    for i, message in enumerate(corpus.messages):
        other = {"c2s": "s2c", "s2c": "c2s"}.get(message.direction, "")
        out[i] = last.get((message.flow, other), -1)
        last[message.flow, message.direction] = i
    return out


def _around(corpus: Corpus, groups: Array) -> Wide:
    """Tell what the neighbourhood is made of, and how high numbers reach."""
    data = corpus.data
    text = ((data >= 32) & (data < 127)).astype(np.float64)
    front = corpus.front(groups)
    bits, _, _, _ = entropies(front, data.astype(np.int64), 256)
    for name, values in (
        ("zeros", (data == 0).astype(np.float64)),
        ("texts", text),
        ("bits", np.minimum(bits, 6.0)),
    ):
        before, after = _sides(corpus, values)
        yield f"near_{name}_before", before, HERE, -1
        yield f"near_{name}_after", after, HERE, -1
    _, inverse = np.unique(front, return_inverse=True)
    highest = np.zeros(int(inverse.max(initial=-1)) + 1)
    np.maximum.at(highest, inverse, data)
    yield "highest", highest[inverse], NEAR, -1
    yield "high_half", means(front, data >= 128), NARROW, -1


def _sides(corpus: Corpus, values: Array) -> tuple[Array, Array]:
    """Give the mean of up to `REACH` bytes before each byte, and from it on."""
    upto = np.concatenate(([0.0], np.cumsum(values)))
    here = np.arange(len(values))
    back = np.minimum(corpus.offset, REACH)
    ahead = np.minimum(corpus.left, REACH)
    before = np.where(back > 0, (upto[here] - upto[here - back]) / np.maximum(back, 1), -1.0)
    return before, (upto[here + ahead] - upto[here]) / ahead
