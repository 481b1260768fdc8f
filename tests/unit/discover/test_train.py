"""Training: what is learnt from, and that what is left out stays out."""

import gzip
import json

import pytest

from cronos.discover.boosting import Recipe
from cronos.discover.model import Sem
from cronos.discover.scorer import Trees, read
from cronos.discover.synthetic import line, samples
from cronos.discover.train import (
    Teacher,
    drawn,
    figures,
    first_scorer,
    lessons,
    meaning_of,
    order_scorer,
    packed,
    published,
    without,
)
from cronos.discover.types_train import drawn_rows, key_scorer

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
        "fields": [{"offset": 0, "length": 2, "sem": "length", "name": "n", "type": "uint16"}],
    }
    with gzip.open(tmp_path / "mine.jsonl.gz", "wt") as file:
        file.write(json.dumps(row) + "\n")
    (lesson,) = published(tmp_path)

    assert (lesson.name, lesson.real) == ("mine", True)
    assert lesson.fields == (((0, 2, Sem.LENGTH),),)


def taught():
    """Give a teacher that learnt from a few drawn grammars."""
    order = order_scorer(range(6_000, 6_040))
    keys = key_scorer(list(drawn_rows(range(3_000, 3_003))), Recipe(3, 4))
    seeds = range(1_004, 1_010)
    first = first_scorer(seeds, Trees(order), Trees(keys), Recipe(3, 4), lambda _: None)
    return Teacher(order, keys, first)


def test_a_model_tells_what_it_learnt_from_and_what_is_left_out_is_not_among_it():
    teacher = taught()
    rows = [teacher.rows(lesson, 60) for lesson in drawn(range(1_003, 1_009))]
    real = [
        type(row)(**{**_fields(row), "name": f"p{i}", "real": True}) for i, row in enumerate(rows)
    ]
    second = teacher.second_scorer(without(real, {"p1"}), Recipe(3, 4))
    third = teacher.third_scorer(without(real, {"p1"}), Recipe(2, 4))

    assert second["learnt"].tolist() == third["learnt"].tolist() == ["p0", "p2", "p3", "p4", "p5"]
    assert abs(second["lengths"].sum() - 1) < 1e-6
    assert Trees(read(packed(second))).names


def write_open_data(folder, names):
    """Write drawn grammars as if they were published under these names."""
    for seed, name in enumerate(names, 2_002):
        with gzip.open(folder / f"{name}.jsonl.gz", "wt") as file:
            file.writelines(json.dumps(line(sample)) + "\n" for sample in samples(seed, 40))


def test_mutants_go_by_the_name_of_what_they_were_made_of(tmp_path):
    write_open_data(tmp_path, ("dns", "icmp"))

    made = [lesson for lesson, _ in lessons(tmp_path, ())]

    assert {lesson.name for lesson in made} == {"dns", "icmp"}
    assert len(made) > 2
    assert all(lesson.real for lesson in made)


def test_groups_left_out_are_judged_and_told(tmp_path, monkeypatch):
    monkeypatch.setattr("cronos.discover.train.SECOND_RECIPE", Recipe(3, 4))
    monkeypatch.setattr("cronos.discover.train.THIRD_RECIPE", Recipe(2, 4))
    write_open_data(tmp_path, ("dns", "icmp"))
    teacher, told = taught(), []
    rows = [teacher.rows(lesson, 60) for lesson, _ in lessons(tmp_path, (1_003,))]

    figures(tmp_path, teacher, rows, told.append)

    table = [row.split("|")[1].strip() for row in told[-3:]]
    assert table == ["dns", "icmp", "mean"]


def _fields(row):
    return {name: getattr(row, name) for name in type(row).__struct_fields__}
