"""Train the scorers: boundaries, boundaries in context, meanings.

The first scorer learns from drawn grammars alone, so that what it believes of a real protocol was
never learnt from it. The second and the third learn from other drawn grammars and from real
protocols with a published truth; `left_out` keeps a family out of them.
"""

import gzip
import io
import json
import pathlib
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec
import numpy as np

from cronos.discover import folds
from cronos.discover.boosting import Recipe, grow
from cronos.discover.byteorder import NAMES, orders, signs
from cronos.discover.context import surround
from cronos.discover.decode import LONGEST
from cronos.discover.detectors import lengths
from cronos.discover.engine import discover
from cronos.discover.evidence import Array, Corpus
from cronos.discover.features import describe
from cronos.discover.meaning import CLASSES, fields
from cronos.discover.messages import Message
from cronos.discover.model import Limits, Sem
from cronos.discover.mutants import mutant
from cronos.discover.scorer import NAMES as MODELS
from cronos.discover.scorer import Models, Trees, sigmoid
from cronos.discover.synthetic import samples
from cronos.discover.types import classify
from cronos.discover.types_train import drawn_rows, key_scorer
from cronos.discover.vouched import all_claims, claimed_order
from cronos.errors import InputError
from cronos.types import Now

FIRST_SEEDS: Final = range(1_000, 1_320, 2)
SECOND_SEEDS: Final = range(1_001, 1_081, 2)
MUTANTS: Final = 3
SIZES: Final = (40, 80, 160, 250)
ROWS_FIRST: Final = 250
ROWS_DRAWN: Final = 300
ROWS_REAL: Final = 1_500
ROWS_MUTANT: Final = 500
LEARN_FROM: Final = 150
"""Messages of a published protocol that are learnt from."""
RAW_IN_CONTEXT: Final = 150
RAW_IN_MEANING: Final = 60
NOISE_EVERY: Final = 12
MIN_VOTES: Final = 5
MIN_MESSAGES: Final = 8
ORDER_SEEDS: Final = range(5_000, 5_350)
KEY_SEEDS: Final = range(3_000, 3_160)
JUDGED: Final = 120
"""Messages of each protocol that is left out."""

Told = Callable[[str], None]


class Lesson(msgspec.Struct, frozen=True):
    """Messages whose fields are known, as (offset, length, meaning) that tile each message."""

    name: str
    messages: tuple[Message, ...]
    fields: tuple[tuple[tuple[int, int, Sem], ...], ...]
    real: bool = False
    weight: float = 1.0
    names: tuple[tuple[tuple[str, str], ...], ...] = ()
    """Name and type of each field, where a published truth has them."""


class Rows(msgspec.Struct, frozen=True):
    """What one lesson gives to learn: tables of features with the truth of each row."""

    name: str
    real: bool
    gaps: Array
    borders: Array
    starts: Array
    meanings: Array
    lengths: Array
    weight: float = 1.0


def meaning_of(name: object) -> Sem:
    """Translate the meanings of a published truth; what is not told apart is a value or bytes."""
    if name == "id":
        return Sem.VALUE
    return Sem(str(name)) if name in set(Sem) else Sem.BYTES


def published(folder: pathlib.Path) -> Iterator[Lesson]:
    """Read protocols with their truth: a message a line, as in the open data."""
    for path in sorted(folder.glob("*.jsonl.gz")):
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        yield Lesson(
            path.name.removesuffix(".jsonl.gz"),
            tuple(
                Message(bytes.fromhex(r["payload_hex"]), str(r["flow"]), r["direction"], r["ts"])
                for r in rows
            ),
            tuple(
                tuple((f["offset"], f["length"], meaning_of(f.get("sem"))) for f in r["fields"])
                for r in rows
            ),
            real=True,
            weight=6.0,
            names=tuple(
                tuple((str(f.get("name")), str(f.get("type"))) for f in r["fields"]) for r in rows
            ),
        )


def changed(lesson: Lesson, seeds: Iterable[int]) -> Iterator[Lesson]:
    """Give mutants of a published protocol, under its name: what leaves it out leaves them out."""
    for seed in seeds:
        messages, truth = mutant(lesson.messages, lesson.fields, lesson.names, seed)
        yield Lesson(lesson.name, messages, truth, lesson.real, 1.5 if lesson.real else 1.0)


