"""Train the scorer of keys: which splits of messages agree with their types as people name them.

It learns how near each split comes (V-measure), from splits that a search would meet: those by one
view, and finer ones of the best and of some others. Source: Rosenberg and Hirschberg, V-Measure
(EMNLP 2007).
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec
import numpy as np

from cronos.discover.boosting import Recipe, grow
from cronos.discover.evidence import Array
from cronos.discover.keys import NONE, Heads, bits, candidates, crossed, ranks
from cronos.discover.lessons import HOUSES
from cronos.discover.messages import Message
from cronos.discover.splits import NAMES, Splits
from cronos.discover.synthetic import samples
from cronos.discover.synthetic_draw import draw
from cronos.discover.synthetic_house import house

RECIPE: Final = Recipe(400, 12, 0.03, 20)
REAL_WEIGHT: Final = 4.0
DEPTHS: Final = 3
BLIND: Final = 0.15
"""Share of them whose messages have no direction."""
SIZES: Final = (40, 100, 100, 200, 300)
BEST: Final = 2
OTHERS: Final = 2
MOST_ROWS: Final = 250
"""Splits of one lesson that are learnt from."""


class KeyRows(msgspec.Struct, frozen=True):
    """Splits of one lesson's messages, a row each, and how well each agrees with the truth."""

    name: str
    real: bool
    rows: Array
    agreement: Array


def agreement(truth: Array, labels: Array) -> float:
    """Give the V-measure of labels: the harmonic mean of homogeneity and completeness."""
    one, other = bits(truth), bits(labels)
    shared = one + other - bits(truth * 100_000 + labels)
    homogeneity = shared / one if one > 1e-12 else 1.0
    completeness = shared / other if other > 1e-12 else 1.0
    total = homogeneity + completeness
    # Sums of logarithms may end a little above 1, and what is beyond is no share.
    return min(1.0, max(0.0, 2 * homogeneity * completeness / total)) if total > 1e-12 else 0.0


def key_rows(
    name: str, real: bool, messages: Sequence[Message], types: Sequence[str], seed: int
) -> KeyRows | None:
    """Give the splits that a search in these messages would meet; None where there are none."""
    heads = Heads(messages)
    views = candidates(heads)
    if not views:
        return None
    splits, truth = Splits(heads, views), ranks(np.array(types))
    rng = np.random.default_rng([13, seed])
    states: list[tuple[tuple[int, ...], Array]] = [((), np.zeros(heads.count, dtype=np.int64))]
    if heads.ways.max() > 0:
        states.append(((), heads.ways))
    tables: list[Array] = []
    truths: list[Array] = []
    for depth in range(DEPTHS):
        finer: list[tuple[float, tuple[int, ...], Array]] = []
        for keys, groups in states:
            parts = {n: crossed(groups, splits.values[n]) for n in range(len(views))}
            at = [
                n
                for n, finer_groups in parts.items()
                if finer_groups.max() > groups.max() or (views[n].kind == NONE and not depth)
            ]
            if not at:
                continue
            reached = [agreement(truth, parts[n]) for n in at]
            tables.append(splits.rows(groups, depth, at))
            truths.append(np.array(reached))
            chosen = [int(k) for k in np.argsort(reached)[-BEST:]]
            chosen += [int(k) for k in rng.integers(len(at), size=OTHERS)]
            finer += [(reached[k], (*keys, at[k]), parts[at[k]]) for k in sorted(set(chosen))]
        finer.sort(key=lambda one: -one[0])
        picked = [
            *finer[:BEST],
            *(finer[BEST:][int(k)] for k in rng.permutation(len(finer[BEST:]))[:OTHERS]),
        ]
        states = [
            (keys, groups) for _, keys, groups in picked[: BEST + (OTHERS if depth == 0 else 1)]
        ]
    if not tables:
        return None
    some = np.sort(rng.permutation(sum(map(len, truths)))[:MOST_ROWS])
    return KeyRows(name, real, np.concatenate(tables)[some], np.concatenate(truths)[some])


def drawn_rows(seeds: Iterable[int]) -> Iterator[KeyRows]:
    """Give the splits of drawn grammars."""
    for seed in seeds:
        plan = house if np.random.default_rng([23, seed]).random() < HOUSES else draw
        played = samples(seed, SIZES[seed % len(SIZES)], plan)
        # Some captures do not tell who asks and who answers.
        told = np.random.default_rng([29, seed]).random() >= BLIND
        messages = [Message(s.payload, s.flow, s.direction * told, s.ts) for s in played]
        rows = key_rows(f"drawn {seed}", False, messages, [s.message_type for s in played], seed)
        if rows is not None:
            yield rows


def key_scorer(lessons: Sequence[KeyRows], recipe: Recipe = RECIPE) -> dict[str, Array]:
    """Learn how well splits agree with the truth; every lesson counts alike, a real one more."""
    table = np.concatenate([one.rows for one in lessons])
    reached = np.concatenate([one.agreement for one in lessons])
    weight = np.concatenate(
        [
            np.full(len(one.agreement), (REAL_WEIGHT if one.real else 1.0) / len(one.agreement))
            for one in lessons
        ]
    )
    # A share as the target of a yes or no: each row counts as both, by how much of either it is.
    truth = np.repeat([True, False], len(table))
    both = np.concatenate((weight * reached, weight * (1 - reached)))
    parts = grow(np.concatenate((table, table)), truth, both, NAMES, recipe)
    learnt = sorted({one.name for one in lessons if one.real})
    return {**parts, "learnt": np.array(learnt, dtype=str)}
