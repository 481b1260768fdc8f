"""Who may order what, and that an answer is about exactly what was asked."""

import json

import msgspec
import pytest
from tests.unit.link.desk import FakeDesk, action, question

from cronos.errors import CronosError, InputError
from cronos.link.clerk import (
    MAX_PAGE,
    RULES,
    Caller,
    Clerk,
    Pairs,
    read_words,
    signed_words,
)
from cronos.link.killswitch import KillSwitch
from cronos.testing.clock import VirtualClock
from cronos.types import Answer, ControlCall, Kill, Release, Verdict, digest_of

LOCAL = Caller("local/eve", ("analyst",), signed=False, alone=True)
STRANGER = Caller("local/eve", (), signed=False, alone=False)


def operator(*roles, name="eve"):
    return Caller(f"operator/{name}", roles, signed=True, alone=False)


class Office:
    def __init__(self, folder, *questions):
        self.clock = VirtualClock()
        self.desk = FakeDesk(*questions)
        self.switch = KillSwitch(folder / "KILL")
        self.clerk = Clerk(self.desk, self.switch, self.clock)

    def hear(self, verb, argument=None, caller=LOCAL, order=b"", **more):
        call = ControlCall(1, verb, json.dumps(argument or {}).encode(), order)
        return json.loads(self.clerk.hear(call, caller, **more))

    def refusal(self, *given, **more):
        with pytest.raises(CronosError) as refused:
            self.hear(*given, **more)
        return refused.value.code


@pytest.fixture
def office(tmp_path):
    return Office(tmp_path, question())


def answer_to(asked, granted=True, **changed):
    words = {
        "question": asked.question_id,
        "incident": asked.incident_id,
        "action": asked.action.action_id,
        "digest": digest_of(asked.action),
        "granted": granted,
    }
    return {**words, **changed}


def test_an_approval_becomes_an_answer_with_its_digest_and_its_signed_order(office):
    words = answer_to(question())
    shown = office.hear("approve", words, operator("analyst"), b"signed")
    assert shown["incident_id"] == "local-1-i1"
    assert office.desk.heard == [
        Answer(
            "local-1-q1", "local-1-i1", words["action"], True, "operator/eve", words["digest"],
            b"signed",
        )
    ]  # fmt: skip


def test_the_own_user_of_a_node_without_operators_is_an_analyst(office):
    office.hear("deny", answer_to(question(), granted=False))
    (heard,) = office.desk.heard
    assert (heard.granted, heard.subject, heard.approval) == (False, "local/eve", b"")


@pytest.mark.parametrize(
    "changed",
    [
        {"digest": "0" * 64},
        {"action": "0" * 32},
        {"incident": "local-1-i2"},
    ],
)
def test_what_was_approved_must_be_what_is_asked(office, changed):
    words = answer_to(question(), **changed)
    assert office.refusal("approve", words) == "control.other_action"
    assert office.desk.heard == []


def test_a_question_that_does_not_wait_is_not_answered(office):
    office.desk.waiting.clear()
    assert office.refusal("approve", answer_to(question())) == "control.unknown_question"


def test_the_verb_and_its_argument_say_the_same(office):
    assert office.refusal("approve", answer_to(question(), granted=False)) == "control.invalid"
    assert office.refusal("deny", answer_to(question())) == "control.invalid"


@pytest.mark.parametrize("audience", ["manager", "pager"])
def test_the_managers_question_takes_a_manager(tmp_path, audience):
    asked = question(audience=audience)
    office = Office(tmp_path, asked)
    for caller in (operator("analyst"), operator("responder"), LOCAL):
        assert office.refusal("approve", answer_to(asked), caller) == "control.role"
    for role in ("manager", "admin"):
        office.hear("approve", answer_to(asked), operator(role))
    assert len(office.desk.heard) == 2


