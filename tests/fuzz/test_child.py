"""Any bytes between the enforcer and the process of an executor: answered, refused, and no more."""

import socket

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.respond.stage import WorldExecutor, deny

from cronos.link.frames import FrameSplitter, frame
from cronos.respond.child import ChildExecutor, Launch, Reply
from cronos.respond.childserving import answer
from cronos.respond.recording import RecordingExecutor
from cronos.testing.clock import VirtualClock
from cronos.types import MAX_FRAME_BYTES, Operation, Outcome, Plan, encode

ACTIONS = [deny("192.0.2.1"), deny("192.0.2.2")]
PLANS = [Plan(a, b"{}", "lock", "unlock") for a in ACTIONS]
GOOD = [encode(one) for one in (*ACTIONS, *PLANS)] + [
    encode(Outcome(a.action_id, "inc-1", operation, True, True, "\x1b said"))
    for a in ACTIONS
    for operation in Operation
]
ITEMS = st.lists(st.sampled_from(GOOD) | st.binary(max_size=60), max_size=4)
VERBS = st.sampled_from(["plan", "apply", "verify", "renew", "undo", "observe"]) | st.text(
    max_size=9
)
CALLS = st.tuples(st.integers(-3, 9), VERBS, ITEMS).map(msgspec.msgpack.encode)
REPLIES = st.builds(
    Reply,
    call_id=st.integers(0, 3),
    items=ITEMS.map(tuple),
    seen=st.lists(st.booleans(), max_size=3).map(tuple),
    names=st.lists(st.text(max_size=33) | st.just("0" * 32), max_size=3).map(tuple),
    code=st.just("") | st.text(max_size=9),
    sentence=st.text(max_size=30),
    remedy=st.text(max_size=30),
).map(msgspec.msgpack.encode)


@settings(max_examples=400, deadline=None)
@given(CALLS | st.binary(max_size=200))
def test_any_call_has_a_reply_that_fits_a_frame(data):
    executor = WorldExecutor({})
    reply = msgspec.msgpack.decode(answer(executor, data), type=Reply)
    assert len(msgspec.msgpack.encode(reply)) <= MAX_FRAME_BYTES
    assert bool(reply.code) == bool(reply.sentence)
    known = {action.action_id for action in ACTIONS}
    assert set(executor.world) <= known


class _Wired(ChildExecutor):
    """A child whose process is these bytes."""

    def __init__(self, data):
        launch = Launch((), {}, 50)
        super().__init__(RecordingExecutor.manifest, launch, VirtualClock())
        self.data = data
        self.far = None

    def _begin(self):
        if self._socket is None:
            self._socket, self.far = socket.socketpair()
            self._splitter, self._frames, self._ready = FrameSplitter(), [], False
            self.far.sendall(self.data)
            self.far.shutdown(socket.SHUT_WR)
        return self._socket

    def _kill(self):
        super()._kill()
        if self.far is not None:
            self.far.close()
            self.far = None


@settings(max_examples=400, deadline=None)
@given(
    st.lists(REPLIES.map(frame) | st.binary(max_size=40).map(frame) | st.binary(max_size=40),
             max_size=6).map(b"".join),
    st.booleans(),
)  # fmt: skip
def test_whatever_the_process_says_answers_stay_those_of_the_actions_asked(data, ready):
    greeting = frame(msgspec.msgpack.encode(Reply(0))) if ready else b""
    for ask, operation in (("plan", Operation.APPLY), ("apply", Operation.APPLY),
                           ("undo", Operation.UNDO)):  # fmt: skip
        child = _Wired(greeting + data)
        given_items = ACTIONS if ask == "plan" else PLANS
        answers = getattr(child, ask)(given_items)
        assert len(answers) == 2
        for action, one in zip(ACTIONS, answers, strict=True):
            if isinstance(one, Plan):
                assert ask == "plan"
                assert one.action == action
                assert not one.kernel_timeout
                continue
            assert (one.action_id, one.operation) == (action.action_id, operation)
            assert not one.verified
            assert "\x1b" not in one.detail
        child.close()
