"""A kernel that starts anew takes up what the ledger and the enforcer tell it."""

import pytest
from msgspec.structs import replace

from cronos.config import Config, Deadlines, Node, Policy
from cronos.kernel.node import Kernel
from cronos.testing.story import Story, finding
from cronos.types import (
    Ability,
    Answer,
    Ask,
    Blast,
    Deadline,
    Do,
    Entity,
    EntityKind,
    EvidenceClass,
    Lease,
    Note,
    Operation,
    Plan,
    Provenance,
    Recalled,
    Restart,
    Reversal,
    State,
    Verb,
)

DAY_S = 86_400


def rested(story):
    """Give what the ledger would: each incident as it last stood, and when that was written."""
    last = {}
    for note in story.said(Note):
        if note.kind in ("state", "closed", "evicted"):
            last[note.incident_id] = note.body
    return list(last.values())


def recalled(before, wall_ns=None):
    cases = rested(before)
    times = tuple(wall_ns or before.now.wall_ns for _ in cases)
    return Recalled(1, tuple(cases), times)


def another_boot():
    after = Story()
    after.boot_ns = 77
    return after


def waiting_story():
    story = Story()
    story.tell(replace(finding(), actor=None, flow=None, target=Entity(EntityKind.HOST, "desk-7")))
    assert story.only_incident().state is State.WAITING
    return story


def lease_of(incident, expires_ns):
    action = incident.decision.action
    return Lease(Plan(action, b"{}", "x", "y"), "boot", 0, expires_ns, applied=True)


def test_a_question_that_waited_is_asked_again_with_what_was_left_of_its_time():
    before, after = waiting_story(), another_boot()
    after.tell(recalled(before))

    (incident,) = after.kernel.cases.open.values()
    assert incident.state is State.WAITING
    assert [ask.question.action for ask in after.said(Ask)] == [incident.decision.action]
    assert incident.deadline_boot_ns == after.boot_ns + 300 * 10**9


def test_a_deadline_that_passed_meanwhile_is_taken_at_once():
    before, after = waiting_story(), another_boot()
    after.boot_ns = 10**15  # an hour and more later by the wall
    after.tell(recalled(before))
    after.wait(0.001)

    assert [ask.question.audience for ask in after.said(Ask)] == ["analyst", "manager"]


def test_a_clock_set_back_gives_no_more_than_was_left():
    before, after = waiting_story(), another_boot()
    after.tell(recalled(before, wall_ns=10**19))

    (incident,) = after.kernel.cases.open.values()
    assert incident.deadline_boot_ns == after.boot_ns + 300 * 10**9


def test_an_isolation_that_still_holds_is_the_case_it_was():
    before, after = Story(), another_boot()
    before.tell(finding())
    incident = before.only_incident()
    after.tell(recalled(before))
    after.tell(Restart((lease_of(incident, after.boot_ns + 10**11),)))

    again = after.only_incident()
    assert (again.title, again.state) == (incident.title, State.CONFIRMED)
    assert after.said(Do) == []

    after.wait(4000)

    assert after.only_incident().state is State.CLOSED
    assert after.said(Do)[-1].operation is Operation.UNDO


def test_an_isolation_that_nobody_holds_any_more_has_ended():
    before, after = Story(), another_boot()
    before.tell(finding())
    after.tell(recalled(before))
    after.tell(Restart(()))

    assert after.only_incident().state is State.CLOSED
    (told,) = [note.body for note in after.said(Note) if note.kind == "outcome"]
    assert "while nobody looked" in told.detail


def test_evidence_that_comes_again_is_the_same_finding():
    before, after = Story(), another_boot()
    before.tell(finding(1, evidence=EvidenceClass.STATISTICAL))
    after.tell(recalled(before))
    after.tell(finding(1, evidence=EvidenceClass.STATISTICAL))

    assert after.only_incident().finding_count == 1


def test_what_closed_within_a_day_is_shown_again_and_no_longer():
    before = Story(Config(deadlines=Deadlines(observed_s=60)))
    before.tell(finding(evidence=EvidenceClass.STATISTICAL))
    before.wait(61)
    after, later = Story(), Story()
    after.boot_ns = before.boot_ns + 3600 * 10**9
    later.boot_ns = before.boot_ns + (DAY_S + 1) * 10**9
    after.tell(recalled(before))
    later.tell(recalled(before))

    assert len(after.kernel.cases.closed) == 1
    assert len(later.kernel.cases.closed) == 0


