"""From beliefs to fields."""

import numpy as np

from cronos.discover.decode import KINDS, SWAY, boundaries, doubts, followers, spans, trusts, voted
from cronos.discover.evidence import Corpus
from cronos.discover.messages import Message
from cronos.discover.model import Claim, Sem

EVEN = np.ones((KINDS + 1, KINDS))
TWOS = np.where(np.arange(KINDS) == 1, 10.0, 0.1) * EVEN


def cut(payload, belief, claims=(), pairs=EVEN):
    c = Corpus([Message(payload)])
    return np.flatnonzero(boundaries(c, np.array(belief), claims, pairs)).tolist()


def test_sure_beliefs_become_boundaries():
    assert cut(bytes(6), [1, 0.01, 0.99, 0.01, 0.01, 0.99]) == [0, 2, 5]


def test_doubt_is_settled_by_usual_lengths():
    assert cut(bytes(6), [1, 0.3, 0.5, 0.3, 0.5, 0.3], pairs=TWOS) == [0, 2, 4]


def test_what_a_detector_vouches_for_overrules_beliefs():
    claim = Claim("length.whole", Sem.LENGTH, ((1, 2),), 1.0, 1e-9)

    assert cut(bytes(6), [1, 0.01, 0.99, 0.01, 0.01, 0.01], [claim]) == [0, 1, 3]


def test_marks_that_are_a_grammar_cut_and_nothing_else_does():
    token = Claim("text.token", Sem.TEXT, ((0, 3),), 1.0, 1e-9, {"exact": 1})
    mark = Claim("text.delimiter", Sem.TEXT, ((3, 1),), 1.0, 1e-9, {"exact": 1})
    loose = Claim("text.token", Sem.TEXT, ((0, 3),), 1.0, 1e-9, {"exact": 0})
    belief = [1, 0.9, 0.9, 0.1, 0.1, 0.01]

    assert cut(b"abc|de", belief, [token, mark]) == [0, 3, 4]
    assert cut(b"abc|de", belief, [loose]) == [0, 1, 2]


def test_nothing_within_a_filler_is_cut_and_its_beginning_is_as_likely_as_it_was():
    ramp = Claim("ramp", Sem.BYTES, ((2, 4), None), 1.0, 1e-9)

    assert cut(bytes(8), [1, 0.01, 0.99, 0.9, 0.9, 0.9, 0.99, 0.01], [ramp]) == [0, 2, 6]
    assert cut(bytes(8), [1, 0.01, 0.01, 0.9, 0.9, 0.9, 0.01, 0.01], [ramp]) == [0]
    assert cut(bytes(5), [1, 0.01, 0.01, 0.9, 0.9], [ramp]) == [0]


def test_long_messages_are_cut_too():
    belief = np.full(5_000, 0.01)
    belief[[0, 4_000]] = 0.99

    assert cut(bytes(5_000), belief) == [0, 4_000]


def test_fields_longer_than_the_table_of_lengths_are_possible():
    belief = np.full(200, 0.01)
    belief[[0, 150]] = 0.99

    assert cut(bytes(200), belief) == [0, 150]


def test_boundaries_are_doubted_where_there_are_many_and_never_beyond_bounds():
    rare, usual, dense = (doubts(np.full(50, share)) for share in (0.15, 0.25, 0.35))

    assert rare < usual < dense
    assert doubts(np.full(50, 0.0)) == SWAY[0]
    assert doubts(np.full(50, 1.0)) == SWAY[1]
    assert SWAY[0] <= doubts(np.array([])) <= SWAY[1]


def test_fields_tile_the_messages():
    c = Corpus([Message(b"abc"), Message(b"de")])
    starts, sizes = spans(c, np.array([True, False, True, True, False]))

    assert starts.tolist() == [0, 2, 3]
    assert sizes.tolist() == [2, 1, 2]


def test_a_length_is_likelier_behind_some_than_behind_others():
    pairs = np.full((KINDS + 1, KINDS), 0.1)
    pairs[1, 1] = pairs[0, 0] = 10.0  # a field of two is followed by twos, one of one by ones
    doubt = [1, 0.3, 0.97, 0.3, 0.4, 0.3]

    assert cut(bytes(6), doubt, pairs=pairs) == [0, 2, 4]
    assert cut(bytes(6), [1, 0.97, 0.4, 0.4, 0.4, 0.4], pairs=pairs) == [0, 1, 2, 3, 4, 5]


def test_pairs_of_lengths_are_counted_with_the_beginning_apart():
    pairs = followers([[2, 2, 40], [2], []])

    assert pairs[KINDS, 1] == 2
    assert pairs[1, 1] == pairs[1, KINDS - 1] == 1
    assert pairs.sum() == 4


def test_many_messages_are_searched_in_turns_as_each_alone():
    rng = np.random.default_rng(2)
    payloads = [bytes(int(n)) for n in rng.integers(1, 300, 900)]
    c = Corpus([Message(p) for p in payloads])
    belief = rng.random(len(c.data))
    belief[c.offset == 0] = 1.0
    whole = boundaries(c, belief, (), TWOS)

    for number in (0, 450, 899):
        begin, end = c.starts[number], c.starts[number + 1]
        alone = boundaries(Corpus([Message(payloads[number])]), belief[begin:end], (), TWOS)
        assert alone.tolist() == whole[begin:end].tolist()


def test_a_column_that_is_agreed_on_carries_gaps_that_are_not_and_another_says_nothing():
    c = Corpus([Message(bytes(3))] * 12)
    belief = np.array([[1, 0.9, 0.5]] * 11 + [[1, 0.4, 0.6]]).reshape(-1)

    heard = voted(c, np.zeros(12, dtype=np.int64), belief).reshape(12, 3)

    assert (heard[:, 0] == 1).all()
    assert heard[11, 1] > 0.5
    assert heard[0, 1] > 0.9
    assert abs(heard[11, 2] - 0.6) < 0.01


def test_columns_of_another_type_are_not_heard():
    c = Corpus([Message(bytes(2))] * 12)
    belief = np.array([[1, 0.99]] * 6 + [[1, 0.2]] * 6).reshape(-1)

    heard = voted(c, np.repeat([0, 1], 6), belief).reshape(12, 2)

    assert (heard[:6, 1] > 0.99).all()
    assert (heard[6:, 1] < 0.2).all()


def test_a_field_is_as_likely_as_both_its_ends_and_no_boundary_within():
    c = Corpus([Message(bytes(4)), Message(bytes(2))])
    belief = np.array([1, 0.1, 0.8, 0.5, 1, 0.3])

    shares = trusts(c, belief, np.array([0, 2, 4, 5]), np.array([2, 2, 1, 1]))

    assert np.allclose(shares, [0.9 * 0.8, 0.8 * 0.5, 0.3, 0.3])
    assert np.allclose(trusts(c, belief, np.array([0]), np.array([4])), 0.9 * 0.2 * 0.5)


def test_a_private_address_is_cut_out_whole():
    claim = Claim("address.private", Sem.ADDRESS, ((1, 4),), 1.0, 1e-3)
    doubtful = [1, 0.2, 0.9, 0.9, 0.9, 0.2, 0.1]

    assert cut(bytes(7), doubtful, [claim]) == [0, 1, 5]
