"""What a discovery is carried out by."""

import random
import struct

from tests.unit.discover.pump import GRAMMAR, reading

from cronos.discover import ir
from cronos.discover.learned import Verdict
from cronos.discover.messages import Message, Service
from cronos.discover.model import Limits, Sem
from cronos.discover.parts import parts_of
from cronos.discover.phases import Teller, learn
from cronos.runtime.world import SystemClock

MESSAGES = tuple(
    Message(struct.pack(">HH", n * 7, len(body)) + body, "1", "c2s", float(n))
    for n in range(200)
    for body in [bytes((n * 31 % 256,)) * (n * 13 % 40)]
)


def learned(messages, **profiles):
    service = Service("tcp/1", tuple(messages), tuple(range(len(messages))))
    quiet = Teller(lambda _: None, lambda _: None)
    return learn(service, Limits(), SystemClock(), parts_of(profiles), quiet)


def test_what_a_known_profile_takes_is_not_learnt_again():
    found = learned([Message(reading(float(n))) for n in range(50)], pump=ir.encode(GRAMMAR))

    assert (found.verdict, found.profile) == (Verdict.KNOWN, "pump")
    assert found.discovery is None
    assert "100%" in found.why


def test_what_is_random_is_said_to_be_and_not_learnt():
    rng = random.Random(1)
    found = learned([Message(rng.randbytes(rng.randint(60, 300))) for _ in range(100)])

    assert found.verdict is Verdict.ENCRYPTED
    assert found.discovery is None
    assert found.why


def test_what_no_profile_takes_is_learnt():
    found = learned(MESSAGES, pump=ir.encode(GRAMMAR))

    assert found.verdict is Verdict.UNKNOWN
    assert len(found.discovery.fields) == 200
    ends = [{(f.offset, f.length): f.sem for f in of} for of in found.discovery.fields]
    assert sum(one.get((2, 2)) is Sem.LENGTH for one in ends) > 190


def test_a_grammar_is_inferred_named_and_proved():
    found = learned(MESSAGES)

    assert found.validation.passed
    assert found.validation.held_back == 66
    names = set(ir.leaves(ir.decode(found.grammar)))
    assert names & {"remaining_length", "sequence_number", "counter"} or any(
        name.endswith("_length") for name in names
    )
