"""Describe fields by what they have to do with others: what they lead to, recur in, and decide.

A length leads to where another field begins, a count to as many fields alike, an address recurs in
other columns, and the code of a message decides how the rest of it is built.
"""

from collections.abc import Iterator
from typing import Final

import numpy as np

from cronos.discover.evidence import Array, Corpus, entropies, means

Named = Iterator[tuple[str, Array]]
SPAN: Final = 65_521
"""Numbers are told apart modulo this prime."""
FAR: Final = 64
SHORT: Final = 4
"""Bytes of the widest number that is taken for a length or a code."""
MOST: Final = 1 << 24
UNTOLD: Final = 1e-3
"""Bits of a column that decides nothing, as there is nothing to decide."""


class Tiles:
    """Fields that tile the messages of a corpus, and the columns that they make."""

    def __init__(
        self, corpus: Corpus, groups: Array, starts: Array, values: dict[str, Array]
    ) -> None:
        """Take the numbers of the fields by the name of their byte order, `be` and `le`."""
        self.corpus = corpus
        self.starts = starts
        self.values = values
        self.sizes = np.diff(np.append(starts, len(corpus.data)))
        self.owner = corpus.of[starts]
        self.types = groups[self.owner]
        self.columns = corpus.front(groups)[starts] * 16 + np.minimum(self.sizes, 15)
        every = corpus.front(np.zeros_like(groups))[starts]
        self.places = every * 16 + np.minimum(self.sizes, 15)

    def at(self, values: Array, by: int, otherwise: int) -> Array:
        """Give the value of the field `by` fields on in the same message."""
        index = np.arange(len(values)) + by
        inside = (index >= 0) & (index < len(values))
        index = np.clip(index, 0, max(len(values) - 1, 0))
        return np.where(inside & (self.owner[index] == self.owner), values[index], otherwise)


def links(tiles: Tiles) -> Named:
    """Give the name and the values of each feature."""
    yield from _leads(tiles)
    yield from _counts(tiles)
    yield from _recurs(tiles)
    yield from _decides(tiles)
    yield from _codes(tiles)


def _leads(tiles: Tiles) -> Named:
    """Say how often a number leads to where a field begins, beyond what its neighbours do."""
    corpus, starts = tiles.corpus, tiles.starts
    border = np.zeros(len(corpus.data) + 2)
    border[starts] = 1.0
    border[len(corpus.data)] = 1.0
    ends = starts + tiles.sizes
    limit = corpus.starts[tiles.owner + 1]
    short = tiles.sizes <= SHORT
    for order, values in tiles.values.items():
        value = np.where(short, np.minimum(values, np.uint64(MOST)), 0).astype(np.int64)
        wanted = (value > 0) & ((order == "be") | (tiles.sizes > 1))
        for name, origin in (
            ("end", ends),
            ("own", starts),
            ("prior", tiles.at(starts, -1, -MOST)),
            ("second", tiles.at(starts, -2, -MOST)),
        ):
            target = origin + value
            fits = wanted & (target > ends) & (target <= limit) & (origin >= 0)
            target = np.where(fits, target, 1)
            beside = (border[target - 1] + border[target + 1]) / 2
            gain = np.where(fits, border[target] - beside, np.where(wanted, -0.25, 0.0))
            yield f"{order}_leads_{name}", means(tiles.columns, gain)


def _counts(tiles: Tiles) -> Named:
    """Say how often a number divides the bytes that follow, or counts the fields alike."""
    rest = tiles.corpus.left[tiles.starts] - tiles.sizes
    alike = _alike(tiles)
    for order, values in tiles.values.items():
        small = (tiles.sizes <= SHORT) & (values > 1) & (values < 256)
        number = np.where(small, values, 1).astype(np.int64)
        divides = small & (rest > 0) & (rest % number == 0)
        yield f"{order}_divides", means(tiles.columns, divides * 1.0)
        yield f"{order}_alike", means(tiles.columns, (small & (number == alike)) * 1.0)
    yield "alike", np.minimum(alike, FAR)


