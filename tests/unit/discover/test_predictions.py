"""A line for every message."""

import msgspec
from tests.unit.discover import plain

from cronos.discover import ir
from cronos.discover.learned import Learned, Verdict
from cronos.discover.messages import Message, Service
from cronos.discover.model import Limits
from cronos.discover.phases import Teller, learn
from cronos.discover.predictions import predictions
from cronos.discover.statistics import summarise
from cronos.testing.clock import VirtualClock

MESSAGES = tuple(Message(bytes((1 + n % 2, n, n))) for n in range(40))
SERVICE = Service("tcp/1", MESSAGES, tuple(range(100, 140)))


def learned_of(**limits):
    quiet = Teller(lambda _: None, lambda _: None)
    return learn(SERVICE, Limits(**limits), VirtualClock(), plain.PARTS, quiet)


def test_a_line_has_the_form_that_is_promised():
    first = next(predictions(SERVICE, learned_of()))

    assert msgspec.json.decode(msgspec.json.encode(first)) == {
        "i": 100,
        "fields": [
            {"offset": 0, "length": 1, "sem": "enum_flags", "confidence": 0.9},
            {"offset": 1, "length": 2, "sem": "bytes", "confidence": 0.4},
        ],
        "message_type": 1,
    }


def test_every_message_has_a_line_and_what_was_not_learnt_from_is_parsed():
    lines = list(predictions(SERVICE, learned_of(max_messages=10)))

    assert [line.i for line in lines] == list(range(100, 140))
    assert all([(f.offset, f.length) for f in line.fields] == [(0, 1), (1, 2)] for line in lines)
    assert {line.message_type for line in lines[::4]} <= {1, 2, 7}
    assert lines[1].message_type == 7


def test_without_a_grammar_nothing_is_said_of_the_rest():
    learned = msgspec.structs.replace(learned_of(max_messages=10), grammar=b"")
    lines = list(predictions(SERVICE, learned))

    assert len(lines) == 40
    assert [len(line.fields) for line in lines[:5]] == [2, 0, 0, 0, 2]
    assert lines[1].message_type == -1


def test_what_is_encrypted_has_lines_without_fields():
    learned = Learned("tcp/1", Verdict.ENCRYPTED, summarise(MESSAGES))

    assert all(line.fields == () for line in predictions(SERVICE, learned))


def test_a_known_profile_parses_everything():
    grammar = ir.encode(plain.GRAMMAR)
    learned = Learned("tcp/1", Verdict.KNOWN, summarise(MESSAGES), grammar=grammar)

    assert all(len(line.fields) == 2 for line in predictions(SERVICE, learned))


def test_messages_of_no_numbered_input_are_numbered_from_nought():
    service = msgspec.structs.replace(SERVICE, numbers=())

    assert [line.i for line in predictions(service, learned_of())] == list(range(40))
