"""Training: what is learnt from, and that what is left out stays out."""

import gzip
import json

import pytest

from cronos.discover.boosting import Recipe
from cronos.discover.model import Sem
from cronos.discover.scorer import Trees, read
from cronos.discover.train import (
    Teacher,
    drawn,
    first_scorer,
    meaning_of,
    order_scorer,
    packed,
    published,
    without,
)

pytest.importorskip("sklearn", reason="scikit-learn is an extra: pip install 'cronos[train]'")


def test_meanings_that_are_not_told_apart_are_values_or_bytes():
    assert meaning_of("length") is Sem.LENGTH
    assert meaning_of("id") is Sem.VALUE
    assert meaning_of("unknown") is meaning_of(None) is Sem.BYTES


def test_lessons_are_drawn_with_fields_that_tile_and_noise_among_them():
    lessons = list(drawn(range(1_000, 1_014)))

    for lesson in lessons:
        for message, fields in zip(lesson.messages, lesson.fields, strict=True):
            assert sum(length for _, length, _ in fields) == len(message.payload)
    assert any(lesson.name.startswith("noise") for lesson in lessons)


def test_published_protocols_are_read_with_their_truth(tmp_path):
    row = {
        "payload_hex": "0102",
        "flow": 1,
        "direction": "c2s",
        "ts": 1.0,
        "fields": [{"offset": 0, "length": 2, "sem": "length"}],
    }
    with gzip.open(tmp_path / "mine.jsonl.gz", "wt") as file:
        file.write(json.dumps(row) + "\n")
    (lesson,) = published(tmp_path)

    assert (lesson.name, lesson.real) == ("mine", True)
    assert lesson.fields == (((0, 2, Sem.LENGTH),),)


def test_a_model_tells_what_it_learnt_from_and_what_is_left_out_is_not_among_it():
    order = Trees(order_scorer(range(6_000, 6_040)))
    first = first_scorer(range(1_004, 1_010), order, Recipe(3, 4), lambda _: None)
    teacher = Teacher(order, first)
    rows = [teacher.rows(lesson, 60) for lesson in drawn(range(1_003, 1_009))]
    real = [
        type(row)(**{**_fields(row), "name": f"p{i}", "real": True}) for i, row in enumerate(rows)
    ]
    second = teacher.second_scorer(without(real, {"p1"}), Recipe(3, 4))
    third = teacher.third_scorer(without(real, {"p1"}), Recipe(2, 4))

    assert second["learnt"].tolist() == third["learnt"].tolist() == ["p0", "p2", "p3", "p4", "p5"]
    assert abs(second["lengths"].sum() - 1) < 1e-6
    assert Trees(read(packed(second))).names


def _fields(row):
    return {name: getattr(row, name) for name in type(row).__struct_fields__}