def drawn(seeds: Iterable[int]) -> Iterator[Lesson]:
    """Draw grammars and what is spoken by them; now and then noise, which has no fields at all."""
    for seed in seeds:
        rng = np.random.default_rng([7, seed])
        if seed % NOISE_EVERY < 2:
            yield noise(seed, rng)
            continue
        once = {s.payload: s for s in samples(seed, int(rng.choice(SIZES)))}
        played = list(once.values())
        yield Lesson(
            f"drawn {seed}",
            tuple(Message(s.payload, s.flow, s.direction, s.ts) for s in played),
            tuple(tuple((f.offset, f.length, meaning_of(f.sem)) for f in s.fields) for s in played),
            names=tuple(tuple((f.name, f.type) for f in s.fields) for s in played),
        )


def noise(seed: int, rng: np.random.Generator) -> Lesson:
    """Give messages of random bytes; in half of the lessons all are of one length."""
    count = int(rng.choice((60, 200)))
    least, most = (64, 64) if rng.random() < 0.5 else (16, int(rng.integers(32, 400)))
    sizes = rng.integers(least, most + 1, count)
    messages = tuple(
        Message(rng.bytes(int(size)), str(i % 3), "c2s" if i % 2 else "s2c", 1.7e9 + i)
        for i, size in enumerate(sizes)
    )
    whole = tuple(((0, int(size), Sem.BYTES),) for size in sizes)
    return Lesson(f"noise {seed}", messages, whole)


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

    def described(self, at: Array) -> dict[str, Array]:
        """Give the counted features of the gaps before `at`."""
        described = describe(self.corpus, self.types, self.claims, self.order, at)
        return {name: values.astype(np.float32) for name, values in described}


def order_scorer(seeds: Iterable[int]) -> dict[str, Array]:
    """Learn the byte order of drawn grammars from what their messages show of it."""
    rows: list[Array] = []
    truth: list[bool] = []
    for seed in seeds:
        played = samples(seed, (40, 80, 160)[seed % 3])
        votes = [field.endian for sample in played for field in sample.fields]
        big, little = votes.count("be"), votes.count("le")
        if big + little < MIN_VOTES:
            continue
        messages = [Message(s.payload, s.flow, s.direction, s.ts) for s in played]
        rows.append(signs(Corpus(messages), claimed_order(lengths.claims(messages))))
        truth.append(big > little)
    table = np.stack(rows)
    ones = np.ones(len(truth))
    return grow(table, np.array(truth), ones, NAMES, Recipe(60, 6, 0.1, least=15))


def first_scorer(
    seeds: Iterable[int], order: Trees, keys: Trees, recipe: Recipe, told: Told
) -> dict[str, Array]:
    """Learn boundaries from drawn grammars alone; gives the packed trees."""
    tables: list[Array] = []
    truths: list[Array] = []
    names: tuple[str, ...] = ()
    for number, plain in enumerate(drawn(seeds)):
        lesson = next(changed(plain, [number])) if number % 2 and plain.names else plain
        if len(lesson.messages) < MIN_MESSAGES:
            continue
        one = Studied(lesson, order, keys)
        at = _some(one.corpus.gaps(), ROWS_FIRST, len(tables))
        columns = one.described(at)
        names = tuple(columns)
        tables.append(np.stack(list(columns.values()), axis=1))
        truths.append(one.begins[at])
    told(f"first scorer: {len(tables)} drawn grammars, {sum(map(len, truths))} gaps")
    truth = np.concatenate(truths)
    return grow(np.concatenate(tables), truth, np.ones(len(truth)), names, recipe)


def _some(values: Array, most: int, seed: int) -> Array:
    chosen = np.random.default_rng([11, seed]).permutation(len(values))[:most]
    return values[np.sort(chosen)]


def most_used(parts: dict[str, Array], most: int) -> tuple[str, ...]:
    """Give the features that the trees split by most often."""
    counts = np.bincount(parts["nodes"][:, 0], minlength=len(parts["names"]))
    return tuple(str(parts["names"][i]) for i in np.argsort(-counts, kind="stable")[:most])


def sampled(lesson: Lesson, most: int) -> Lesson:
    """Give some messages of a lesson, the same in every run."""
    chosen: list[int] = _some(np.arange(len(lesson.messages)), most, 0).tolist()
    return msgspec.structs.replace(
        lesson,
        messages=tuple(lesson.messages[i] for i in chosen),
        fields=tuple(lesson.fields[i] for i in chosen),
        names=tuple(lesson.names[i] for i in chosen),
    )