def test_the_irreversible_takes_a_signature(tmp_path):
    asked = question(persons=2)
    office = Office(tmp_path, asked)
    assert office.refusal("approve", answer_to(asked)) == "control.two_persons"
    office.hear("approve", answer_to(asked), operator("analyst"), b"signed")


def test_of_two_who_approve_the_irreversible_one_leads_or_the_question_goes_on_waiting(tmp_path):
    asked = question(persons=2)
    office = Office(tmp_path, asked)
    words = answer_to(asked)
    for _ in range(2):
        office.hear("approve", words, operator("analyst"), b"signed")
    for role in ("analyst", "responder"):
        refused = office.refusal("approve", words, operator(role, name="bob"), b"signed")
        assert refused == "control.needs_leader"
    assert {one.subject for one in office.desk.heard} == {"operator/eve"}
    office.hear("approve", words, operator("manager", name="mia"), b"signed")
    assert office.desk.heard[-1].subject == "operator/mia"


def test_while_it_is_killed_a_yes_is_refused_and_a_no_taken(office):
    office.switch.take(Kill(1, engaged=True), office.clock.now().wall_ns)
    assert office.refusal("approve", answer_to(question())) == "control.killed"
    assert office.desk.heard == []
    office.hear("deny", answer_to(question(), granted=False))
    office.switch.take(Kill(2, engaged=False), office.clock.now().wall_ns)
    office.hear("approve", answer_to(question()))
    assert [one.granted for one in office.desk.heard] == [False, True]


def test_a_node_with_operators_takes_orders_from_them_alone(office):
    words = answer_to(question())
    about = {"incident": "local-1-i1"}
    for verb, argument in (
        ("approve", words),
        ("deny", {**words, "granted": False}),
        ("verdict", {**about, "malicious": True}),
        ("policy.reload", {}),
        ("kill", {"generation": 9, "engaged": False}),
    ):
        assert office.refusal(verb, argument, STRANGER) == "control.unsigned"
    assert office.desk.heard == []


def test_the_safe_direction_is_open_to_the_own_user_whoever_else_there_is(office):
    office.hear("release", {"incident": "local-1-i1"}, STRANGER)
    assert office.hear("kill", {"generation": 5, "engaged": True}, STRANGER)["taken"]
    assert office.desk.heard == [
        Release("local-1-i1", "local/eve"),
        Kill(5, engaged=True, subject="local/eve"),
    ]
    for verb in ("status", "incidents.list", "questions.list"):
        office.hear(verb, {}, STRANGER)


ALL = ("analyst", "responder", "manager", "admin")


@pytest.mark.parametrize(
    ("verb", "argument", "roles"),
    [
        ("release", {"incident": "local-1-i1"}, ALL[1:]),
        ("kill", {"generation": 5, "engaged": True}, ALL[1:]),
        ("policy.reload", {}, ALL[2:]),
        ("verdict", {"incident": "local-1-i1", "malicious": True}, ALL),
        ("incidents.show", {"incident": "local-1-i1"}, ALL),
        ("approve", answer_to(question()), ALL),
    ],
)
def test_each_verb_has_its_roles(tmp_path, verb, argument, roles):
    for role in (*ALL, "viewer", "defense"):
        office = Office(tmp_path / role, question())
        if role in roles:
            office.hear(verb, argument, operator(role))
        else:
            assert office.refusal(verb, argument, operator(role)) == "control.role"
            assert office.desk.heard == []


def test_a_verdict_says_what_a_person_made_of_it(office):
    office.hear("verdict", {"incident": "local-1-i1", "malicious": False})
    assert office.desk.heard == [Verdict("local-1-i1", "local/eve", malicious=False)]


@pytest.mark.parametrize("verb", ["release", "incidents.show"])
def test_an_incident_that_nobody_knows_is_refused(office, verb):
    assert office.refusal(verb, {"incident": "x"}) == "control.unknown_incident"
    assert office.desk.heard == []


