"""Tell message types apart: by the direction, and by the one to three values that explain the most.

A learned scorer says how well a split by each candidate agrees with types as people name them: its
trees have seen keys of drawn grammars and what they explain, not which bytes a key is. The search
keeps the few best splits and refines them while that promises to get better.
"""

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import numpy as np

from cronos.discover.evidence import Array
from cronos.discover.keys import NONE, Heads, View, candidates, crossed, ranks
from cronos.discover.messages import Message
from cronos.discover.scorer import Trees, sigmoid
from cronos.discover.shipped import shipped
from cronos.discover.splits import NAMES, Splits

MAX_KEYS: Final = 3
BEAM: Final = 2
STUDIED: Final = 1_000
"""Keys are chosen among this many messages, evenly over the time."""
WORTH: Final = 0.05
"""What a further key has to promise."""


class Split(NamedTuple):
    """Groups, the views that make them, and how well they should agree with the truth."""

    keys: tuple[int, ...]
    groups: Array
    score: float


def classify(messages: Sequence[Message], trees: Trees | None = None) -> tuple[int, ...]:
    """Number the type of each message, the most frequent type first."""
    if not messages:
        return ()
    step = -(-len(messages) // STUDIED)
    whole = Heads(messages)
    heads = whole
    if step > 1:
        heads = Heads(messages[::step])
        # Who speaks may show in messages that follow one another, and among these none do.
        heads.ways = ranks(whole.ways[::step])
    views = candidates(heads)
    best = _search(heads, views, trees or shipped().keys)
    labels = best.groups
    if step > 1:
        labels = _applied([views[n] for n in best.keys], whole)
    return tuple(_by_size(labels).tolist())


def _search(heads: Heads, views: list[View], trees: Trees) -> Split:
    """Find the split that promises to agree best with the truth."""
    splits = Splits(heads, views)
    best = Split((), heads.ways, 0.0)
    states = [best]
    for depth in range(MAX_KEYS):
        found = sorted(
            (one for state in states for one in _finer(splits, state, depth, trees)),
            key=lambda split: -split.score,
        )
        if not found or found[0].score < best.score + WORTH:
            break
        best, states = found[0], found[:BEAM]
    return best


def _finer(splits: Splits, state: Split, depth: int, trees: Trees) -> Iterator[Split]:
    """Split a state by every view that adds to it."""
    parts = {
        n: groups
        for n, view in enumerate(splits.views)
        if (groups := crossed(state.groups, splits.values[n])).max() > state.groups.max()
        or (view.kind == NONE and not depth)
    }
    if not parts:
        return
    rows = splits.rows(state.groups, depth, list(parts))
    for (n, groups), score in zip(parts.items(), promised(rows, trees).tolist(), strict=True):
        yield Split((*state.keys, n), groups, score)


def promised(rows: Array, trees: Trees) -> Array:
    """Give for each row of `splits.NAMES` the V-measure that its split is expected to reach."""
    table = trees.table(len(rows))
    for k, name in enumerate(NAMES):
        trees.put(table, name, rows[:, k])
    return sigmoid(trees.raw(table)[:, 0])


def _applied(keys: list[View], heads: Heads) -> Array:
    """Split messages by keys that were chosen among some of them."""
    labels = heads.ways
    for key in keys:
        for view in heads.views:
            if view[:2] == key[:2]:
                labels = ranks(labels * 100_000 + view.values)
                break
    return labels


def _by_size(labels: Array) -> Array:
    names, inverse, counts = np.unique(labels, return_inverse=True, return_counts=True)
    rank = np.empty(len(names), dtype=np.int64)
    rank[np.argsort(-counts, kind="stable")] = np.arange(len(names))
    return np.asarray(rank[inverse.reshape(-1)])
