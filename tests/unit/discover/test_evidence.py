"""What can be counted about bytes."""

import numpy as np

from cronos.discover.evidence import (
    Corpus,
    branching,
    changes,
    dependence,
    entropies,
    previous,
    runs,
)
from cronos.discover.messages import Message


def corpus(*payloads):
    return Corpus([Message(bytes(p), "1", "c2s") for p in payloads])


def test_every_byte_knows_its_message_and_its_place():
    c = corpus(b"abc", b"", b"de")

    assert c.of.tolist() == [0, 0, 0, 2, 2]
    assert c.offset.tolist() == [0, 1, 2, 0, 1]
    assert c.left.tolist() == [3, 2, 1, 2, 1]
    assert c.gaps().tolist() == [1, 2, 4]


def test_neighbours_do_not_reach_into_other_messages():
    c = corpus(b"ab", b"cd")

    assert c.near(c.data.astype(int), 1, -1).tolist() == [98, -1, 100, -1]
    assert c.near(c.data.astype(int), -1, -1).tolist() == [-1, 97, -1, 99]
    assert c.near(c.data.astype(int), 9, -1).tolist() == [-1] * 4


def test_a_fair_coin_has_a_bit_and_a_constant_none():
    columns = np.repeat([0, 1], 1000)
    values = np.concatenate((np.arange(1000) % 2, np.zeros(1000, dtype=int)))
    bits, size, kinds, largest = entropies(columns, values, 256)

    assert abs(bits[0] - 1) < 0.01
    assert abs(bits[-1]) < 1e-9
    assert (size[0], kinds[0], largest[0], kinds[-1], largest[-1]) == (1000, 2, 0.5, 1, 1.0)


def test_runs_end_with_their_message():
    c = corpus(b"\1\1\0", b"\1\1")
    ending, beginning = runs(c, c.data == 1)

    assert ending.tolist() == [1, 2, 0, 1, 2]
    assert beginning.tolist() == [2, 1, 0, 2, 1]


def test_what_always_follows_has_no_branches():
    c = corpus(*[b"ab" + bytes((n,)) for n in range(100)])
    bits, seen = branching(c, 1, forward=True)

    assert bits[1] < 0.01
    assert bits[2] > 5
    assert seen[1] == 100
    assert bits[0] == -1


def test_columns_that_move_together_depend():
    rng = np.random.default_rng(1)
    c = corpus(*[bytes((v, v ^ 7, w)) for v, w in rng.integers(0, 8, (400, 2)).tolist()])
    near = dependence(c, c.front(np.zeros(400, dtype=int)), 1)

    assert near[0] > 0.9
    assert near[1] < 0.2
    assert near[2] == -1


def test_a_change_is_told_against_the_message_before_in_the_same_flow_and_direction():
    messages = [Message(b"\5", "1", "c2s"), Message(b"\1", "1", "s2c"), Message(b"\7", "1", "c2s")]
    c = Corpus(messages)

    assert previous(c).tolist() == [-1, -1, 0]
    assert changes(c, previous(c)).tolist() == [-1, -1, 2]
