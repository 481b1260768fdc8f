"""What people are asked, what they answer, and what they order."""

import pytest
from msgspec.structs import replace

from cronos.config import Config, Policy
from cronos.kernel.node import Kernel
from cronos.testing.story import Story, finding
from cronos.types import (
    Ability,
    Answer,
    Ask,
    Blast,
    Do,
    Entity,
    EntityKind,
    Kill,
    LossTable,
    Note,
    Operation,
    Option,
    Propose,
    Release,
    Reversal,
    State,
    Verb,
    Verdict,
    digest_of,
)

HOST = Entity(EntityKind.HOST, "desk-7")
FREEZE = Ability(
    Verb.CONTAIN,
    EntityKind.PROCESS,
    "process",
    "D3-PS",
    Reversal.LEASED,
    Blast.NARROW,
    50,
    0.5,
    0.7,
)
KILL = Ability(
    Verb.STOP, EntityKind.PROCESS, "process", "D3-PT", Reversal.NONE, Blast.NARROW, 50, 0.9, 0.99
)
MALWARE = Entity(EntityKind.PROCESS, "desk/7")


def story_with(*abilities):
    story = Story()
    story.kernel = Kernel(Config(), 1, {"process": abilities}, LossTable())
    return story


def malware():
    return replace(finding(), actor=MALWARE, flow=None)


def answer(question, subject="eve", *, granted=True, digest=None, approval=b""):
    digest = question.digest if digest is None else digest
    action_id = question.action.action_id
    return Answer(
        question.question_id, question.incident_id, action_id, granted, subject, digest, approval
    )


def orders(story):
    return [(do.operation, do.action.verb) for do in story.said(Do)]


def questions(story):
    return [ask.question for ask in story.said(Ask)]


def asked_story():
    """Give a case that asks about killing a process while it is frozen."""
    story = story_with(KILL, FREEZE)
    story.tell(malware())
    return story, questions(story)[0]


def test_the_narrow_lease_holds_while_a_person_is_asked_about_more():
    story, question = asked_story()

    assert story.only_incident().state is State.CONFIRMED
    assert orders(story) == [(Operation.APPLY, Verb.CONTAIN)]
    assert question.action.verb is Verb.STOP
    assert question.persons == 2
    assert question.audience == "manager"
    assert question.digest == digest_of(question.action)


def test_what_cannot_be_taken_back_takes_two_persons_and_brings_both_signatures():
    story, question = asked_story()
    story.tell(answer(question, "eve", approval=b"one"))
    story.tell(answer(question, "eve", approval=b"again"))
    assert orders(story) == [(Operation.APPLY, Verb.CONTAIN)]

    story.tell(answer(question, "mallory", approval=b"two"))

    assert orders(story)[1:] == [(Operation.APPLY, Verb.STOP)]
    assert story.said(Do)[-1].action.approvals == (b"one", b"two")
    assert story.only_incident().proposed == ()


def test_approvals_of_two_different_actions_do_not_add_up():
    story, question = asked_story()
    other = Entity(EntityKind.PROCESS, "desk/8")
    step = Option("process", Verb.STOP, other, 0.9, 1.0)
    story.tell(Propose(question.incident_id, (step,), "test"))
    second = questions(story)[-1]

    story.tell(answer(question, "eve"))
    story.tell(answer(second, "mallory"))

    assert (Operation.APPLY, Verb.STOP) not in orders(story)


def test_an_approval_of_another_digest_grants_nothing():
    story, question = asked_story()
    story.tell(answer(question, "eve", digest="0" * 64))
    story.tell(answer(question, "mallory", digest="0" * 64))

    assert orders(story) == [(Operation.APPLY, Verb.CONTAIN)]
    assert [note.kind for note in story.said(Note)].count("answer") == 2


def test_a_denied_proposal_leaves_what_holds():
    story, question = asked_story()
    story.tell(answer(question, granted=False))

    assert story.only_incident().state is State.CONFIRMED
    assert story.only_incident().proposed == ()


def test_silence_on_a_proposal_asks_upward_and_then_lets_it_go():
    story, _ = asked_story()
    story.wait(3000)

    assert [one.audience for one in questions(story)] == ["manager", "pager"]
    assert story.only_incident().proposed == ()
    assert (Operation.APPLY, Verb.STOP) not in orders(story)


