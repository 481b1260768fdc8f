"""Tell message types apart: the few bytes that, once known, explain the most of the rest.

A split is scored by code length (MDL): all columns are coded with an adaptive code in each group,
the key itself once before. What explains nothing, or splits too finely, makes the code longer.
"""

import math
from collections.abc import Sequence
from typing import Final

import numpy as np

from cronos.discover.evidence import Array
from cronos.discover.messages import Message

MAX_KEY_OFFSET: Final = 64
"""Keys are looked for, and columns explained, among this many bytes of the front."""
MAX_KINDS: Final = 64
MAX_KEYS: Final = 3
MIN_SAVING: Final = 0.02
ABSENT: Final = 256


def classify(messages: Sequence[Message], max_keys: int = MAX_KEYS) -> tuple[int, ...]:
    """Number the type of each message, the most frequent type first."""
    if not messages:
        return ()
    table = _table(messages)
    labels = np.zeros(len(messages), dtype=np.int64)
    current = _cost(table, labels)
    whole = current
    for _ in range(max_keys):
        best, cost = _best(table, labels)
        if best is None or current - cost < MIN_SAVING * whole:
            break
        labels, current = best, cost
    return tuple(_by_size(labels).tolist())


def _table(messages: Sequence[Message]) -> Array:
    """Lay out the first bytes, the length and the direction of each message, a row each."""
    width = min(MAX_KEY_OFFSET, max(len(m.payload) for m in messages))
    out = np.full((len(messages), width + 2), ABSENT, dtype=np.int64)
    ways = {"": 0, "c2s": 1, "s2c": 2}
    sizes = {size: i for i, size in enumerate(sorted({len(m.payload) for m in messages}))}
    for i, message in enumerate(messages):
        head = np.frombuffer(message.payload[:width], np.uint8)
        out[i, : len(head)] = head
        out[i, width] = min(sizes[len(message.payload)], 255)
        out[i, width + 1] = ways.get(message.direction, 0)
    return out


_HALVES: Final = np.array([0.0] + [math.lgamma(k / 2) for k in range(1, 200_000)]) / math.log(2)


def _half(k: Array) -> Array:
    """Give log2 of Gamma(k / 2)."""
    return _HALVES[np.minimum(k, len(_HALVES) - 1)]


def _cost(table: Array, labels: Array) -> float:
    """Give the bits of all columns, coded adaptively (Krichevsky and Trofimov) in each group."""
    groups, width = int(labels.max()) + 1, int(table.shape[1])
    home: Array = labels[:, None] * width + np.arange(width)
    keys, counts = np.unique(home * 257 + table, return_counts=True)
    cell = keys // 257
    kinds = np.array([len(np.unique(table[:, j])) for j in range(width)])
    sizes = np.bincount(cell, weights=counts, minlength=groups * width).astype(np.int64)
    alphabet = np.tile(kinds, groups)
    bits = _half(2 * sizes + alphabet).sum() - _half(alphabet).sum()
    bits -= (_half(2 * counts + 1) - _half(np.ones_like(counts))).sum()
    return float(bits)


def _best(table: Array, labels: Array) -> tuple[Array | None, float]:
    """Try to split every group by each column; the key is coded within the old groups."""
    best: Array | None = None
    least = math.inf
    for j in range(table.shape[1]):
        column = table[:, j]
        kinds = len(np.unique(column))
        if not 2 <= kinds <= min(MAX_KINDS, max(2, len(table) // 4)):
            continue
        _, finer = np.unique(labels * 257 + column, return_inverse=True)
        if finer.max() + 1 > max(2, len(table) // 6):
            continue
        key = _cost(column[:, None], labels)
        cost = _cost(np.delete(table, j, axis=1), finer) + key
        if cost < least:
            best, least = finer, cost
    return best, least


def _by_size(labels: Array) -> Array:
    names, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    rank = np.empty(len(names), dtype=np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(names))
    return rank[inverse]
