"""Claims as evidence about bytes."""

from cronos.discover.detectors import registry
from cronos.discover.evidence import Corpus
from cronos.discover.messages import Message
from cronos.discover.model import Claim, Sem
from cronos.discover.vouched import all_claims, chosen, claimed_order, marks

LENGTH = Claim("length.rest", Sem.LENGTH, ((1, 2), None), 0.5, 1e-9, {"endian": "le"})
OTHER = Claim("length.rest", Sem.LENGTH, ((2, 1), None), 0.5, 1e-9, {"endian": "be"})
COUNTER = Claim("counter", Sem.ID_SEQ, ((4, 1), (0, 1)), 1.0, 1e-9)


def test_of_claims_that_overlap_the_earlier_is_chosen():
    assert chosen([LENGTH, OTHER, COUNTER]) == [0, 2]


def test_claims_mark_where_their_fields_begin_go_on_and_have_ended():
    corpus = Corpus([Message(bytes(5)), Message(bytes(3))])
    found = marks(corpus, [LENGTH, OTHER, COUNTER])

    assert found["length"].tolist() == [0, 1, 2, 3, 0, 0, 0, 0]
    assert found["counter"].tolist() == [0, 0, 0, 0, 1, 1, 3, 0]


def test_spans_outside_of_a_message_are_passed_over():
    corpus = Corpus([Message(bytes(2)), Message(bytes(3))])

    assert marks(corpus, [LENGTH])["length"].tolist() == [0] * 5


def test_chosen_claims_vote_on_the_byte_order():
    assert claimed_order([LENGTH, OTHER]) == -1
    assert claimed_order([COUNTER]) == 0


def counted(*numbers):
    return [Message(bytes((7, n)) + bytes((n * 37 % 251,)) * n) for n in numbers]


def test_detectors_are_asked():
    claims = all_claims(counted(*range(60)))

    assert any(claim.kind.startswith("length") for claim in claims)


def test_detectors_are_asked_once_of_the_same_messages_and_anew_of_others(monkeypatch):
    asked = []

    def claims(messages):
        asked.append(messages)
        return [LENGTH]

    monkeypatch.setattr(registry, "claims", claims)
    one, other = counted(1, 2, 203), counted(1, 2, 204)
    found = all_claims(one)
    found.clear()

    assert all_claims(list(one)) == [LENGTH]
    assert len(asked) == 1
    assert all_claims(other) == all_claims(other[:2]) == [LENGTH]
    assert [len(messages) for messages in asked] == [3, 3, 2]