class Teacher:
    """Makes rows for the second and the third scorer, with the first one's beliefs."""

    def __init__(
        self, order: dict[str, Array], keys: dict[str, Array], first: dict[str, Array]
    ) -> None:
        self.order_parts = order
        self.keys_parts = keys
        self.first_parts = first
        self.order = Trees(order)
        self.keys = Trees(keys)
        self.first = Trees(first)
        self.raw = most_used(first, RAW_IN_CONTEXT)
        self.raw_meaning = most_used(first, RAW_IN_MEANING)
        self.context_names: tuple[str, ...] = ()
        self.meaning_names: tuple[str, ...] = ()

    def rows(self, lesson: Lesson, most: int) -> Rows:
        """Study a lesson; at most `most` gaps and as many fields of it are kept."""
        one = Studied(lesson, self.order, self.keys)
        corpus = one.corpus
        gaps = corpus.gaps()
        at = np.flatnonzero(np.isin(gaps, _some(gaps, most, len(gaps))))
        table = self.first.table(len(gaps))
        kept: dict[str, Array] = {}
        for name, values in describe(corpus, one.types, one.claims, one.order, gaps):
            self.first.put(table, name, values)
            if name in self.raw:
                kept[name] = values[at].astype(np.float32)
        belief = np.ones(len(corpus.data))
        belief[gaps] = sigmoid(self.first.raw(table)[:, 0])
        for name, values in surround(corpus, one.types, belief, gaps[at]):
            kept[name] = values.astype(np.float32)
        self.context_names = tuple(kept)
        starts, meanings = self._meanings(one, most)
        return Rows(
            lesson.name,
            lesson.real,
            np.stack(list(kept.values()), axis=1),
            one.begins[gaps[at]],
            starts,
            meanings,
            _lengths(lesson),
            lesson.weight,
        )

    def _meanings(self, one: Studied, most: int) -> tuple[Array, Array]:
        at = _some(np.arange(len(one.starts)), most, len(one.starts))
        kept: dict[str, Array] = {}
        for name, values in describe(one.corpus, one.types, one.claims, one.order, one.starts[at]):
            if name in self.raw_meaning:
                kept[name] = values.astype(np.float32)
        for name, values in fields(one.corpus, one.types, one.starts):
            kept[name] = values[at].astype(np.float32)
        self.meaning_names = tuple(kept)
        return np.stack(list(kept.values()), axis=1), one.meanings[at]

    def second_scorer(self, rows: list[Rows], recipe: Recipe) -> dict[str, Array]:
        """Learn boundaries in context."""
        table = np.concatenate([r.gaps for r in rows])
        truth = np.concatenate([r.borders for r in rows])
        weights = np.concatenate([_weights(r, len(r.borders)) for r in rows])
        parts = grow(table, truth, weights, self.context_names, recipe)
        usual = np.mean([r.lengths for r in rows], axis=0)
        return self._signed({**parts, "lengths": usual}, rows)

    def third_scorer(self, rows: list[Rows], recipe: Recipe) -> dict[str, Array]:
        """Learn what fields mean."""
        table = np.concatenate([r.starts for r in rows])
        truth = np.concatenate([r.meanings for r in rows])
        weights = np.concatenate([_weights(r, len(r.meanings)) for r in rows])
        return self._signed(grow(table, truth, weights, self.meaning_names, recipe), rows)

    @staticmethod
    def _signed(parts: dict[str, Array], rows: list[Rows]) -> dict[str, Array]:
        """Write into a model what it learnt from: a test refuses what has seen too much."""
        return {**parts, "learnt": np.array(sorted({r.name for r in rows if r.real}), dtype=str)}


def _weights(rows: Rows, count: int) -> Array:
    """Let every protocol count alike, and a real one as much as some drawn ones."""
    return np.full(count, rows.weight * ROWS_DRAWN / max(count, 50))


def _lengths(lesson: Lesson) -> Array:
    """Give the share of fields of 1, 2, ... bytes; the last entry stands for all longer ones."""
    sizes = np.array([size for each in lesson.fields for _, size, _ in each], dtype=np.int64)
    counts = np.bincount(np.minimum(sizes, LONGEST + 1), minlength=LONGEST + 2)[1:]
    return np.asarray(counts / max(1, counts.sum()))


def packed(parts: dict[str, Array]) -> bytes:
    """Write arrays as a compressed .npz."""
    out = io.BytesIO()
    arrays: dict[str, Any] = parts
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def without(rows: Iterable[Rows], left_out: Collection[str]) -> list[Rows]:
    """Give the rows of all lessons but those of the named protocols."""
    return [r for r in rows if r.name not in left_out]


FIRST_RECIPE: Final = Recipe(120, 24, 0.12)
SECOND_RECIPE: Final = Recipe(120, 20, 0.1, 40)
THIRD_RECIPE: Final = Recipe(30, 12, 0.12, 30)


