"""Whatever arrives at the key agent, it answers or hangs up, and keeps its keys and its wits."""

import contextlib
import socket

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.crypto.held_keys import HeldKeysDouble

from cronos.crypto.agent import AgentSession, raise_for
from cronos.errors import CronosError
from cronos.link.frames import FrameSplitter, frame
from cronos.link.keyagent import KeyAgentServer
from cronos.testing.clock import VirtualClock
from cronos.types import MAX_FRAME_BYTES, KeyCall, KeyInfo, KeyReply, KeyState, decode, encode

KEYS = HeldKeysDouble("state", "identity")
VERBS = (
    "wrap",
    "unwrap",
    "sign",
    "public",
    "rotate",
    "listed",
    "challenge",
    "create",
    "destroy",
    "export",
)
NAMES = st.sampled_from(["state", "state.1", "identity", "", "nobody"]) | st.text(max_size=140)
CALLS = st.builds(
    KeyCall,
    request_id=st.integers(0, (1 << 63) - 1),
    # A rotation is left out: it would do what it is told, and make keys without end.
    verb=st.sampled_from([one for one in VERBS if one != "rotate"]) | st.text(max_size=20),
    key_id=NAMES,
    data=st.binary(max_size=300),
    context=st.binary(max_size=300),
    proof=st.binary(max_size=64),
)
INFOS = st.builds(
    KeyInfo,
    key_id=st.text(max_size=40),
    algorithm=st.text(max_size=20),
    state=st.sampled_from(KeyState),
    kid=st.binary(max_size=16),
    public=st.binary(max_size=60),
    created_wall_ns=st.integers(0, 1 << 62),
)
REPLIES = st.builds(
    KeyReply,
    request_id=st.integers(0, 9),
    data=st.sampled_from([b"InputError", b"DeniedError", b"Exception"]) | st.binary(max_size=99),
    keys=st.lists(INFOS, max_size=3).map(tuple),
    code=st.text(max_size=20),
    sentence=st.text(max_size=40),
    remedy=st.text(max_size=40),
)


@settings(max_examples=300, deadline=None)
@given(st.lists(CALLS.filter(lambda call: call.verb != "rotate"), max_size=8))
def test_any_calls_are_answered_and_change_nothing_without_a_proof(calls):
    faults = []
    session = AgentSession(KEYS, faults.append, lambda: None)
    before = list(KEYS.held)
    for call in calls:
        reply = session.answer(call)
        assert reply.request_id == call.request_id
        assert len(encode(reply)) < MAX_FRAME_BYTES
        assert bool(reply.code) == bool(reply.sentence) == bool(reply.remedy)
    assert list(KEYS.held) == before
    assert faults == []


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        CALLS.map(encode).map(frame) | st.binary(max_size=60).map(frame) | st.binary(max_size=60),
        max_size=8,
    ),
    st.integers(1, 500),
)
def test_any_bytes_are_answered_or_end_the_connection_alone(pieces, cut):
    ours, theirs = socket.socketpair()
    ours.settimeout(20)
    listener = _Once(theirs)
    faults = []
    server = KeyAgentServer(KEYS, listener, VirtualClock(), lambda *_, **more: faults.append(more))
    data = b"".join(pieces)
    with ours, contextlib.closing(server._server):
        server._server.turn(0)
        sent = FrameSplitter()
        for at in range(0, len(data), cut):
            with contextlib.suppress(OSError):
                ours.sendall(data[at : at + cut])
            server._server.turn(0)
        for _ in range(len(pieces) + 2):
            server._server.turn(0)
        ours.setblocking(False)
        with contextlib.suppress(OSError):
            while answers := ours.recv(1 << 20):
                for body in sent.feed(answers):
                    assert isinstance(decode(body), KeyReply)
    listener.close()
    assert faults == []


@settings(max_examples=300, deadline=None)
@given(REPLIES)
def test_any_reply_is_taken_or_raised_as_an_error_of_ours(reply):
    same = decode(encode(reply))
    if not reply.code:
        raise_for(same)
        return
    try:
        raise_for(same)
    except CronosError as error:
        assert (error.code, error.sentence) == (reply.code, reply.sentence)  # noqa: PT017
    else:
        raise AssertionError("a reply with a code is an error")


class _Once(socket.socket):
    """A listening socket that hands out one connection that is there already."""

    def __init__(self, connected):
        super().__init__(socket.AF_UNIX, socket.SOCK_STREAM)
        self.bind("")  # a name of the system's choice, which nobody knows
        self.listen(1)
        self.connected = connected
        self.knock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.knock.connect(self.getsockname())

    def accept(self):
        super().accept()[0].close()
        self.knock.close()
        return self.connected, ""
