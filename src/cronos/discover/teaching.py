"""Turn lessons into rows to learn from: one for each gap or field, with its truth."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Final, Protocol, TypeVar

import msgspec
import numpy as np

from cronos.discover.boosting import Recipe, grow
from cronos.discover.byteorder import NAMES, orders, signs
from cronos.discover.context import surround
from cronos.discover.decode import constrained, doubts, followers
from cronos.discover.detectors import lengths
from cronos.discover.evidence import Array, Corpus
from cronos.discover.features import describe
from cronos.discover.lessons import HOUSES, Lesson, changed, drawn, names_of, some
from cronos.discover.meaning import CLASSES, NONE, fields
from cronos.discover.messages import Message
from cronos.discover.scorer import Trees, sigmoid
from cronos.discover.synthetic import samples
from cronos.discover.synthetic_draw import draw
from cronos.discover.synthetic_house import house
from cronos.discover.types import classify
from cronos.discover.vouched import all_claims, claimed_order

ROWS_FIRST: Final = 250
ROWS_ALIKE: Final = 300
"""Rows of a lesson of weight 1, however many it has."""
RAW_IN_CONTEXT: Final = 190
RAW_IN_MEANING: Final = 70
ALWAYS_IN_MEANING: Final = ("claimed_", "nested_", "record_")
"""How the names begin of features that say what a field means, however seldom a boundary."""
MUTANTS: Final = 0.4
"""Share of the drawn grammars that the first scorer sees mutants of."""
BIAS: Final = -0.1
"""Doubt of the boundaries that meanings learn from: another bar leaves them as they are."""
MIN_VOTES: Final = 5
MIN_MESSAGES: Final = 8

A = TypeVar("A")
B = TypeVar("B")


class Spread(Protocol):
    """Does the same work on several items, in this process or in others; in their order."""

    def __call__(self, work: Callable[[A], B], items: Iterable[A], /) -> Iterable[B]:
        """Give what the work makes of each item."""
        ...


def alone(work: Callable[[A], B], items: Iterable[A]) -> Iterable[B]:
    """Do the work here, an item after another."""
    return map(work, items)


class Rows(msgspec.Struct, frozen=True):
    """What one lesson gives to learn: tables of features with the truth of each row."""

    name: str
    real: bool
    gap_names: tuple[str, ...]
    gaps: Array
    borders: Array
    start_names: tuple[str, ...]
    starts: Array
    meanings: Array
    pairs: Array
    weight: float = 1.0


class Studied:
    """A lesson with its evidence."""

    def __init__(self, lesson: Lesson, order: Trees, keys: Trees) -> None:
        self.lesson = lesson
        self.corpus = Corpus(lesson.messages)
        self.types = np.array(classify(lesson.messages, keys), dtype=np.int64)
        self.claims = all_claims(lesson.messages)
        self.order = orders(self.corpus, claimed_order(self.claims), order)
        self.begins = np.zeros(len(self.corpus.data), dtype=bool)
        self.starts = np.array(
            [
                self.corpus.starts[i] + offset
                for i, each in enumerate(lesson.fields)
                for offset, _, _ in each
            ],
            dtype=np.int64,
        )
        self.begins[self.starts] = True
        self.meanings = np.array(
            [CLASSES.index(sem) for each in lesson.fields for _, _, sem in each], dtype=np.int64
        )

    def truth(self, starts: Array) -> Array:
        """Give the meaning of each field of a tiling, `NONE` where it is not a true field."""
        total = len(self.corpus.data)
        means = np.full(total + 1, NONE)
        ends = np.zeros(total + 1, dtype=np.int64)
        means[self.starts] = self.meanings
        ends[self.starts] = np.append(self.starts, total)[1:]
        return np.where(ends[starts] == np.append(starts, total)[1:], means[starts], NONE)

    def described(self) -> Iterable[tuple[str, Array]]:
        """Give the counted features of the gap before each byte."""
        return describe(self.corpus, self.types, self.claims, self.order)


def order_row(seed: int) -> tuple[Array, bool] | None:
    """Give the signs of a drawn grammar's byte order, and whether it is big endian.

    One row is without what detectors claim, and one with it.
    """
    plan = house if np.random.default_rng([23, seed]).random() < HOUSES else draw
    played = samples(seed, (40, 80, 160)[seed % 3], plan)
    votes = [field.endian for sample in played for field in sample.fields]
    big, little = votes.count("be"), votes.count("le")
    if big + little < MIN_VOTES:
        return None
    messages = [Message(s.payload, s.flow, s.direction, s.ts) for s in played]
    plain = signs(Corpus(messages), 0)
    told = plain.copy()
    told[NAMES.index("claimed")] = claimed_order(lengths.claims(messages))
    return np.stack((plain, told)), big > little


def order_scorer(seeds: Iterable[int], spread: Spread = alone) -> dict[str, Array]:
    """Learn the byte order of drawn grammars from what their messages show of it."""
    rows = [row for row in spread(order_row, seeds) if row is not None]
    table = np.concatenate([signs for signs, _ in rows])
    truth = np.repeat([big for _, big in rows], 2)
    return grow(table, truth, np.ones(len(truth)), NAMES, Recipe(80, 8, 0.1, least=15))


class FirstRows(msgspec.Struct, frozen=True):
    """Describes gaps of the drawn grammar of a seed; many are mutants."""

    order: dict[str, Array]
    keys: dict[str, Array]

    def __call__(self, seed: int) -> tuple[tuple[str, ...], Array, Array] | None:
        """Give the names of the features, a row for each gap, and where a field begins."""
        (plain,) = drawn([seed])
        turned = plain.names and np.random.default_rng([17, seed]).random() < MUTANTS
        lesson = next(changed(plain, [seed])) if turned else plain
        if len(lesson.messages) < MIN_MESSAGES:
            return None
        one = Studied(lesson, Trees(self.order), Trees(self.keys))
        at = some(one.corpus.gaps(), ROWS_FIRST, seed)
        columns = {name: values[at].astype(np.float32) for name, values in one.described()}
        return tuple(columns), np.stack(list(columns.values()), axis=1), one.begins[at]


def first_scorer(
    work: FirstRows, seeds: Iterable[int], recipe: Recipe, spread: Spread = alone
) -> dict[str, Array]:
    """Learn boundaries from drawn grammars alone; gives the packed trees."""
    rows = [row for row in spread(work, seeds) if row is not None]
    truth = np.concatenate([borders for _, _, borders in rows])
    table = np.concatenate([gaps for _, gaps, _ in rows])
    return grow(table, truth, np.ones(len(truth)), rows[0][0], recipe)


def most_used(parts: dict[str, Array], most: int) -> tuple[str, ...]:
    """Give the features that the trees split by most often."""
    counts = np.bincount(parts["nodes"][:, 0], minlength=len(parts["names"]))
    return tuple(str(parts["names"][i]) for i in np.argsort(-counts, kind="stable")[:most])


class Teacher(msgspec.Struct, frozen=True):
    """Makes rows for the second and the third scorer, with the first one's beliefs."""

    order: dict[str, Array]
    keys: dict[str, Array]
    first: dict[str, Array]

    def __call__(self, task: tuple[Lesson, int]) -> Rows:
        """Study a lesson; at most so many gaps and as many fields of it are kept."""
        lesson, most = task
        one = Studied(lesson, Trees(self.order), Trees(self.keys))
        first = Trees(self.first)
        corpus = one.corpus
        gaps = corpus.gaps()
        at = some(gaps, most, len(gaps))
        raw, used = (set(most_used(self.first, n)) for n in (RAW_IN_CONTEXT, RAW_IN_MEANING))
        table = first.table(len(gaps))
        kept: dict[str, Array] = {}
        told: dict[str, Array] = {}
        for name, values in one.described():
            first.put(table, name, values, gaps)
            if name in raw:
                kept[name] = values[at].astype(np.float32)
            if name in used or name.startswith(ALWAYS_IN_MEANING):
                told[name] = values.astype(np.float32)
        belief = np.ones(len(corpus.data))
        belief[gaps] = sigmoid(first.raw(table)[:, 0])
        for name, values in surround(corpus, one.types, belief):
            kept[name] = values[at].astype(np.float32)
        names, starts, meanings = meant(one, belief, told, most)
        return Rows(
            name=lesson.name,
            real=lesson.real,
            gap_names=tuple(kept),
            gaps=np.stack(list(kept.values()), axis=1),
            borders=one.begins[at],
            start_names=names,
            starts=starts,
            meanings=meanings,
            pairs=followers([[size for _, size, _ in each] for each in lesson.fields]),
            weight=lesson.weight,
        )


