"""Describe every gap between two bytes by numbers that a learned scorer understands.

A gap is named by the byte that follows it. All features are counted, none is learned: the same
messages give the same numbers.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from cronos.discover.byteorder import Order
from cronos.discover.evidence import (
    Array,
    Corpus,
    branching,
    changes,
    dependence,
    entropies,
    means,
    previous,
    runs,
)
from cronos.discover.grids import HERE, Wide, sources
from cronos.discover.model import Claim
from cronos.discover.regions import regions
from cronos.discover.vouched import marks
from cronos.discover.walks import SHAPES, marked, nested, numbers

WINDOW: Final = (-4, -3, -2, -1, 0, 1, 2, 3)
NARROW: Final = (-2, -1, 0, 1)
MIN_RECORDS: Final = 3

Named = Iterator[tuple[str, Array]]


def describe(corpus: Corpus, groups: Array, claims: Sequence[Claim], order: Order) -> Named:
    """Give the name of each feature and its values for the gap before each byte.

    `order` says which end of a number seems to come first.
    """
    every = np.zeros(len(corpus.messages), dtype=np.int64)
    for source in (
        _content(corpus),
        _columns(corpus, every, "all"),
        _columns(corpus, groups, "type"),
        _flow(corpus, groups),
        _pairs(corpus, groups),
        _contexts(corpus),
        _records(corpus),
        _lengths(corpus, groups),
        _shape(corpus),
        _claimed(corpus, claims, order),
        *sources(corpus, groups),
        *regions(corpus, groups, claims),
    ):
        for name, values, window, fill in source:
            for by in window:
                moved = corpus.near(values, by, fill) if by else values
                yield (f"{name}{by:+d}" if len(window) > 1 else name, moved)


def _printable(data: Array) -> Array:
    return np.asarray(((data >= 32) & (data < 127)) | (data == 9) | (data == 10) | (data == 13))


def _content(corpus: Corpus) -> Wide:
    data = corpus.data
    yield "byte", data.astype(np.int16), (-2, -1, 0, 1), -1
    text = _printable(data)
    yield "class", _classes(data), (-3, -2, -1, 0, 1, 2), -1
    wide = (corpus.near(data == 0, 1, False) & text) | (corpus.near(text, -1, False) & (data == 0))
    for name, flags in (
        ("text", text),
        ("zero", data == 0),
        ("alnum", _alnum(data)),
        ("wide", wide),
        ("steady", _steady(corpus)),
    ):
        ending, beginning = runs(corpus, flags)
        yield f"{name}_before", corpus.near(ending, -1, 0), HERE, 0
        yield f"{name}_after", beginning, HERE, 0
        yield f"{name}_after_next", corpus.near(beginning, 1, 0), HERE, 0
        yield f"{name}_before_last", corpus.near(ending, -2, 0), HERE, 0
    bits = data[:, None] ^ corpus.near(data.astype(np.int64), -1, 0).astype(np.uint8)[:, None]
    agree = 8 - np.unpackbits(bits, axis=1).sum(axis=1).astype(np.int16)
    yield "congruence", agree, (-1, 0, 1), -1


def _steady(corpus: Corpus) -> Array:
    """Tell which bytes go on as the two before them did: by the same step, or by none."""
    data = corpus.data.astype(np.int64)
    last, before = corpus.near(data, -1, -1), corpus.near(data, -2, -1)
    return np.asarray((before >= 0) & ((data - 2 * last + before) % 256 == 0))


def _classes(data: Array) -> Array:
    """Sort bytes into what a text's reader tells apart."""
    table = np.full(256, 1)
    table[0], table[255] = 0, 2
    table[1:32] = 3
    table[32:127] = 8
    table[[9, 10, 13, 32]] = (4, 5, 6, 7)
    table[[ord(c) for c in ":=;,&|/?"]] = 9
    table[[ord(c) for c in "\"'<>()[]{}"]] = 10
    table[48:58] = 11
    table[65:91] = 12
    table[97:123] = 13
    return table[data]


def _numeric(corpus: Corpus, columns: Array, name: str) -> Wide:
    """Tell how often a column looks like the high or the low end of a small number."""
    zero = corpus.data == 0
    for width in (2, 4):
        up = np.ones(len(zero), dtype=bool)
        down = np.ones(len(zero), dtype=bool)
        for k in range(width - 1):
            up &= corpus.near(zero, k, False)
            down &= corpus.near(zero, k + 1, False)
        up &= ~corpus.near(zero, width - 1, True)
        down &= ~zero
        yield f"{name}_up{width}", means(columns, up), (-4, -3, -2, -1, 0, 1), -1
        yield f"{name}_down{width}", means(columns, down), (-4, -3, -2, -1, 0, 1), -1


def _alnum(data: Array) -> Array:
    lower = data | 0x20
    return ((lower >= 97) & (lower <= 122)) | ((data >= 48) & (data <= 57))