def lessons(data: pathlib.Path, seeds: Iterable[int]) -> Iterator[tuple[Lesson, int]]:
    """Give what the second and third scorer learn from, and how many gaps of each."""
    for index, lesson in enumerate(published(data)):
        yield sampled(lesson, LEARN_FROM), ROWS_REAL
        for each in changed(lesson, range(100 * index, 100 * index + MUTANTS)):
            if len(each.messages) >= MIN_MESSAGES:
                yield each, ROWS_MUTANT
    for lesson in drawn(seeds):
        if len(lesson.messages) >= MIN_MESSAGES:
            yield lesson, ROWS_DRAWN


def studied(
    data: pathlib.Path, seeds: tuple[Iterable[int], Iterable[int]], told: Told
) -> tuple["Teacher", list[Rows]]:
    """Train what never sees a published protocol, and describe all that is learnt from besides."""
    order = order_scorer(ORDER_SEEDS)
    told("byte order: done")
    # Keys are learnt from drawn grammars alone, so that no model sees the types of a real protocol.
    keys = key_scorer(list(drawn_rows(KEY_SEEDS)))
    told("keys of message types: done")
    first = first_scorer(seeds[0], Trees(order), Trees(keys), FIRST_RECIPE, told)
    teacher = Teacher(order, keys, first)
    rows: list[Rows] = []
    for lesson, most in lessons(data, seeds[1]):
        rows.append(teacher.rows(lesson, most))
        told(f"studied {lesson.name}")
    return teacher, rows


def scorers(teacher: Teacher, rows: list[Rows]) -> dict[str, dict[str, Array]]:
    """Train all that is left to train; give the arrays of every model by its name."""
    return {
        "order": teacher.order_parts,
        "keys": teacher.keys_parts,
        "boundary": teacher.first_parts,
        "context": teacher.second_scorer(rows, SECOND_RECIPE),
        "meaning": teacher.third_scorer(rows, THIRD_RECIPE),
    }


def models_without(teacher: Teacher, rows: list[Rows], group: Collection[str]) -> Models:
    """Train models that have seen none of a group, and make sure of it by what they say."""
    parts = scorers(teacher, without(rows, group))
    seen = {str(name) for each in ("context", "meaning") for name in parts[each]["learnt"]}
    if seen & set(group):
        raise InputError(
            "discover.leak",
            "A model has learnt from what it is judged by.",
            "Report this: training is wrong.",
        )
    return Models(*(Trees(parts[name]) for name in MODELS))


def figures(data: pathlib.Path, teacher: Teacher, rows: list[Rows], told: Told) -> None:
    """Judge every group of published protocols by models that have seen none of it."""
    known = {lesson.name: lesson for lesson in published(data)}
    told("| left out | F1 | perfection | false positives | accuracy |\n|---|---|---|---|---|")
    every: list[folds.Figures] = []
    for group in folds.GROUPS:
        here = [known[name] for name in group if name in known]
        if not here:
            continue
        models = models_without(teacher, rows, group)
        for lesson in here:
            every.append(_judged(lesson, models))
            told(folds.line(lesson.name, every[-1:]))
    if every:
        told(folds.line("mean", every))


class _Still:
    """A clock that stands still: nothing is cut short while models are judged."""

    def now(self) -> Now:
        """Give the beginning of time."""
        return Now(0, 0)

    def boot_id(self) -> str:
        """Name no boot."""
        return ""


def _judged(lesson: Lesson, models: Models) -> folds.Figures:
    def cuts(messages: Sequence[Message]) -> list[list[int]]:
        found = discover(messages, Limits(), _Still(), lambda _phase, _share: None, models)
        return [[field.offset for field in each] for each in found.fields]

    return folds.judged(lesson.messages[:JUDGED], lesson.fields[:JUDGED], cuts)


def train(out: str) -> int:
    """Train the models and write them to a folder; gives the exit code of the command.

    Real protocols are read from `../shared/data/discovery`; where that is absent, drawn grammars
    have to do.
    """
    folder = pathlib.Path(out or "models")
    folder.mkdir(parents=True, exist_ok=True)
    data = pathlib.Path("../shared/data/discovery")
    if not data.is_dir():
        sys.stderr.write(f"{data} is absent: learning from drawn grammars alone.\n")
    teacher, rows = studied(data, (FIRST_SEEDS, SECOND_SEEDS), print_line)
    for name, parts in scorers(teacher, rows).items():
        (folder / f"{name}.npz").write_bytes(packed(parts))
    figures(data, teacher, rows, print_line)
    return 0


def print_line(text: str) -> None:
    """Tell how far training is."""
    sys.stderr.write(f"{text}\n")
