"""The key agent's calls, without sockets: what is answered, refused, and never told."""

import msgspec
import pytest
from tests.unit.crypto.held_keys import ADMIN_KEY, HeldKeysDouble

from cronos.crypto.agent import AgentSession, life_of, list_from, proof_of, raise_for
from cronos.crypto.signatures import ML_DSA_44, VerifyingKey
from cronos.errors import CronosError, DeniedError, InputError, UnreachableError
from cronos.types import MAX_FRAME_BYTES, KeyCall, KeyInfo, KeyReply, KeyState, encode


class Stage:
    """A session with a double of a keystore that holds the key `state.1`."""

    def __init__(self):
        self.keys = HeldKeysDouble("state")
        self.faults = []
        self.rotations = []
        self.session = self.connect()

    def connect(self):
        return AgentSession(self.keys, self.faults.append, lambda: self.rotations.append(1))

    def call(self, verb, key_id="", data=b"", context=b""):
        reply = self.session.answer(KeyCall(7, verb, key_id, data, context))
        assert reply.request_id == 7
        return reply

    def prove(self, call, admin_key=ADMIN_KEY, challenge=None):
        challenge = self.call("challenge").data if challenge is None else challenge
        return self.session.answer(
            msgspec.structs.replace(call, proof=proof_of(admin_key, challenge, call))
        )


def test_a_data_key_goes_in_and_comes_back():
    stage = Stage()
    wrapped = stage.call("wrap", "state", b"k" * 32, b"c").data
    assert stage.call("unwrap", "state", wrapped, b"c").data == b"k" * 32


def test_a_signature_verifies_with_the_public_key_that_is_told():
    stage = Stage()
    signature = stage.call("sign", "state", b"message", b"context").data
    key = VerifyingKey(ML_DSA_44, stage.call("public", "state").data)
    key.verify(b"message", b"context", signature)


def test_a_rotation_tells_the_successor():
    stage = Stage()
    assert stage.call("rotate", "state").data == b"state.2"
    assert stage.rotations == [1]


def test_a_rotation_that_is_one_too_many_is_refused():
    stage = Stage()

    def refuse():
        raise DeniedError("crypto.agent_rotations", "Too many.", "Wait.")

    session = AgentSession(stage.keys, stage.faults.append, refuse)
    assert session.answer(KeyCall(1, "rotate", "state")).code == "crypto.agent_rotations"
    assert session.answer(KeyCall(2, "public", "state")).code == ""
    assert list(stage.keys.held) == ["state.1"]


def test_a_long_list_comes_in_parts_that_fit_a_frame():
    stage = Stage()
    known = [
        KeyInfo(f"k.{n}", "hybrid", KeyState.DESTROYED, bytes(16), bytes(2_592), n)
        for n in range(1_000)
    ]
    stage.keys.listed = lambda: known
    heard, position = [], 0
    while True:
        reply = stage.call("listed", data=list_from(position))
        assert len(encode(reply)) < MAX_FRAME_BYTES
        heard += reply.keys
        if not reply.data:
            break
        position = len(heard)
        assert reply.data == list_from(position)
    assert heard == known
    assert stage.call("listed", data=list_from(5_000)).keys == ()


@pytest.mark.parametrize("kind", [InputError, UnreachableError, DeniedError])
def test_an_error_crosses_as_the_class_that_it_was(kind):
    stage = Stage()
    stage.keys.broken = kind("crypto.told", "What happened.", "What to do.")
    with pytest.raises(kind) as raised:
        raise_for(stage.call("public", "state"))
    assert type(raised.value) is kind
    assert (raised.value.code, raised.value.sentence) == ("crypto.told", "What happened.")
    assert raised.value.remedy == "What to do."


def test_an_error_of_the_base_class_crosses_too():
    stage = Stage()
    stage.keys.broken = CronosError("crypto.told", "What happened.", "What to do.")
    with pytest.raises(CronosError) as raised:
        raise_for(stage.call("public", "state"))
    assert type(raised.value) is CronosError


def test_a_good_reply_raises_nothing():
    raise_for(KeyReply(1, b"InputError"))


