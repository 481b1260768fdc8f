"""The columns of a set of messages, and the bounds that all detectors state."""

import math

import numpy as np

from cronos.discover.detectors.table import Found, Table, coincidence, fixed, overlap, tail
from cronos.discover.messages import Message
from cronos.discover.model import Sem


def test_numbers_are_read_at_every_offset_in_both_orders():
    table = Table([Message(b"\x01\x02\x03\x04"), Message(b"\xff\xfe")])

    assert table.numbers(0, 2, "be").tolist() == [0x0102, 0xFFFE]
    assert table.numbers(1, 2, "le").tolist() == [0x0302, 0x00FE]
    assert table.numbers(0, 4, "be").tolist() == [0x01020304, 0xFFFE0000]


def test_the_tail_bound_is_never_below_the_exact_tail():
    for trials, chance in ((10, 0.5), (40, 0.1), (7, 0.01)):
        for hits in range(trials + 1):
            exact = sum(
                math.comb(trials, k) * chance**k * (1 - chance) ** (trials - k)
                for k in range(hits, trials + 1)
            )
            assert tail(hits, trials, chance) >= exact * 0.999999


def test_coincidence_is_how_often_shuffled_columns_agree():
    rng = np.random.default_rng(1)
    left, right = rng.integers(0, 4, 4000), rng.integers(2, 8, 4000)

    shuffled = np.mean([(rng.permutation(left) == right).mean() for _ in range(20)])

    assert abs(coincidence(left, right) - shuffled) < 0.005


def test_a_finding_says_its_spans_where_it_holds_and_overlaps_are_seen():
    holds = np.array([True, False])
    found = Found("length.rest", Sem.LENGTH, fixed(2, 3), fixed(2, 2), holds, 1e-9, {"width": 2})
    beside = Found("counter", Sem.ID_SEQ, fixed(2, 5), fixed(2, 2), holds, 1e-9, {})
    across = Found("counter", Sem.ID_SEQ, fixed(2, 4), fixed(2, 2), holds, 1e-9, {})

    assert found.claim().spans == ((3, 2), None)
    assert found.claim().support == 0.5
    assert overlap(found, across)
    assert not overlap(found, beside)
