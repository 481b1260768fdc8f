"""Train the scorers: byte order, keys of types, boundaries, boundaries in context, meanings.

The first scorer of boundaries learns from drawn grammars alone, so that what it believes of a real
protocol was never learnt from it. The second and the third learn from other drawn grammars and from
real protocols with a published truth; `without` keeps a family out of them. Every step is given its
seeds and runs in one thread, so that the same machine gives the same bytes; work on many lessons
goes to several processes.
"""

import io
import multiprocessing
import os
import pathlib
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from typing import Any, Final

import msgspec
import numpy as np

from cronos.discover import folds
from cronos.discover.boosting import Recipe
from cronos.discover.engine import discover
from cronos.discover.evidence import Array
from cronos.discover.lessons import (
    Lesson,
    carried,
    changed,
    drawn,
    published,
    sampled,
    stretch,
)
from cronos.discover.messages import Message
from cronos.discover.model import Limits
from cronos.discover.mutants import Fields
from cronos.discover.published_train import Own, beginnings_of, known_again
from cronos.discover.scorer import Trees
from cronos.discover.shipped import FILES, NAMES, SHA256, Models, compared
from cronos.discover.teaching import (
    MIN_MESSAGES,
    FirstRows,
    Rows,
    Spread,
    Teacher,
    first_scorer,
    order_scorer,
    second_scorer,
    third_scorer,
    without,
)
from cronos.discover.types_train import KeyRows, drawn_rows, key_scorer
from cronos.errors import InputError
from cronos.types import Now

ORDER_SEEDS: Final = range(5_000, 5_700)
KEY_SEEDS: Final = range(3_000, 3_900)
FIRST_SEEDS: Final = range(1_000, 1_660, 2)
SECOND_SEEDS: Final = range(1_001, 1_361, 2)
BEGINNING_SEEDS: Final = range(9_001, 9_121, 2)
MUTANTS: Final = 3
CARRIED: Final = 3
"""Mutants of each published protocol by itself, and behind the header of another one."""
ROWS_DRAWN: Final = 300
ROWS_REAL: Final = 800
ROWS_MUTANT: Final = 400
LEARN_FROM: Final = 150
"""Messages of a published protocol that are learnt from at once."""
WINDOWS: Final = 2
"""Stretches of its traffic that are learnt from besides; a capture is seldom so mixed."""
LEAST_WINDOW: Final = 40
JUDGED: Final = 120
"""Messages of each protocol that is left out."""
MOST_WORKERS: Final = 8

FIRST_RECIPE: Final = Recipe(200, 31, 0.1)
SECOND_RECIPE: Final = Recipe(160, 31, 0.08, 40)
THIRD_RECIPE: Final = Recipe(30, 16, 0.12, 30)
OWN_RECIPE: Final = Recipe(60, 31, 0.1, 5)
PUBLISHED: Final = pathlib.Path("../shared/data/discovery")

Told = Callable[[str], None]
Parts = dict[str, dict[str, Array]]


class Taught(msgspec.Struct, frozen=True):
    """What never sees a published protocol, and rows of all that is learnt from besides.

    `published` is what is asked of protocols that are known again, never of one that is left out.
    """

    teacher: Teacher
    rows: tuple[Rows, ...]
    published: dict[str, Array]


def packed(parts: dict[str, Array]) -> bytes:
    """Write arrays as a compressed .npz."""
    out = io.BytesIO()
    arrays: dict[str, Any] = parts
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def lessons(known: Sequence[Lesson], seeds: Iterable[int]) -> Iterator[tuple[Lesson, int]]:
    """Give what the second and third scorer learn from, and how many gaps of each."""
    for index, lesson in enumerate(known):
        yield from ((each, ROWS_REAL) for each in pieces(lesson, index))
        others = [one for one in known if one is not lesson]
        rng = np.random.default_rng([19, index])
        picked = [others[int(k)] for k in rng.permutation(len(others))[:CARRIED]]
        made = [
            *changed(lesson, range(100 * index, 100 * index + MUTANTS)),
            *(carried(lesson, one, 100 * index + 50 + n) for n, one in enumerate(picked)),
        ]
        yield from ((each, ROWS_MUTANT) for each in made if len(each.messages) >= MIN_MESSAGES)
    yield from ((each, ROWS_DRAWN) for each in drawn(seeds) if len(each.messages) >= MIN_MESSAGES)


def pieces(lesson: Lesson, seed: int) -> Iterator[Lesson]:
    """Give messages of a published protocol as captures hold them: mixed, and as they came."""
    total = len(lesson.messages)
    rng = np.random.default_rng([31, seed])
    yield sampled(lesson, LEARN_FROM)
    for _ in range(WINDOWS):
        size = min(total, int(rng.integers(LEAST_WINDOW, LEARN_FROM + 1)))
        first = int(rng.integers(total - size + 1))
        yield stretch(lesson, range(first, first + size))