def test_a_fault_ends_the_call_alone_and_its_text_is_never_told():
    stage = Stage()
    stage.keys.broken = RuntimeError("the seed is 00112233")
    reply = stage.call("unwrap", "state", b"w", b"c")
    assert reply.code == "crypto.agent_fault"
    assert "0011" not in repr(reply)
    assert stage.faults == ["RuntimeError"]
    stage.keys.broken = None
    assert stage.call("public", "state").code == ""


def test_every_refusal_to_unwrap_reads_the_same():
    stage = Stage()
    wrapped = stage.call("wrap", "state", b"k" * 32, b"c").data
    replies = {
        stage.call("unwrap", "state", data, context)
        for data, context in ((wrapped, b"d"), (wrapped[:-1], b"c"), (b"", b"c"), (b"x" * 9, b"c"))
    }
    assert len(replies) == 1
    assert replies.pop().code == "crypto.refused"


def test_what_is_too_long_is_refused_before_a_key_is_looked_for():
    stage = Stage()
    stage.keys.broken = AssertionError("a key was looked for")
    for reply in (
        stage.call("public", "n" * 129),
        stage.call("wrap", "state", b"k" * 65),
        stage.call("sign", "state", b"m", b"c" * 256),
    ):
        assert reply.code == "crypto.agent_call"


@pytest.mark.parametrize("verb", ["", "export", "protect", "close", "admin_key", "__init__"])
def test_what_is_no_call_is_refused(verb):
    assert Stage().call(verb, "state").code == "crypto.agent_verb"


def test_who_can_unlock_the_keystore_makes_and_destroys_keys():
    stage = Stage()
    made = stage.prove(KeyCall(1, "create", "edge", life_of(3_600), b"cnsa"))
    assert [info.key_id for info in made.keys] == ["edge.1"]
    assert stage.prove(KeyCall(2, "destroy", "edge.1")).code == ""
    assert list(stage.keys.held) == ["state.1"]


def test_without_a_proof_nothing_is_made_or_destroyed():
    stage = Stage()
    destroy = KeyCall(1, "destroy", "state.1")
    assert stage.session.answer(destroy).code == "crypto.agent_proof"
    # With no challenge asked for, a proof over none is none either.
    assert stage.prove(destroy, challenge=b"").code == "crypto.agent_proof"
    assert stage.prove(destroy, admin_key=b"a guess").code == "crypto.agent_proof"
    assert stage.prove(KeyCall(1, "create", "x", life_of(0)), b"a guess").code != ""
    assert list(stage.keys.held) == ["state.1"]


def test_a_challenge_is_good_for_one_call_of_its_own_connection():
    stage = Stage()
    challenge = stage.call("challenge").data
    other = stage.connect()
    call = KeyCall(1, "create", "edge", life_of(0), b"cnsa")
    proven = msgspec.structs.replace(call, proof=proof_of(ADMIN_KEY, challenge, call))

    assert other.answer(proven).code == "crypto.agent_proof"
    assert stage.session.answer(proven).code == ""
    assert stage.session.answer(proven).code == "crypto.agent_proof"
    failed = stage.call("challenge").data
    assert stage.prove(call, b"a guess", failed).code == "crypto.agent_proof"
    assert stage.prove(call, ADMIN_KEY, failed).code == "crypto.agent_proof"


def test_a_proof_is_for_every_field_of_its_call():
    stage = Stage()
    call = KeyCall(1, "destroy", "edge.1", b"data", b"context")
    for change in (
        {"request_id": 2},
        {"verb": "create"},
        {"key_id": "state.1"},
        {"data": b"date"},
        {"context": b"kontext"},
    ):
        challenge = stage.call("challenge").data
        proof = proof_of(ADMIN_KEY, challenge, call)
        forged = msgspec.structs.replace(call, proof=proof, **change)
        assert stage.session.answer(forged).code == "crypto.agent_proof"
    assert list(stage.keys.held) == ["state.1"]


def test_challenges_never_repeat():
    stage = Stage()
    assert len({stage.call("challenge").data for _ in range(200)}) == 200


def test_the_life_of_a_new_key_must_be_told_exactly():
    stage = Stage()
    assert stage.prove(KeyCall(1, "create", "edge", b"", b"cnsa")).code == "crypto.agent_call"
