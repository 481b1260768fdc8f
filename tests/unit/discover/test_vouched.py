"""Claims as evidence about bytes."""

import numpy as np

from cronos.discover.detectors import registry
from cronos.discover.evidence import Corpus
from cronos.discover.messages import Message
from cronos.discover.model import Claim, Sem
from cronos.discover.vouched import (
    LEAST,
    TYPE_ALARM,
    all_claims,
    chosen,
    claimed_order,
    claims_of_types,
    marks,
)

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


def two_kinds(count=30):
    """Messages with a length, and as many of another type without one."""
    rng = np.random.default_rng(8)
    out = []
    for _ in range(count):
        size = int(rng.integers(2, 40))
        out += [
            Message(b"\x01" + size.to_bytes(2, "big") + rng.bytes(size)),
            Message(b"\x02" + rng.bytes(int(rng.integers(3, 40)))),
        ]
    return out, [0, 1] * count


def never():
    return False


def test_what_holds_of_one_type_alone_is_found_by_asking_about_it():
    messages, types = two_kinds()
    assert not any(claim.kind.startswith("length") for claim in all_claims(messages))

    found = list(claims_of_types(messages, types, [], never))
    alone = [claim for claim in registry.claims(messages[::2]) if claim.kind == "length.rest"]
    told = [claim for claim in found if claim.kind == "length.rest"]

    assert told[0].spans == tuple(x for span in alone[0].spans for x in (span, None))
    assert told[0].alarm == 2 * alone[0].alarm <= TYPE_ALARM
    assert told[0].support == alone[0].support / 2


def test_a_type_is_not_asked_about_where_it_is_all_or_small_or_there_is_no_time():
    messages, types = two_kinds()
    few = [0] * (LEAST - 1) + [1] * (LEAST - 1)

    assert list(claims_of_types(messages[::2], types[::2], [], never)) == []
    assert list(claims_of_types(messages[: len(few)], few, [], never)) == []
    assert list(claims_of_types(messages, types, [], lambda: True)) == []
    assert list(claims_of_types([], [], [], never)) == []


def test_what_is_known_of_all_messages_is_not_contradicted_of_a_type():
    messages, types = two_kinds()
    known = Claim("checksum.sum8", Sem.CHECKSUM, ((2, 1), *[None] * 59), 1.0, 1e-9)

    assert [c.kind for c in claims_of_types(messages, types, [known], never)] == []
