"""What is learnt from: lessons tile, and mutants go by the names of what they were made of."""

import gzip
import json

from cronos.discover.lessons import (
    carried,
    changed,
    drawn,
    meaning_of,
    names_of,
    published,
    sampled,
)
from cronos.discover.model import Sem
from cronos.discover.synthetic import line, samples


def write_open_data(folder, names):
    """Write drawn grammars as if they were published under these names."""
    for seed, name in enumerate(names, 2_002):
        with gzip.open(folder / f"{name}.jsonl.gz", "wt") as file:
            file.writelines(json.dumps(line(sample)) + "\n" for sample in samples(seed, 40))


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
        "message_type": "a",
        "fields": [{"offset": 0, "length": 2, "sem": "length", "name": "n", "type": "uint16"}],
    }
    with gzip.open(tmp_path / "mine.jsonl.gz", "wt") as file:
        file.write(json.dumps(row) + "\n")
    (lesson,) = published(tmp_path)

    assert (lesson.name, lesson.real, lesson.types) == ("mine", True, ("a",))
    assert lesson.fields == (((0, 2, Sem.LENGTH),),)


def test_some_messages_of_a_lesson_are_the_same_in_every_run(tmp_path):
    write_open_data(tmp_path, ["one"])
    (lesson,) = published(tmp_path)

    assert sampled(lesson, 10) == sampled(lesson, 10)
    assert len(sampled(lesson, 10).types) == 10


def test_mutants_go_by_the_names_of_what_they_were_made_of(tmp_path):
    write_open_data(tmp_path, ["one", "two"])
    one, two = published(tmp_path)

    assert names_of(next(changed(one, [1])).name) == {"one"}
    assert names_of(carried(one, two, 1).name) == {"one", "two"}
