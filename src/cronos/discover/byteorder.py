"""Collect what speaks for numbers with the high byte first, and what for the low byte first.

Zeros stand where the high byte of small numbers is; the low byte changes more often and more
freely; and a message begins or ends with a number more often than within one.
"""

from typing import Final, NamedTuple

import numpy as np

from cronos.discover.evidence import Array, Corpus, changes, entropies, means, previous
from cronos.discover.scorer import Trees, sigmoid

SURE: Final = 0.7

NAMES: Final = (
    *("first_zero", "second_zero", "last_zero", "before_last_zero", "even", "four_high"),
    *("four_low", "back_even", "back_four_high", "back_four_low", "inner_bits", "inner_zero"),
    *("step", "changing", "pair", "claimed", "lone_front", "lone_back", "run_bits", "tail_bits"),
)


def signs(corpus: Corpus, claimed: int) -> Array:
    """Give the evidence in the order of `NAMES`; `claimed` is what detectors say of the order."""
    zero = corpus.data == 0
    every = np.zeros(len(corpus.sizes), dtype=np.int64)
    front = corpus.front(every)
    binary = ~_texty(corpus)
    first = [_share(zero[(corpus.offset == k) & (corpus.left > 2)]) for k in (0, 1)]
    last = [_share(zero[(corpus.left == k) & binary]) for k in (1, 2)]
    bits, _, _, _ = entropies(front, corpus.data.astype(np.int64), 256)
    moved = means(front, changes(corpus, previous(corpus)) > 0)
    return np.array(
        [
            *first,
            *last,
            *_phases(zero[binary], corpus.offset[binary]),
            *_phases(zero[binary], corpus.left[binary] - 1),
            *_between(corpus, zero, bits, binary),
            _leaning(corpus, bits, binary),
            _leaning(corpus, moved, binary),
            _pairs(corpus, zero, binary),
            claimed,
            *_lone(corpus, zero, binary),
            *_runs(corpus, zero, bits, binary),
        ]
    )


def _texty(corpus: Corpus) -> Array:
    data = corpus.data
    text = (data >= 32) & (data < 127)
    return text & corpus.near(text, -1, False) & corpus.near(text, 1, False)


def _share(flags: Array) -> float:
    return float(flags.mean()) if len(flags) else 0.0


def _phases(zero: Array, place: Array) -> list[float]:
    """Give how much more zeros there are at even places, and at the ends of four."""
    odd, even = _share(zero[place % 2 == 1]), _share(zero[place % 2 == 0])
    whole = _share(zero)
    return [even - odd, _share(zero[place % 4 == 0]) - whole, _share(zero[place % 4 == 3]) - whole]


def _between(corpus: Corpus, zero: Array, bits: Array, binary: Array) -> list[float]:
    """Compare the two bytes of a pair that stands between zeros."""
    pair = ~zero & corpus.near(~zero, 1, False) & binary
    pair &= corpus.near(zero, -1, True) & corpus.near(zero, 2, True)
    apart = corpus.near(bits, 1, 0.0) - bits
    before = pair & corpus.near(zero, -1, False)
    after = pair & corpus.near(zero, 2, False)
    return [
        float(np.tanh(apart[pair]).mean()) if pair.any() else 0.0,
        (float(before.sum()) - float(after.sum())) / max(1.0, float(pair.sum())),
    ]


def _leaning(corpus: Corpus, amount: Array, binary: Array) -> float:
    """Say whether neighbours that both vary do so more to the right (BE) or to the left (LE)."""
    following = corpus.near(amount, 1, -1.0)
    both = binary & (following > 0.02) & (amount > 0.02)
    ratio = np.log((following[both] + 0.01) / (amount[both] + 0.01))
    strong = np.abs(ratio) > 0.7
    return float(np.sign(ratio[strong]).mean()) if strong.any() else 0.0


def _pairs(corpus: Corpus, zero: Array, binary: Array) -> float:
    """Compare zero-then-byte with byte-then-zero where neither side goes on."""
    up = zero & corpus.near(~zero, 1, False) & binary
    down = ~zero & corpus.near(zero, 1, False) & binary
    return (float(up.sum()) - float(down.sum())) / max(1.0, float((up | down).sum()))


def _lone(corpus: Corpus, zero: Array, binary: Array) -> list[float]:
    """Tell how a stretch of numbers begins and ends, next to text or at the rim of a message."""
    out: list[float] = []
    for by in (-1, 1):
        rim = binary & ~corpus.near(binary, by, False)
        inner = corpus.near(zero, -by, False)
        out.append(_share(zero[rim]) - _share(inner[rim]))
    return out


def _runs(corpus: Corpus, zero: Array, bits: Array, binary: Array) -> list[float]:
    """Compare the bytes right after zeros with those right before them, as to how free they are."""
    after = ~zero & corpus.near(zero, -1, False) & binary
    before = ~zero & corpus.near(zero, 1, False) & binary
    one = float(bits[after].mean()) if after.any() else 0.0
    two = float(bits[before].mean()) if before.any() else 0.0
    still = np.minimum(bits, 1.0)
    three = float(still[after].mean()) if after.any() else 0.0
    four = float(still[before].mean()) if before.any() else 0.0
    return [one - two, three - four]


class Order(NamedTuple):
    """Byte orders: 1 big endian, -1 little, 0 unknown; `seen` is a share between 0 and 1."""

    used: int = 0
    claimed: int = 0
    """What detectors say. A carrier may count in another order than what it carries."""
    seen: float = 0.5
    """How likely big endian is by what the messages show, whatever detectors say."""
    likely: float = 0.5
    """The same, with what detectors say."""


def orders(corpus: Corpus, claimed: int, trees: Trees) -> Order:
    """Give all that is known of the byte order; what detectors claim is weighed, too."""
    if not len(corpus.data):
        return Order(claimed, claimed)
    found = signs(corpus, 0)
    table = trees.table(2)
    for name, value in zip(NAMES, found, strict=True):
        told = claimed if name == "claimed" else value
        trees.put(table, name, np.array([value, told]))
    seen, likely = sigmoid(trees.raw(table)[:, 0]).tolist()
    used = 1 if likely > SURE else -1 if likely < 1 - SURE else 0
    return Order(used, claimed, seen, likely)


def byte_order(corpus: Corpus, claimed: int, trees: Trees) -> int:
    """Give 1 for big endian, -1 for little, 0 where neither is likely enough."""
    return orders(corpus, claimed, trees).used
