"""Regions: chains of labels, edges, and how the bytes between them lean."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cronos.discover.evidence import Corpus
from cronos.discover.messages import Message
from cronos.discover.model import Claim, Sem
from cronos.discover.regions import edges, labels, regions

NAME = b"\x03www\x07example\x03com\0"


def corpus(*payloads):
    return Corpus([Message(payload) for payload in payloads])


def test_a_chain_of_labels_is_marked_with_its_lengths_and_its_end():
    role = labels(corpus(b"\0\1" + NAME + b"\0\1"))

    assert role[:3].tolist() == [0, 0, 1]
    assert np.flatnonzero(role == 2).tolist() == [6, 14]
    assert np.flatnonzero(role == 4).tolist() == [18]
    assert role[19] == 5


def test_a_reference_back_ends_a_chain():
    role = labels(corpus(b"\x04mail\xc0\x0c\0\1"))

    assert role.tolist() == [1, 3, 3, 3, 3, 4, 4, 5, 0]


def test_what_does_not_end_is_no_chain():
    assert not labels(corpus(b"\x03www\x07exam", b"\x01a\0", b"")).any()


def test_claims_and_texts_have_edges():
    c = corpus(b"\0\5hello\0\0\1\2")
    claim = Claim("length.inner", Sem.LENGTH, ((0, 2),), 1.0, 1e-6)

    assert np.flatnonzero(edges(c, [claim], np.zeros(11, dtype=int))).tolist() == [0, 2, 7]


def test_numbers_lean_to_their_low_byte():
    rng = np.random.default_rng(3)
    big = [b"".join(b"\0" + rng.bytes(1) for _ in range(8)) for _ in range(40)]
    little = [payload[::-1] for payload in big]
    for payloads, sign in ((big, 1), (little, -1)):
        c = corpus(*payloads)
        sources = regions(c, np.zeros(40, dtype=int), [])
        found = {name: values for source in sources for name, values, _, _ in source}
        assert (np.sign(found["lean_bits0"]) == sign).all()


@given(st.lists(st.binary(max_size=40), max_size=5))
def test_any_bytes_have_regions(payloads):
    c = corpus(*payloads)
    for source in regions(c, np.zeros(len(payloads), dtype=int), []):
        for _, values, _, _ in source:
            assert len(values) == len(c.data)
            assert np.isfinite(values.astype(float)).all()
