"""What messages share, said of each byte."""

import numpy as np
from tests.unit.discover.drafts import discovery_of, draft, requests

from cronos.discover.structure import BEGINS, WITHIN, shared


def said(samples, work=100_000):
    out = shared(discovery_of(samples), work)
    sizes = np.cumsum([len(one.data) for one in samples])
    assert len(out) == sizes[-1]
    return np.split(out, sizes[:-1])


def test_a_message_that_was_cut_otherwise_than_its_like_is_told_what_they_share():
    samples = [one for one in requests(240) if one.type == 1]
    odd = samples[4]
    fields = ((0, 3, "value"), (3, 1, "value"), (4, 3, "value"), (7, len(odd.data) - 7, "value"))
    cut = draft(*((odd.data[at : at + size], sem) for at, size, sem in fields), kind=1)
    heard = said([*samples[:4], cut, *samples[5:]])

    for one in heard:
        assert np.flatnonzero(one == BEGINS).tolist() == [0, 2, 4, 6, 7, 9]
        assert np.flatnonzero(one == WITHIN).tolist() == [1, 3, 5, 8, 10]


def test_within_data_of_any_length_nothing_is_said():
    heard = said(requests(240))
    texts = [one for one, sample in zip(heard, requests(240), strict=True) if sample.type == 2]

    assert all(one[7] == BEGINS for one in texts)
    assert all(0 in one[8:] or len(one) == 13 for one in texts)


def test_nothing_is_said_of_messages_without_bytes_nor_where_there_is_too_little_work():
    assert len(shared(discovery_of([draft(), draft(), draft()]))) == 0
    held_back = [draft(), draft(), draft((b"abc", "value"))]
    assert said(held_back)[2].tolist() == [0, 0, 0]
    assert {*np.concatenate(said(requests(60), work=1)).tolist()} <= {BEGINS, WITHIN, 0}