def test_a_stale_kill_is_told_and_goes_no_further(office):
    office.hear("kill", {"generation": 5, "engaged": True})
    told = office.hear("kill", {"generation": 4, "engaged": False})
    assert (told["taken"], told["engaged"], told["generation"]) == (False, True, 5)
    assert len(office.desk.heard) == 1


def test_from_afar_two_operators_release_everything_and_one_only_stops(office):
    everything = {"generation": 7, "engaged": True, "release_all": True}

    def afar(argument, name):
        return office.hear("kill", argument, operator("responder", name=name), afar=True)

    assert afar({"generation": 5, "engaged": True}, "eve")["taken"]
    assert "second operator" in afar(everything, "eve")["waiting"]
    assert "second operator" in afar(everything, "eve")["waiting"]
    assert not office.switch.state().release_all
    assert afar(everything, "mia")["release_all"]
    assert office.refusal("kill", everything, LOCAL, afar=True) == "control.unsigned"


def test_a_second_word_that_comes_too_late_is_a_first_one(tmp_path):
    clock = VirtualClock()
    pairs = Pairs(clock)
    assert not pairs.agreed(b"x", "eve")
    clock.advance(601 * 1_000_000_000)
    assert not pairs.agreed(b"x", "mia")
    assert pairs.agreed(b"x", "eve")
    for number in range(200):
        pairs.agreed(f"{number}".encode(), "eve")
    assert len(pairs._first) <= 64


def test_the_questions_say_what_would_be_done(office):
    (shown,) = office.hear("questions.list")["questions"]
    asked = action("plc-1")
    assert shown["digest"] == digest_of(asked)
    assert (shown["verb"], shown["kind"], shown["target"], shown["point"], shown["lease_s"]) == (
        "contain", "host", "plc-1", "world", 300.0,
    )  # fmt: skip


def test_the_status_says_whether_orders_must_be_signed_and_how_the_switch_stands(office):
    assert office.hear("status")["signed_only"] is False
    office.hear("kill", {"generation": 5, "engaged": True})
    status = office.hear("status", caller=STRANGER)
    assert status["signed_only"] is True
    assert status["kill"]["engaged"]
    assert status["node"] == "local"


def test_a_page_holds_what_fits_a_frame(office):
    office.desk.incidents = {str(i): {"incident_id": str(i), "x": "x" * 10_000} for i in range(500)}
    page = office.hear("incidents.list", {"count": MAX_PAGE})
    assert page["total"] == 500
    assert 50 < len(page["incidents"]) < MAX_PAGE
    office.desk.incidents = {"1": {"incident_id": "1", "x": "x" * (2 << 20)}}
    assert office.refusal("incidents.show", {"incident": "1"}) == "control.too_long"


@pytest.mark.parametrize(
    "argument",
    [b"", b"[]", b"{", b"\xff", b'{"incident":1}', b'{"incident":"a","more":1}', b'{"incident":""}',
     b'{"incident":"' + b"a" * 9000 + b'"}', b"[" * 3000],
)  # fmt: skip
def test_an_argument_that_is_none_is_refused(office, argument):
    with pytest.raises(InputError) as refused:
        office.clerk.hear(ControlCall(1, "release", argument), LOCAL)
    assert refused.value.code == "control.invalid"


def test_an_unknown_verb_lists_those_there_are(office):
    with pytest.raises(InputError) as refused:
        office.hear("explode")
    assert all(verb in refused.value.remedy for verb in RULES)


def test_what_is_signed_names_the_node_the_verb_and_the_argument():
    order = signed_words("local", "approve", b'{"x":1}')
    assert read_words(order) == ("local", "approve", b'{"x":1}')
    for bad in (b"", b"x", order + b"x", msgspec.json.encode([2, "a", "b", "c"]), b"[" * 9000):
        with pytest.raises(CronosError) as refused:
            read_words(bad)
        assert refused.value.code == "control.not_an_order"


def test_policy_is_read_anew_in_the_name_of_who_asked(office):
    assert office.hear("policy.reload")["said"] == "read anew for local/eve"
