"""Whatever reaches the control socket, a kill file or an approval: refused or understood."""

import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.crypto.pki.plant import NOW_NS
from tests.unit.link.desk import FakeDesk, action, question
from tests.unit.link.test_clerk import LOCAL, STRANGER, operator
from tests.unit.link.test_people import DONE, EVE, MIA, approval, judged, known

from cronos.errors import CronosError
from cronos.link.clerk import RULES, Clerk, read_words
from cronos.link.killswitch import KillFile, KillSwitch
from cronos.link.people import Operators
from cronos.testing.clock import VirtualClock
from cronos.types import ControlCall, decode, encode

VERBS = st.one_of(st.sampled_from(sorted(RULES)), st.text(max_size=20))
CALLERS = st.sampled_from([LOCAL, STRANGER, operator("analyst"), operator("admin")])
KEYS = st.sampled_from(
    ["incident", "question", "action", "digest", "granted", "engaged", "generation", "release_all",
     "which", "first", "count", "malicious", "x"]
)  # fmt: skip
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text(max_size=70),
    st.sampled_from(["local-1-i1", "local-1-q1", action("plc-1").action_id, "all"]),
)  # fmt: skip
ORDERS = [approval(EVE), approval(MIA)]


def arguments():
    shaped = st.dictionaries(KEYS, VALUES, max_size=6).map(lambda one: json.dumps(one).encode())
    return st.one_of(shaped, st.binary(max_size=200))


@settings(max_examples=300, deadline=None)
@given(VERBS, arguments(), CALLERS, st.booleans())
def test_a_call_is_refused_or_answered_and_never_more_than_one_event(verb, argument, caller, afar):
    with tempfile.TemporaryDirectory() as folder:
        desk = FakeDesk(question())
        clerk = Clerk(desk, KillSwitch(Path(folder) / "KILL"), VirtualClock())
        try:
            answer = clerk.hear(ControlCall(1, verb, argument), caller, afar=afar)
        except CronosError:
            assert desk.heard == []
        else:
            assert isinstance(answer, bytes)
            assert len(desk.heard) <= 1


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_what_was_signed_is_read_or_refused(data):
    try:
        node, verb, argument = read_words(data)
    except CronosError:
        return
    assert isinstance(argument, bytes)
    assert len(node) <= 64
    assert len(verb) <= 64


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(ORDERS), st.integers(0, 40_000), st.integers(1, 255), st.booleans())
def test_a_changed_or_cut_approval_is_none(order, at, flip, cut):
    at %= len(order)
    # Nothing at all is no order but a call without one.
    cut_off = order[: at or 1]
    changed = cut_off if cut else order[:at] + bytes([order[at] ^ flip]) + order[at + 1 :]
    other = ORDERS[0] if order is ORDERS[1] else ORDERS[1]
    assert isinstance(judged(changed, other), str)
    office = Operators(known(), "local", VirtualClock(wall_ns=NOW_NS))
    try:
        office.identify(ControlCall(1, "approve", b"{}", changed), 0)
    except CronosError:
        return
    raise AssertionError("it was believed")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300))
def test_a_kill_file_stops_whatever_it_says(data):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "KILL"
        path.write_bytes(data)
        found = KillFile(path).look()
        assert found.engaged
        assert 0 <= found.generation < 1 << 53
        kept = Path(folder) / "kill"
        kept.write_bytes(data)
        switch = KillSwitch(Path(folder) / "nothing", kept, lambda _told: None)
        assert switch.state().engaged


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_a_calls_bytes_decode_or_are_refused(data):
    whole = encode(ControlCall(1, "status"))
    for body in (data, whole[:14] + data):
        try:
            decode(body)
        except ValueError:
            continue


def test_the_approvals_here_hold_as_they_are():
    assert len(judged(*ORDERS, asked=DONE)) == 2
