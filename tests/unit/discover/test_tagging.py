"""Tags say where fields begin and what they mean, and can be read back."""

import numpy as np
from tests.unit.discover.detectors.noise import messages

from cronos.discover.detectors.registry import claims
from cronos.discover.messages import Message
from cronos.discover.model import Sem
from cronos.discover.synthetic import samples
from cronos.discover.tagging import (
    FEATURES,
    MOST_BYTES,
    TAGS,
    begin,
    describe,
    fields_of,
    kinds,
    tags_of,
)  # fmt: skip


def test_tags_of_fields_are_read_back_as_the_same_fields():
    for seed in range(10):
        for sample in samples(seed, 10):
            fields = [(f.offset, f.length, Sem(f.sem)) for f in sample.fields]
            tags = tags_of(fields, len(sample.payload)).tolist()
            assert fields_of(tags) == fields


def test_what_no_field_covers_is_one_stretch_of_bytes():
    tags = tags_of([(2, 2, Sem.LENGTH)], 6).tolist()

    assert [TAGS[t] for t in tags] == ["O", "O", "B-length", "I-length", "O", "O"]
    assert fields_of(tags) == [(0, 2, Sem.BYTES), (2, 2, Sem.LENGTH), (4, 2, Sem.BYTES)]


def test_an_inside_without_its_begin_starts_a_field_all_the_same():
    text = begin(Sem.TEXT)

    assert fields_of([text + 1, text + 1, begin(Sem.VALUE) + 1]) == [
        (0, 2, Sem.TEXT), (2, 1, Sem.VALUE),
    ]  # fmt: skip


def test_every_byte_is_described_by_finite_numbers():
    got = messages(samples(3, 40))

    described = describe(got, claims(got))

    for message, row in zip(got, described, strict=True):
        assert row.data.tolist() == list(message.payload[:MOST_BYTES])
        assert row.features.shape == (len(row.data), FEATURES)
        assert np.isfinite(row.features).all()


def test_kinds_follow_the_byte_that_explains_most():
    rng = np.random.default_rng(1)
    given = [
        Message(rng.bytes(2) + bytes([n % 3]) + bytes([n % 3]) * 9 * (1 + n % 3)) for n in range(90)
    ]

    found = kinds(given)

    assert len(set(found.tolist())) == 3
    assert all(found[n] == found[n % 3] for n in range(90))


def test_short_and_empty_messages_are_described_too():
    assert [len(row.data) for row in describe([Message(b""), Message(b"\x01")], [])] == [0, 1]
