"""What scorers learn from: published protocols and their mutants, drawn grammars, and noise."""

import gzip
import json
import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec
import numpy as np

from cronos.discover.evidence import Array
from cronos.discover.messages import Message
from cronos.discover.model import Sem
from cronos.discover.mutants import Known, mutant
from cronos.discover.synthetic import samples
from cronos.discover.synthetic_draw import draw
from cronos.discover.synthetic_house import house

SIZES: Final = (40, 80, 120, 160)
NOISE_EVERY: Final = 12
BOTH: Final = "+"
"""Stands between the names of two protocols that a lesson was made of."""
WEIGHT: Final = 2.5
"""What each lesson of a published protocol counts; there are a few of each."""
HOUSES: Final = 0.7
"""Share of the drawn grammars that have a house style; the others are drawn field by field."""


class Lesson(msgspec.Struct, frozen=True):
    """Messages whose fields are known, as (offset, length, meaning) that tile each message."""

    name: str
    messages: tuple[Message, ...]
    fields: tuple[tuple[tuple[int, int, Sem], ...], ...]
    real: bool = False
    weight: float = 1.0
    names: tuple[tuple[tuple[str, str], ...], ...] = ()
    """Name and type of each field, where a published truth has them."""
    types: tuple[str, ...] = ()
    """The type of each message, likewise."""


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
            weight=WEIGHT,
            names=tuple(
                tuple((str(f.get("name")), str(f.get("type"))) for f in r["fields"]) for r in rows
            ),
            types=tuple(str(r.get("message_type")) for r in rows),
        )


def changed(lesson: Lesson, seeds: Iterable[int]) -> Iterator[Lesson]:
    """Give mutants of a published protocol, under its name: what leaves it out leaves them out."""
    for seed in seeds:
        messages, truth = mutant(known(lesson), seed)
        yield Lesson(lesson.name, messages, truth, lesson.real, 1.5 if lesson.real else 1.0)


def carried(lesson: Lesson, carrier: Lesson, seed: int) -> Lesson:
    """Give a mutant behind the header of another protocol, under both names."""
    messages, truth = mutant(known(lesson), seed, known(carrier))
    return Lesson(f"{lesson.name}{BOTH}{carrier.name}", messages, truth, True, 1.5)


def known(lesson: Lesson) -> Known:
    """Give what a mutant is made of."""
    return Known(lesson.messages, lesson.fields, lesson.names)


def drawn(seeds: Iterable[int]) -> Iterator[Lesson]:
    """Draw grammars and what is spoken by them; now and then noise, which has no fields at all."""
    for seed in seeds:
        rng = np.random.default_rng([7, seed])
        if seed % NOISE_EVERY < 2:
            yield noise(seed, rng)
            continue
        plan = house if rng.random() < HOUSES else draw
        once = {s.payload: s for s in samples(seed, int(rng.choice(SIZES)), plan)}
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


def some(values: Array, most: int, seed: int) -> Array:
    """Give at most so many of the values, in their order; the same seed, the same ones."""
    chosen = np.random.default_rng([11, seed]).permutation(len(values))[:most]
    return values[np.sort(chosen)]


def sampled(lesson: Lesson, most: int) -> Lesson:
    """Give some messages of a lesson, the same in every run."""
    chosen: list[int] = some(np.arange(len(lesson.messages)), most, 0).tolist()
    return stretch(lesson, chosen)


def stretch(lesson: Lesson, chosen: Sequence[int]) -> Lesson:
    """Give these messages of a lesson."""
    return msgspec.structs.replace(
        lesson,
        messages=tuple(lesson.messages[i] for i in chosen),
        fields=tuple(lesson.fields[i] for i in chosen),
        names=tuple(lesson.names[i] for i in chosen),
        types=tuple(lesson.types[i] for i in chosen),
    )


def names_of(lesson: str) -> set[str]:
    """Give the protocols that a lesson of this name was made of."""
    return set(lesson.split(BOTH))
