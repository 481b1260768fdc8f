"""Features by neighbourhood."""

import numpy as np
import pytest

from cronos.discover.evidence import Corpus
from cronos.discover.grids import grid, sources
from cronos.discover.messages import Message


def named(corpus):
    groups = np.zeros(len(corpus.messages), dtype=np.int64)
    return {name: values for source in sources(corpus, groups) for name, values, _, _ in source}


def test_a_grid_is_the_mean_of_what_stands_in_step():
    corpus = Corpus([Message(bytes([0, 9] * 8))])
    zero = (corpus.data == 0).astype(float)

    assert grid(corpus, zero, 2, 0)[6] == 1.0
    assert grid(corpus, zero, 2, 1)[6] == 0.0
    assert grid(Corpus([Message(b"a")]), np.ones(1), 4, 0).tolist() == [-1.0]


def test_what_an_answer_repeats_is_seen_in_its_column():
    messages = []
    for i in range(40):
        ask = bytes([i, 1, 2])
        messages += [Message(ask, "f", "c2s", i), Message(bytes([i, 9, 200 - i]), "f", "s2c", i)]

    echoed = named(Corpus(messages))["echoed"]

    assert echoed[0] > 0.45
    assert echoed[1] == pytest.approx(0.0)


def test_what_stays_in_a_flow_has_no_bits_there():
    messages = [Message(bytes([i % 4, i]), str(i % 4), "c2s", i) for i in range(40)]

    bits = named(Corpus(messages))["flow_bits"]

    assert bits[0] < 0.01
    assert bits[1] > 2


def test_any_messages_give_finite_numbers():
    for payloads in ([b""], [b"\0"], [b"", b"text", bytes(40)]):
        corpus = Corpus([Message(p) for p in payloads])
        for values in named(corpus).values():
            assert len(values) == len(corpus.data)
            assert np.isfinite(values).all()
