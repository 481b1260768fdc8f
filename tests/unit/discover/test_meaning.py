"""What is counted of a field."""

import numpy as np

from cronos.discover.evidence import Corpus
from cronos.discover.meaning import fields
from cronos.discover.messages import Message


def described(payload, starts, ts=0.0):
    corpus = Corpus([Message(payload, ts=ts)])
    return dict(fields(corpus, np.zeros(1, dtype=int), np.array(starts)))


def test_a_field_knows_its_neighbours():
    found = described(b"\3abc\0\0", [0, 1, 4])

    assert found["length"].tolist() == [1, 3, 2]
    assert found["length+1"].tolist() == [3, 2, 0]
    assert found["be_next"][0] == 0
    assert found["own_texts"].tolist() == [0, 1, 0]


def test_a_time_near_the_capture_is_seen_in_its_forms():
    now = 1_700_000_000
    for data, name in (
        (now.to_bytes(4, "big"), "be_time"),
        (now.to_bytes(4, "little"), "le_time"),
        ((now * 1000).to_bytes(8, "big"), "be_time"),
    ):
        assert described(data, [0], ts=now + 5.0)[name][0] < 0.1
        assert described(data, [0], ts=now + 1e9)[name][0] > 3


def test_floats_have_a_magnitude():
    found = described(np.array([20.5], dtype=">f4").tobytes() + b"\xff\xff\xff\xff", [0, 4])

    assert abs(found["be_float"][0] - np.log10(20.5)) < 1e-6
    assert found["be_float"][1] == 99.0