def _alike(tiles: Tiles) -> Array:
    """Count the fields of one size in a row that follow each field."""
    after = tiles.at(tiles.sizes, 1, 0)
    total = len(after)
    other = np.ones(total, dtype=bool)
    other[:-1] = (after[1:] != after[:-1]) | (tiles.owner[1:] != tiles.owner[:-1])
    index = np.arange(total)
    stop = np.minimum.accumulate(np.where(other, index, total)[::-1])[::-1]
    return np.where(after > 0, stop - index + 1, 0)


def _recurs(tiles: Tiles) -> Named:
    """Say in how many columns the number of a field stands, and whether twice in its message."""
    value = tiles.values["be"]
    telling = (value > np.uint64(255)) & (tiles.sizes > 1)
    code = np.unique(np.stack((value, tiles.sizes.astype(np.uint64))), axis=1, return_inverse=True)
    number = np.where(telling, code[1].reshape(-1), -1)
    places = np.unique(tiles.places, return_inverse=True)[1].reshape(-1)
    kinds = entropies(number, places, int(places.max(initial=0)) + 1)[2]
    spread = np.where(telling, np.log2(kinds), 0.0)
    yield "recurs", spread
    yield "recurs_all", means(tiles.columns, spread)
    seen = entropies(number, tiles.owner, int(tiles.owner.max(initial=0)) + 1)
    twice = np.where(telling & (seen[1] > seen[2]), 1.0, 0.0)
    yield "twice_all", means(tiles.columns, twice)
    yield "messages_all", means(tiles.columns, np.where(telling, np.log2(seen[2]), 0.0))


def _decides(tiles: Tiles) -> Named:
    """Say how far a column decides the type and size of its messages, and what comes next."""
    value = (tiles.values["be"] % np.uint64(SPAN)).astype(np.int64)
    places = np.unique(tiles.places, return_inverse=True)[1].reshape(-1)
    cells = np.unique(places * np.int64(SPAN) + value, return_inverse=True)[1].reshape(-1)
    size = tiles.corpus.sizes[tiles.owner]
    for name, what in (
        ("type", tiles.types),
        ("size", np.minimum(size, 4_095)),
        ("next", np.minimum(tiles.at(tiles.sizes, 1, 0), FAR)),
        ("after", np.minimum(tiles.at(tiles.sizes, 2, 0), FAR)),
    ):
        span = int(what.max(initial=0)) + 1
        before = entropies(places, what, span)[0]
        left = means(places, np.minimum(entropies(cells, what, span)[0], before))
        yield f"decides_{name}", np.where(before > UNTOLD, 1 - left / np.maximum(before, 1e-6), -1)


def _codes(tiles: Tiles) -> Named:
    """Say how many numbers a place has in all types, how dense they lie, and how many bits set."""
    bits, seen, kinds, mode = entropies(
        tiles.places, (tiles.values["be"] % np.uint64(SPAN)).astype(np.int64), SPAN
    )
    yield "place_bits", bits
    yield "place_kinds", np.log2(kinds)
    yield "place_share", kinds / seen
    yield "place_mode", mode
    inverse = np.unique(tiles.columns, return_inverse=True)[1].reshape(-1)
    count = int(inverse.max(initial=-1)) + 1
    own = entropies(inverse, (tiles.values["be"] % np.uint64(SPAN)).astype(np.int64), SPAN)[2]
    yield "column_kinds", np.log2(own)
    for order, values in tiles.values.items():
        number = np.where(tiles.sizes <= SHORT, values, 0).astype(np.int64)
        most = np.zeros(count, dtype=np.int64)
        np.maximum.at(most, inverse, number)
        yield f"{order}_dense", np.log2(own) - np.log2(most[inverse] + 1.0)
        single = (number & (number - 1)) == 0
        yield f"{order}_single", means(inverse, np.where(number > 2, single * 1.0, 0.5))
    data = np.zeros(count, dtype=np.uint64)
    np.bitwise_or.at(data, inverse, tiles.values["be"])
    ever = np.unpackbits(data.view(np.uint8).reshape(-1, 8), axis=1).sum(axis=1)
    yield "bits_ever", ever[inverse].astype(np.float64)
    yield "bits_free", 8.0 * np.minimum(tiles.sizes, 8) - ever[inverse]
