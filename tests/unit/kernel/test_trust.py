"""A peer's word is evidence: weighed, bounded, and worth less once it was wrong."""

import pytest
from msgspec.structs import replace

from cronos.config import Config, Mesh, Policy, Workload
from cronos.kernel.trust import HEARD
from cronos.testing.story import Story, finding
from cronos.types import (
    Action,
    Bulletin,
    BulletinKind,
    Do,
    Entity,
    EntityKind,
    Members,
    Note,
    Operation,
    Publish,
    Renewal,
    Reproach,
    State,
    Verb,
    Verdict,
    action_id,
)

ATTACKER = Entity(EntityKind.ADDRESS, "192.0.2.66")
CONTROLLER = Entity(EntityKind.ADDRESS, "198.51.100.2")


def told(number=1, *, origin="b", actor=ATTACKER, confidence=0.97, kind=BulletinKind.ISOLATED,
         epoch=1):  # fmt: skip
    target = actor or CONTROLLER
    named = action_id("recording", Verb.DENY, target)
    incident = f"{origin}-1-{number}"
    action = Action(named, "recording", Verb.DENY, target, incident, 300, epoch)
    return Bulletin(
        f"{incident}-{kind.value}", kind, origin, incident, (1 << 32) + number, actor, CONTROLLER,
        ("T0855",), confidence, action, 300, 4,
    )  # fmt: skip


def hear(story, *bulletins):
    for bulletin in bulletins:
        story.tell(bulletin)
    story.wait(1)
    return story


def applied(story):
    return [one.action for one in story.said(Do) if one.operation is Operation.APPLY]


def reproaches(story):
    return [one.body for one in story.said(Note) if isinstance(one.body, Reproach)]


def test_a_node_decides_for_itself_about_what_a_peer_isolated():
    story = hear(Story(), told())

    (incident,) = story.kernel.cases.open.values()
    assert incident.incident_id.startswith("local-")
    assert incident.claims[0].detector == HEARD + "b"
    assert incident.confidence == pytest.approx(0.97 * 0.9)
    assert [one.target for one in applied(story)] == [ATTACKER]


def test_what_was_only_told_is_not_told_on():
    """Or three peers' echoes of one word would be taken for three words."""
    story = hear(Story(), told(), told(origin="c"))

    assert [one for one in story.said(Publish) if isinstance(one.message, Bulletin)] == []
    (incident,) = story.kernel.cases.open.values()
    assert (incident.state, incident.view) == (State.CONFIRMED, 0)


def test_what_a_node_sees_itself_is_told_with_its_own_confidence_alone():
    story = Story()
    story.tell(told(confidence=0.6))
    story.wait(1)
    story.tell(finding(confidence=0.9))

    (said,) = [one.message for one in story.said(Publish) if isinstance(one.message, Bulletin)]
    assert said.confidence == 0.9
    assert said.severity == 4


@pytest.mark.parametrize("confidence", [0.0, -1.0, 1.5, float("nan")])
def test_what_is_no_confidence_is_no_evidence(confidence):
    story = hear(Story(), told(confidence=confidence), told(2, actor=None))

    assert not story.kernel.cases.open


def test_a_node_that_does_not_hold_defense_acts_on_nobodys_word():
    story = Story(Config(mesh=Mesh(roles=("audit",))))
    story.kernel.duties.held = frozenset({"audit"})

    assert not hear(story, told()).kernel.cases.open


def test_a_peer_that_names_what_is_protected_moves_nothing_and_is_reported():
    config = Config(policy=Policy(protected=("192.0.2.0/24",)))
    story = hear(Story(config), told())

    assert applied(story) == []
    assert not story.kernel.cases.open
    assert [(one.peer, one.trust) for one in reproaches(story)] == [("b", 0.45)]


def test_a_peer_that_was_wrong_is_heard_less_and_then_only_asks():
    story = hear(Story(), told())
    (incident,) = story.kernel.cases.open.values()
    story.tell(Verdict(incident.incident_id, "ann", False))

    assert [one.trust for one in reproaches(story)] == [0.45]
    other = Entity(EntityKind.ADDRESS, "192.0.2.77")
    hear(story, told(2, actor=other))
    waiting = [one for one in story.kernel.cases.open.values() if one.actor == other]
    assert [one.state for one in waiting] == [State.WAITING]
    assert story.kernel.trust.of("c") == 0.9


def test_a_peer_that_was_right_is_believed_again_and_never_more_than_at_first():
    story = hear(Story(), told())
    (incident,) = story.kernel.cases.open.values()
    story.kernel.trust.blame("b", "it was wrong")
    for _ in range(9):
        story.tell(Verdict(incident.incident_id, "ann", True))

    assert story.kernel.trust.of("b") == 0.9


def test_what_the_mesh_caught_a_peer_at_counts_against_it():
    story = Story()
    story.tell(Reproach("b", "it spoke in another's name"))

    assert [one.trust for one in reproaches(story)] == [0.45]


def test_what_a_word_was_worth_before_a_restart_is_taken_up_and_never_raises_it():
    story = Story()
    story.tell(Reproach("b", "", 0.2))
    story.tell(Reproach("b", "", 0.7))

    assert story.kernel.trust.of("b") == pytest.approx(0.2)
    assert {one.why for one in reproaches(story)} == {""}


