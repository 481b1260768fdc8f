"""The incidents that are open, and those that closed within a day."""

from msgspec.structs import replace

from cronos.config import Config, Deadlines, Policy
from cronos.kernel.cases import CLOSED_NS, Cases
from cronos.testing.story import Story, finding
from cronos.types import EvidenceClass, Note, Provenance, State


def weak(number, attacker):
    return finding(number, attacker=attacker, evidence=EvidenceClass.STATISTICAL)


def test_what_closed_is_kept_for_a_day():
    story = Story(Config(deadlines=Deadlines(observed_s=60)))
    story.tell(weak(1, "192.0.2.1"))
    story.wait(61)
    story.wait(CLOSED_NS / 1e9 - 10)
    assert len(story.kernel.cases.closed) == 1

    story.tell(weak(2, "192.0.2.2"))
    story.wait(61)

    assert [case.actor.value for case in story.kernel.cases.closed.values()] == ["192.0.2.2"]


def test_ten_thousand_forgeable_alerts_about_one_asset_are_one_incident():
    story = Story()
    for number in range(10_000):
        attacker = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        story.tell(finding(number, attacker=attacker, provenance=Provenance.SPOOFABLE))

    case = story.only_incident()
    assert case.finding_count == 10_000
    assert case.state is State.OBSERVED


def test_a_flood_of_real_attackers_on_one_asset_becomes_one_case_and_those_known_keep_theirs():
    story = Story(Config(policy=Policy(flood_incidents=10)))
    for number in range(100):
        story.tell(finding(number, attacker=f"192.0.2.{number}"))
    story.tell(finding(500, attacker="192.0.2.3"))

    cases = story.kernel.cases.open
    assert len(cases) == 11
    assert sorted(case.finding_count for case in cases.values()) == [1] * 9 + [2, 90]


def test_another_asset_is_not_flooded():
    story = Story(Config(policy=Policy(flood_incidents=1)))
    story.tell(finding(1, attacker="192.0.2.1"))
    other = replace(finding(2, attacker="192.0.2.2"), target=finding().actor)
    story.tell(other)

    assert len(story.kernel.cases.open) == 2


def test_closing_makes_room_below_the_flood():
    story = Story(Config(policy=Policy(flood_incidents=1), deadlines=Deadlines(observed_s=60)))
    story.tell(weak(1, "192.0.2.1"))
    asset = finding().target
    assert story.kernel.cases.flooded(asset)
    story.wait(61)

    assert not story.kernel.cases.flooded(asset)


def test_what_waits_for_the_enforcer_is_counted():
    story = Story(world=lambda *_: None)
    story.tell(finding(1))
    story.tell(finding(2, attacker="192.0.2.67"))
    assert story.kernel.cases.active == 2

    story.wait(6)

    assert story.kernel.cases.active == 0
    assert {case.state for case in story.kernel.cases.open.values()} == {State.FAILED}


def test_an_evicted_case_is_not_counted_any_more():
    story = Story(Config(policy=Policy(max_open_incidents=1)), world=lambda *_: None)
    story.tell(finding(1))
    story.tell(finding(2, attacker="192.0.2.67"))

    assert story.kernel.cases.active == 1
    assert [note.kind for note in story.said(Note)].count("evicted") == 1


def test_how_a_case_rests_is_noted_for_whoever_starts_anew():
    story = Story()
    story.tell(finding())
    (state,) = [note.body for note in story.said(Note) if note.kind == "state"]

    assert state == story.only_incident()
    assert Cases(Config()).filed(None) is None


def test_a_flood_of_watched_cases_pushes_out_no_isolation_however_many_are_older():
    story = Story(Config(policy=Policy(max_open_incidents=301, flood_incidents=1_000)))
    held = [finding(number, attacker=f"10.0.{number >> 8}.{number & 255}") for number in range(300)]
    for one in held:
        story.tell(one)
    for number in range(50):
        story.tell(weak(number, f"192.0.2.{number}"))

    states = [case.state for case in story.kernel.cases.open.values()]
    assert states.count(State.CONFIRMED) == 300
