"""From beliefs to fields."""

import numpy as np

from cronos.discover.decode import LONGEST, boundaries, spans
from cronos.discover.evidence import Corpus
from cronos.discover.messages import Message
from cronos.discover.model import Claim, Sem

EVEN = np.full(LONGEST + 1, 1 / (LONGEST + 1))
TWOS = np.where(np.arange(LONGEST + 1) == 1, 0.9, 0.1 / LONGEST)


def cut(payload, belief, claims=(), lengths=EVEN):
    c = Corpus([Message(payload)])
    return np.flatnonzero(boundaries(c, np.array(belief), claims, lengths)).tolist()


def test_sure_beliefs_become_boundaries():
    assert cut(bytes(6), [1, 0.01, 0.99, 0.01, 0.01, 0.99]) == [0, 2, 5]


def test_doubt_is_settled_by_usual_lengths():
    assert cut(bytes(6), [1, 0.3, 0.5, 0.3, 0.5, 0.3], lengths=TWOS) == [0, 2, 4]


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


def test_long_messages_are_cut_too():
    belief = np.full(5_000, 0.01)
    belief[[0, 4_000]] = 0.99

    assert cut(bytes(5_000), belief) == [0, 4_000]


def test_fields_longer_than_the_table_of_lengths_are_possible():
    belief = np.full(200, 0.01)
    belief[[0, 150]] = 0.99

    assert cut(bytes(200), belief) == [0, 150]


def test_fields_tile_the_messages():
    c = Corpus([Message(b"abc"), Message(b"de")])
    starts, sizes = spans(c, np.array([True, False, True, True, False]))

    assert starts.tolist() == [0, 2, 3]
    assert sizes.tolist() == [2, 1, 2]