def test_that_a_peer_was_right_is_noted_as_well_without_a_reproach():
    story = hear(Story(), told())
    (incident,) = story.kernel.cases.open.values()
    story.kernel.trust.blame("b", "it was wrong")
    for _ in range(9):
        story.tell(Verdict(incident.incident_id, "ann", True))

    risen = reproaches(story)
    assert [round(one.trust, 2) for one in risen] == [0.55, 0.65, 0.75, 0.85, *[0.9] * 5]
    assert {one.why for one in risen} == {""}


def test_a_flood_of_words_spends_half_of_the_budget_and_is_reported_once():
    story = Story(Config(policy=Policy(actions_per_minute=20)))
    many = [told(n, actor=Entity(EntityKind.ADDRESS, f"192.0.2.{n}")) for n in range(1, 100)]
    hear(story, *many)

    assert len(applied(story)) == 10
    assert [one.why for one in reproaches(story)] == [
        "it told more in a minute than is listened to"
    ]
    story.tell(finding(attacker="203.0.113.9"))
    assert len(applied(story)) == 11


def test_what_a_peer_tells_at_length_waits_longer_than_what_is_seen_here():
    story = Story()
    for number in range(1, 101):
        story.tell(told(number, actor=Entity(EntityKind.ADDRESS, f"192.0.2.{number}")))
    story.tell(finding(attacker="203.0.113.9"))

    assert [one.target.value for one in applied(story)] == ["203.0.113.9"]
    story.wait(0.033)
    assert len(applied(story)) == 17, "the first few are not kept waiting for the rest"
    story.wait(0.468)
    assert len(applied(story)) == 101


def test_what_a_peer_takes_back_runs_out_and_is_not_cut_short():
    story = hear(Story(), told())
    (incident,) = story.kernel.cases.open.values()
    hear(story, told(kind=BulletinKind.RELEASED))
    renewal = Renewal(incident.incident_id, applied(story)[0].action_id)

    assert [one for one in story.tell(renewal) if isinstance(one, Do)] == []
    assert [one for one in story.said(Do) if one.operation is not Operation.APPLY] == []


def test_what_a_node_has_seen_itself_a_peer_cannot_take_back():
    story = hear(Story(), told())
    story.tell(finding())
    (incident,) = story.kernel.cases.open.values()
    hear(story, told(kind=BulletinKind.RELEASED))
    renewal = Renewal(incident.incident_id, applied(story)[0].action_id)

    assert [one.operation for one in story.tell(renewal) if isinstance(one, Do)] == ["renew"]


def test_epochs_go_on_from_the_highest_that_can_be():
    story = hear(Story(), told(epoch=41))
    assert story.kernel.defense.epoch == 41

    hear(story, told(2, epoch=1 << 60))
    assert story.kernel.defense.epoch == 41
    story.tell(finding(attacker="203.0.113.9"))
    assert applied(story)[-1].epoch == 41


def workloads(story):
    return [one.action.target.value for one in story.said(Do) if one.action.verb is Verb.PAUSE]


def with_workload(**more):
    workload = Workload("batch", (ATTACKER.value,))
    return Config(workload=(workload,), **more)


def test_workloads_follow_a_peer_that_is_believed():
    assert workloads(hear(Story(with_workload()), told())) == ["batch"]


def test_workloads_do_not_follow_a_peer_whose_word_would_only_ask():
    story = Story(with_workload())
    story.tell(Reproach("b", "it spoke in another's name"))
    hear(story, told())

    assert workloads(story) == []


def test_workloads_do_not_follow_a_flood():
    story = Story(with_workload(policy=Policy(actions_per_minute=4, budget_share=0.5)))
    others = [told(n, actor=Entity(EntityKind.ADDRESS, f"192.0.2.{n}")) for n in range(1, 9)]
    hear(story, *others, told(9))

    assert workloads(story) == []


def test_an_id_that_another_peer_used_first_silences_nobody():
    other = replace(told(origin="mallory", actor=CONTROLLER), bulletin_id=told().bulletin_id)
    story = hear(Story(), other, told())

    assert ATTACKER in [incident.actor for incident in story.kernel.cases.open.values()]


def test_claims_of_two_peers_under_one_id_count_as_two():
    first = replace(told(origin="c", confidence=0.6), bulletin_id=told().bulletin_id)
    (incident,) = hear(Story(), first, told()).kernel.cases.open.values()

    assert {one.detector for one in incident.claims} == {HEARD + "b", HEARD + "c"}


def test_one_peer_cuts_no_other_off_but_asks():
    story = Story()
    story.tell(Members(("b", "c", "d"), addresses=("d.example", ATTACKER.value)))
    hear(story, told())
    assert applied(story) == []
    (incident,) = story.kernel.cases.open.values()
    assert incident.state is State.WAITING


def test_a_flood_that_names_what_is_protected_is_reported_within_bounds():
    policy = Policy(actions_per_minute=40, budget_share=0.5, protected=(CONTROLLER.value,))
    story = hear(Story(Config(policy=policy)), *[told(n, actor=CONTROLLER) for n in range(1, 60)])

    assert len(reproaches(story)) == 11