def test_a_release_takes_back_all_that_was_done():
    story = story_with(FREEZE)
    story.tell(malware())
    incident_id = story.only_incident().incident_id
    step = Option("process", Verb.CONTAIN, Entity(EntityKind.PROCESS, "desk/9"), 0.5, 1.0)
    story.tell(Propose(incident_id, (step,), "test"))
    assert len(story.only_incident().beside) == 1

    story.tell(Release(incident_id, "eve"))

    undone = [do.action.target.value for do in story.said(Do) if do.operation is Operation.UNDO]
    assert sorted(undone) == ["desk/7", "desk/9"]
    assert story.only_incident().state is State.CLOSED


def test_release_all_takes_back_steps_too_and_the_kill_switch_keeps_proposals_from_acting():
    story, question = asked_story()
    story.tell(Kill(1, engaged=True))
    story.tell(answer(question, "eve"))
    story.tell(answer(question, "mallory"))
    assert (Operation.APPLY, Verb.STOP) not in orders(story)

    story.tell(Kill(2, engaged=True, release_all=True))

    assert story.only_incident().state is State.CLOSED


@pytest.mark.parametrize(("malicious", "told"), [(True, "malicious"), (False, "benign")])
def test_a_verdict_is_kept_open_or_closed(malicious, told):
    story, question = asked_story()
    story.tell(Verdict(question.incident_id, "eve", malicious))
    assert story.only_incident().verdict == told
    story.tell(Release(question.incident_id, "eve"))
    story.tell(Verdict(question.incident_id, "eve", not malicious))

    assert story.only_incident().state is State.CLOSED
    assert story.only_incident().verdict != told
    assert story.tell(Verdict("nobody", "eve", malicious)) == []


def test_a_step_that_the_dial_only_observes_is_noted_and_not_done():
    story = Story(Config(policy=Policy(dial={"deny:flow": "observe"})))
    story.tell(finding())
    incident = story.only_incident()
    step = Option("recording", Verb.DENY, finding().flow, 0.3, 1.0)
    effects = story.tell(Propose(incident.incident_id, (step,), "test"))

    assert [type(one) for one in effects] == [Note, Note]
    assert story.only_incident().beside == ()


def test_a_step_is_carried_out_once_renewed_and_forgotten_when_it_fails():
    story = Story(world=lambda *_: None)
    story.tell(finding())
    incident = story.only_incident()
    step = Option("recording", Verb.DENY, finding().flow, 0.3, 1.0)
    for _ in range(2):
        story.tell(Propose(incident.incident_id, (step,), "test"))

    assert len(story.said(Do)) == 2
    assert len(story.only_incident().beside) == 1


def test_while_the_kill_switch_is_engaged_leases_are_not_renewed_and_after_it_they_are():
    story = Story()
    story.tell(finding())
    story.tell(Kill(1, engaged=True))
    story.wait(250)
    assert [do.operation for do in story.said(Do)] == [Operation.APPLY]

    story.tell(Kill(2, engaged=False))
    story.wait(100)

    assert [do.operation for do in story.said(Do)] == [Operation.APPLY, Operation.RENEW]


def test_an_answer_without_the_digest_of_what_was_asked_is_none():
    story, question = asked_story()
    story.tell(answer(question, digest=""))

    assert story.only_incident().granted == ()


def test_a_no_takes_back_what_another_person_had_approved():
    story, question = asked_story()
    story.tell(answer(question, "ann", approval=b"a"))
    assert story.only_incident().granted
    story.tell(answer(question, "eve", granted=False))

    assert story.only_incident().granted == ()
    assert story.only_incident().approvals == ()


def test_what_people_approve_counts_against_the_budget():
    story = Story(Config(policy=Policy(autonomy="ask", actions_per_minute=1)))
    story.tell(finding())
    story.tell(answer(questions(story)[0]))
    story.tell(finding(2, attacker="192.0.2.67"))

    snapshot = [note.body for note in story.said(Note) if note.kind == "snapshot"][-1]
    assert snapshot.budget == 0