def studied(known: Sequence[Lesson], told: Told, spread: Spread) -> Taught:
    """Train what never sees a published protocol, and describe all that is learnt from besides."""
    order = order_scorer(ORDER_SEEDS, spread)
    told("byte order: done")
    # Keys are learnt from drawn grammars alone, so that no model sees the types of a real protocol.
    rows = [row for row in spread(_key_rows, KEY_SEEDS) if row is not None]
    keys = key_scorer(rows)
    told(f"keys of message types: {len(rows)} drawn grammars")
    first = first_scorer(FirstRows(order, keys), FIRST_SEEDS, FIRST_RECIPE, spread)
    told(f"boundaries: {len(FIRST_SEEDS)} drawn grammars")
    teacher = Teacher(order, keys, first)
    out: list[Rows] = []
    for row in spread(teacher, lessons(known, SECOND_SEEDS)):
        out.append(row)
        told(f"studied {row.name}")
    again = known_again(known)
    published = beginnings_of(again, drawn(BEGINNING_SEEDS))
    for lesson, trees in zip(again, spread(Own(teacher, OWN_RECIPE), again), strict=True):
        published |= trees
        told(f"known again: {lesson.name}")
    return Taught(teacher, tuple(out), published)


def _key_rows(seed: int) -> KeyRows | None:
    return next(drawn_rows([seed]), None)


class Fold(msgspec.Struct, frozen=True):
    """Trains models without a group of protocols and judges them by it."""

    taught: Taught
    known: tuple[Lesson, ...]

    def __call__(self, group: Collection[str]) -> tuple[Parts, list[tuple[str, folds.Figures]]]:
        """Give the arrays of every model by its name, and the figures of each of the group."""
        parts = scorers(self.taught, group)
        models = Models(*(Trees(parts[name]) for name in NAMES))
        here = [lesson for lesson in self.known if lesson.name in group]
        return parts, [(lesson.name, judged(lesson, models)) for lesson in here]


def scorers(taught: Taught, left_out: Collection[str]) -> Parts:
    """Train all that is left to train, without some protocols; make sure of it."""
    rows = without(taught.rows, left_out)
    parts = {
        "order": taught.teacher.order,
        "keys": taught.teacher.keys,
        "boundary": taught.teacher.first,
        "context": second_scorer(rows, SECOND_RECIPE),
        "meaning": third_scorer(rows, THIRD_RECIPE),
        "published": taught.published,
    }
    seen = {str(name) for each in ("context", "meaning") for name in parts[each]["learnt"]}
    if seen & set(left_out):
        raise InputError(
            "discover.leak",
            "A model has learnt from what it is judged by.",
            "Report this: training is wrong.",
        )
    return parts


class _Still:
    """A clock that stands still: nothing is cut short while models are judged."""

    def now(self) -> Now:
        """Give the beginning of time."""
        return Now(0, 0)

    def boot_id(self) -> str:
        """Name no boot."""
        return ""


def judged(lesson: Lesson, models: Models, most: int = JUDGED) -> folds.Figures:
    """Judge models by the first messages of a protocol."""

    def find(messages: Sequence[Message]) -> tuple[list[Fields], Sequence[object]]:
        found = discover(messages, Limits(), _Still(), lambda _phase, _share: None, models)
        fields = [tuple((f.offset, f.length, f.sem) for f in each) for each in found.fields]
        return fields, found.types

    return folds.judged(lesson.messages[:most], lesson.fields[:most], lesson.types[:most], find)


def train(out: str) -> int:
    """Train the models and write them to a folder; gives the exit code of the command.

    Real protocols are read from `../shared/data/discovery`; where that is absent, drawn grammars
    have to do.
    """
    folder = pathlib.Path(out or "models")
    folder.mkdir(parents=True, exist_ok=True)
    known = tuple(published(PUBLISHED))
    if not known:
        sys.stderr.write(f"{PUBLISHED} is absent: learning from drawn grammars alone.\n")
    workers = min(MOST_WORKERS, os.cpu_count() or 1)
    # Processes of their own, not copies of this one: what trains keeps threads that copies lack.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context) as pool:
        taught = studied(known, print_line, pool.map)
        groups = [group for group in folds.GROUPS if any(one.name in group for one in known)]
        results = pool.map(Fold(taught, known), [(), *groups])
        write(folder, next(results)[0], print_line)
        print_line(folds.HEAD)
        every: list[folds.Figures] = []
        for _, figures in results:
            for name, each in figures:
                every.append(each)
                print_line(folds.line(name, [each]))
        if every:
            print_line(folds.line("mean", every))
    return 0


def write(folder: pathlib.Path, parts: Parts, told: Told) -> None:
    """Write the models, and say of each whether it is the one that is shipped."""
    for name in FILES:
        data = packed(parts[name])
        (folder / f"{name}.npz").write_bytes(data)
        told(compared(f"{name}.npz", data, SHA256[name]))


def print_line(text: str) -> None:
    """Tell the user."""
    sys.stderr.write(f"{text}\n")