def _columns(corpus: Corpus, groups: Array, name: str) -> Wide:
    front, back = corpus.front(groups), corpus.back(groups)
    data = corpus.data.astype(np.int64)
    bits, size, kinds, largest = entropies(front, data, 256)
    whole = np.bincount(groups)[groups[corpus.of]]
    yield f"{name}_bits", bits, WINDOW, -1
    yield f"{name}_mode", largest, WINDOW, -1
    for what, flags in (("still", largest > 0.995), ("empty", means(front, data == 0) > 0.99)):
        ending, beginning = runs(corpus, flags)
        yield f"{name}_{what}_before", corpus.near(ending, -1, 0), HERE, 0
        yield f"{name}_{what}_after", beginning, HERE, 0
    yield from _numeric(corpus, front, name)
    yield f"{name}_kinds", kinds / size, NARROW, -1
    yield f"{name}_present", size / whole, NARROW, -1
    yield f"{name}_zero", means(front, data == 0), WINDOW, -1
    yield f"{name}_text", means(front, _printable(corpus.data)), NARROW, -1
    _, beginning = runs(corpus, _printable(corpus.data))
    yield f"{name}_text_run", means(front, np.minimum(beginning, 16)), (-1, 0), -1
    bits, _, _, largest = entropies(back, data, 256)
    yield f"{name}_back_bits", bits, NARROW, -1
    yield f"{name}_back_mode", largest, NARROW, -1


def _flow(corpus: Corpus, groups: Array) -> Wide:
    step = changes(corpus, previous(corpus))
    front = corpus.front(groups)
    yield "changed", means(front, step > 0), WINDOW, -1
    yield "counted", means(front, (step > 0) & (step <= 3)), NARROW, -1
    left = (step > 0) & (corpus.near(step, -1, 0) > 0)
    base = np.maximum(means(front, step > 0), 1e-6)
    yield "together", np.minimum(means(front, left) / base, 2), (-1, 0, 1), -1


def _pairs(corpus: Corpus, groups: Array) -> Wide:
    front = corpus.front(groups)
    near = dependence(corpus, front, 1)
    yield "depends", near, (-3, -2, -1, 0, 1), -1
    yield "depends_two", dependence(corpus, front, 2), (-2, -1), -1
    data = corpus.data.astype(np.int64)
    pair = data * 256 + corpus.near(data, 1, 0)
    seen = np.unique(pair, return_inverse=True, return_counts=True)
    yield "pair_seen", np.log2(seen[2][seen[1]]), (-2, -1, 0), -1


def _contexts(corpus: Corpus) -> Wide:
    for order in (1, 2, 3):
        for forward in (True, False):
            bits, seen = branching(corpus, order, forward)
            where = (-1, 0, 1) if forward else (-2, -1, 0)
            name = f"branch{order}{'f' if forward else 'b'}"
            yield name, bits, where, -1
            yield f"{name}_seen", np.log2(1 + seen), (where[1],), -1


def _records(corpus: Corpus) -> Wide:
    """Speak of records of every shape that end exactly with the message."""
    strength = np.zeros(len(corpus.data), dtype=np.int64)
    role = np.zeros(len(corpus.data), dtype=np.int64)
    kind = np.full(len(corpus.data), -1)
    for index, shape in enumerate(SHAPES):
        what, length = marked(corpus, shape, MIN_RECORDS)
        better = length > strength
        strength = np.where(better, length, strength)
        role = np.where(better, what, role)
        kind = np.where(better, index, kind)
    yield "record_role", role, (-1, 0, 1), 0
    yield "record_count", strength, HERE, 0
    yield "record_kind", kind, HERE, -1
    ber = nested(corpus)
    yield "nested_role", ber, (-1, 0, 1), 0
    upto = np.concatenate(([0], np.cumsum(ber > 0)))  # a message may be empty
    inside = np.diff(upto[corpus.starts]) > 0
    yield "nested_here", inside[corpus.of], HERE, 0


def _lengths(corpus: Corpus, groups: Array) -> Wide:
    """Speak of numbers that give the rest of the message, up to a constant."""
    front = corpus.front(groups)
    total = len(corpus.data)
    lands = np.zeros(total + 1, dtype=np.int64)
    for width, big in ((1, True), (2, True), (2, False), (4, True), (4, False)):
        value = numbers(corpus, 0, width, big)
        rest = corpus.left - width - value
        usable = (value >= 0) & (np.abs(rest) < 2000)
        key = np.where(usable, rest + 2048, 0)
        _, _, _, share = entropies(front, key, 8192)
        _, _, spread, _ = entropies(front, np.where(value >= 0, value, 0) % 65536, 65536)
        holds = np.where((spread > 1) & (share >= 0.6) & (value >= 0), share, 0)
        yield f"rest{width}{'b' if big else 'l'}", holds, (-width, -1, 0), 0
        if width < 4 or big:
            fits = (value >= 2) & (value <= corpus.left - width)
            ends = np.flatnonzero(fits)
            np.add.at(lands, ends + width + value[ends], 1)
            yield (
                f"inner{width}{'b' if big else 'l'}",
                np.where(fits, np.minimum(value, 255), -1),
                (
                    -width,
                    0,
                ),
                -1,
            )
    yield "lands", lands[:-1], HERE, 0


def _claimed(corpus: Corpus, claims: Sequence[Claim], order: Order) -> Wide:
    for family, mark in marks(corpus, claims).items():
        yield f"claimed_{family}", mark, (-1, 0, 1), 0
    for name, value in (
        ("byte_order", order.used),
        ("claimed_order", order.claimed),
        ("seen_order", order.seen),
        ("likely_order", order.likely),
    ):
        yield name, np.full(len(corpus.data), value), HERE, 0


def _shape(corpus: Corpus) -> Wide:
    yield "left", np.minimum(corpus.left, 16), HERE, 0
    yield "offset", np.minimum(corpus.offset, 16), HERE, 0
    yield "offset_of_four", corpus.offset % 4, HERE, 0
    yield "left_of_four", corpus.left % 4, HERE, 0
