"""What the process of an executor answers, call by call."""

import msgspec
import pytest
from tests.unit.respond.stage import WorldExecutor, deny

from cronos.respond.child import Call, Reply
from cronos.respond.childserving import answer
from cronos.types import MAX_FRAME_BYTES, Entity, EntityKind, Outcome, Plan, decode, encode

ONE = deny("192.0.2.1")


def asked(executor, verb, *items, call_id=7):
    call = Call(call_id, verb, tuple(encode(item) for item in items))
    reply = msgspec.msgpack.decode(answer(executor, msgspec.msgpack.encode(call)), type=Reply)
    assert reply.call_id == call_id
    return reply


def test_each_verb_is_carried_out_and_answered_in_canonical_bytes():
    executor = WorldExecutor({})
    plan = decode(asked(executor, "plan", ONE).items[0])
    assert isinstance(plan, Plan)
    assert asked(executor, "verify", plan).seen == (False,)
    assert decode(asked(executor, "apply", plan).items[0]).ok
    assert asked(executor, "verify", plan).seen == (True,)
    assert asked(executor, "observe").names == (ONE.action_id,)
    assert isinstance(decode(asked(executor, "renew", plan).items[0]), Outcome)
    assert decode(asked(executor, "undo", plan).items[0]).ok
    assert asked(executor, "observe").names == ()


@pytest.mark.parametrize("verb", ["", "close", "__class__", "manifest", "world", "_called"])
def test_nothing_but_the_port_can_be_asked_for(verb):
    executor = WorldExecutor({})
    assert asked(executor, verb).code == "respond.child_fault"
    assert executor.calls == []


def test_another_kind_of_datum_is_not_handed_on():
    executor = WorldExecutor({})
    entity = Entity(EntityKind.ADDRESS, "192.0.2.1")
    assert asked(executor, "plan", entity).code
    assert asked(executor, "apply", ONE).code
    assert executor.calls == []


def test_an_answer_beyond_a_frame_becomes_an_error():
    executor = WorldExecutor({})
    executor.plan = lambda actions: [Plan(a, bytes(MAX_FRAME_BYTES), "", "") for a in actions]
    assert "more to say" in asked(executor, "plan", ONE).sentence