def meant(
    one: Studied, belief: Array, told: dict[str, Array], most: int
) -> tuple[tuple[str, ...], Array, Array]:
    """Describe true fields, and those that seem to be there: many of these are none.

    Whoever says what fields mean has to know how it looks where boundaries are wrong.
    """
    corpus = one.corpus
    share = np.clip(belief, 1e-3, 1 - 1e-3)
    doubt = doubts(belief[corpus.gaps()], BIAS)
    odds = constrained(corpus, np.log(share / (1 - share)) - doubt, one.claims)
    found = np.flatnonzero((odds > 0) | (corpus.offset == 0))
    tables: list[Array] = []
    truths: list[Array] = []
    names: tuple[str, ...] = ()
    for starts in (one.starts, found):
        at = some(np.arange(len(starts)), most, len(starts))
        columns = {name: values[starts][at] for name, values in told.items()}
        for name, values in fields(corpus, one.types, starts, one.claims):
            columns[name] = values[at].astype(np.float32)
        names = tuple(columns)
        tables.append(np.stack(list(columns.values()), axis=1))
        truths.append(one.truth(starts)[at])
    return names, np.concatenate(tables), np.concatenate(truths)


def second_scorer(rows: Sequence[Rows], recipe: Recipe) -> dict[str, Array]:
    """Learn boundaries in context."""
    table = np.concatenate([r.gaps for r in rows])
    truth = np.concatenate([r.borders for r in rows])
    weights = np.concatenate([_weights(r, len(r.borders)) for r in rows])
    parts = grow(table, truth, weights, rows[0].gap_names, recipe)
    # Every lesson counts alike, however many messages it has.
    usual = np.mean([r.pairs / max(1.0, float(r.pairs[:-1].sum())) for r in rows], axis=0)
    return _signed({**parts, "pairs": usual}, rows)


def third_scorer(rows: Sequence[Rows], recipe: Recipe) -> dict[str, Array]:
    """Learn what fields mean, from every second one of them."""
    table = np.concatenate([r.starts[::2] for r in rows])
    truth = np.concatenate([r.meanings[::2] for r in rows])
    weights = np.concatenate([_weights(r, len(r.meanings[::2])) for r in rows])
    return _signed(grow(table, truth, weights, rows[0].start_names, recipe), rows)


def _signed(parts: dict[str, Array], rows: Sequence[Rows]) -> dict[str, Array]:
    """Write into a model what it learnt from: a test refuses what has seen too much."""
    seen = {name for r in rows if r.real for name in names_of(r.name)}
    return {**parts, "learnt": np.array(sorted(seen), dtype=str)}


def _weights(rows: Rows, count: int) -> Array:
    """Let every protocol count alike, and a real one as much as some drawn ones."""
    return np.full(count, rows.weight * ROWS_ALIKE / max(count, 50))


def without(rows: Iterable[Rows], left_out: Collection[str]) -> list[Rows]:
    """Give the rows of all lessons but those that the named protocols have a part in."""
    return [r for r in rows if not names_of(r.name) & set(left_out)]
