"""The stage of the kernel's stories: a world that answers, and time that never really passes."""

from cronos.config import Config, LeaseTerms
from cronos.testing.story import Story, finding, obedient
from cronos.types import After, Do, Note, Operation, State


def test_a_told_finding_is_isolated_by_an_obedient_world():
    story = Story()
    story.tell(finding())
    assert story.only_incident().state in (State.ISOLATED, State.CONFIRMED)
    (done,) = story.said(Do)
    assert done.operation is Operation.APPLY
    assert story.said(Note)


def test_a_world_that_keeps_silent_leaves_the_order_unanswered():
    story = Story(world=lambda _operation, _action: None)
    story.tell(finding())
    assert story.only_incident().state is State.ISOLATING


def test_waiting_lets_timers_fall_due_in_order_and_ends_the_lease():
    story = Story(Config(lease=LeaseTerms(default_s=10, max_s=10)))
    before = story.boot_ns
    story.tell(finding())
    assert story.said(After)
    story.wait(120)
    assert story.boot_ns == before + 120 * 10**9
    assert story.only_incident().state is State.CLOSED
    assert [do.operation for do in story.said(Do)][-1] is Operation.UNDO


def test_findings_of_the_stage_differ_by_number_and_share_their_actor():
    one, two = finding(1), finding(2)
    assert one.finding_id != two.finding_id
    assert one.actor == two.actor
    assert finding(attacker="192.0.2.9").actor.value == "192.0.2.9"


def test_the_obedient_world_does_what_it_is_told():
    story = Story()
    story.tell(finding())
    (done,) = story.said(Do)
    outcome = obedient(Operation.UNDO, done.action)
    assert outcome.ok
    assert (outcome.action_id, outcome.operation) == (done.action.action_id, Operation.UNDO)