def test_what_is_told_of_the_past_while_at_work_is_closed_and_stands_before_all_that_closed_since():
    earlier, now = Story(), Story(Config(deadlines=Deadlines(observed_s=60)))
    for n in range(3):
        earlier.tell(finding(n, attacker=f"192.0.2.{n}"))
    open_still = recalled(earlier)
    now.tell(finding(9, attacker="192.0.2.9", evidence=EvidenceClass.STATISTICAL))
    now.wait(61)
    closed = tuple(
        replace(one, incident_id=f"local-0-{n}", state=State.CLOSED)
        for n, one in enumerate(open_still.incidents)
    )
    told = replace(open_still, incidents=closed, past=True)

    now.tell(told)
    now.tell(replace(open_still, past=True))

    assert list(now.kernel.cases.closed) == ["local-0-2", "local-0-1", "local-0-0", "local-1-1"]
    assert now.kernel.cases.open == {}


def test_recalled_twice_is_once():
    before, after = waiting_story(), another_boot()
    after.tell(recalled(before))
    after.tell(recalled(before))

    assert len(after.kernel.cases.open) == 1
    assert len(after.said(Ask)) == 1


@pytest.mark.parametrize("state", [s for s in State if s is not State.CLOSED])
def test_whatever_state_is_recalled_it_closes_in_the_end(state):
    before, after = waiting_story(), another_boot()
    case = replace(rested(before)[0], state=state)
    after.tell(Recalled(1, (case,), (before.now.wall_ns,)))
    after.wait(20_000)

    assert after.only_incident().state is State.CLOSED


def test_a_stale_deadline_of_the_former_life_does_nothing():
    before, after = waiting_story(), another_boot()
    after.tell(recalled(before))
    (incident,) = after.kernel.cases.open.values()

    assert after.tell(Deadline(incident.incident_id, incident.version - 1)) == []


def test_a_proposal_that_waited_is_asked_again():
    before, after = another_boot(), another_boot()
    kill = Ability(
        Verb.STOP, EntityKind.PROCESS, "", "", Reversal.NONE, Blast.NARROW, 50, 0.9, 0.99
    )
    freeze = Ability(
        Verb.CONTAIN, EntityKind.PROCESS, "", "", Reversal.LEASED, Blast.NARROW, 50, 0.5, 0.7
    )
    for story in (before, after):
        story.kernel = Kernel(Config(), 1, {"process": (kill, freeze)})
    actor = Entity(EntityKind.PROCESS, "desk/7")
    before.tell(replace(finding(), actor=actor, flow=None))
    after.tell(recalled(before))

    (question,) = [ask.question for ask in after.said(Ask)]
    assert question.action.verb is Verb.STOP
    assert after.only_incident().proposed == (question.action,)


def held_story(count):
    story = Story()
    for number in range(count):
        story.tell(finding(number, attacker=f"192.0.2.{number + 1}"))
    return story


def test_what_the_enforcer_names_in_several_parts_is_held_whichever_part_names_it():
    before, after = held_story(3), another_boot()
    after.tell(recalled(before))
    cases = list(after.kernel.cases.open.values())
    leases = [lease_of(case, 10**12) for case in cases]
    after.tell(Restart(tuple(leases[:1]), complete=False))
    after.tell(Restart(tuple(leases[1:2]), complete=True))

    states = [after.kernel.incident(case.incident_id).state for case in cases]
    assert states == [State.CONFIRMED, State.CONFIRMED, State.CLOSED]


def test_an_isolation_that_ended_while_the_enforcer_was_away_is_begun_anew():
    """Else the attacker would be free while his case counts as held, for up to an hour."""
    story = held_story(1)
    story.tell(Restart(()))
    assert story.only_incident().state is State.CLOSED

    story.tell(finding(9, attacker="192.0.2.1"))

    assert [do.operation for do in story.said(Do)] == [Operation.APPLY, Operation.APPLY]


def test_what_was_forged_about_someone_is_not_filed_under_his_name_after_a_restart():
    before, after = Story(), another_boot()
    before.tell(finding(provenance=Provenance.SPOOFABLE))
    after.tell(recalled(before))

    assert after.kernel.cases.filed(finding().actor) is None
    assert after.kernel.cases.filed(finding().target) is not None


def test_what_was_asked_before_a_restart_is_not_done_where_it_is_protected_since():
    before = Story(Config(policy=Policy(autonomy="ask")))
    before.tell(finding())
    after = Story(Config(policy=Policy(protected=("192.0.2.0/24",))))
    after.tell(recalled(before))
    question = after.said(Ask)[0].question
    named = (question.question_id, question.incident_id, question.action.action_id)
    after.tell(Answer(*named, True, "eve", question.digest))

    assert after.said(Do) == []
    assert after.only_incident().state is State.OBSERVED


def test_what_another_node_holds_at_the_same_enforcer_is_left_to_it():
    story, other = Story(), Story(Config(node=Node("local-1")))
    other.tell(finding())
    lease = lease_of(other.only_incident(), story.boot_ns + 10**9)
    story.tell(Restart((lease,)))
    story.wait(10)

    assert story.kernel.cases.open == {}
    assert story.said(Do) == []
