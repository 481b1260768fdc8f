"""Stories of an incident: each state and each way between them, in virtual time."""

from msgspec.structs import replace

from cronos.config import Config, Deadlines, LeaseTerms, Policy
from cronos.testing.story import Story, finding, obedient
from cronos.types import (
    Action,
    Answer,
    Ask,
    BulletinKind,
    Deadline,
    Disposition,
    Do,
    Entity,
    EntityKind,
    EvidenceClass,
    Finding,
    Kill,
    Lease,
    Note,
    Operation,
    Outcome,
    Plan,
    Provenance,
    Publish,
    Release,
    Restart,
    State,
    Verb,
    action_id,
)

SHORT = Config(lease=LeaseTerms(default_s=3, max_s=3))


def silent(_operation, _action):
    return None


def refusing(operation, action):
    return Outcome(action.action_id, action.incident_id, operation, False, False, "no")


def answer(question, *, granted=True):
    named = (question.question_id, question.incident_id, question.action.action_id)
    return Answer(*named, granted, "eve", question.digest)


def operations(story):
    return [do.operation for do in story.said(Do)]


def on_a_host(number=1, confidence=0.97):
    return replace(
        finding(number, confidence=confidence),
        actor=Entity(EntityKind.USER, "CORP\\anna"),
        target=Entity(EntityKind.HOST, "desk-7"),
        flow=None,
    )


def test_a_strong_finding_is_isolated_announced_confirmed_and_released():
    story = Story(SHORT)

    story.tell(finding())

    assert story.only_incident().state is State.CONFIRMED
    assert story.only_incident().view == 1
    assert [m.name for m in story.only_incident().moments] == [
        "detected", "isolating", "isolated", "confirmed",
    ]  # fmt: skip
    assert story.said(Publish)[0].message.kind is BulletinKind.ISOLATED

    story.wait(3.1)

    assert story.only_incident().state is State.CLOSED
    assert operations(story) == [Operation.APPLY, Operation.UNDO]
    assert story.said(Publish)[-1].message.kind is BulletinKind.RELEASED


def test_every_step_is_noted():
    story = Story(SHORT)

    story.tell(finding())
    story.wait(4)

    assert [note.kind for note in story.said(Note)] == [
        "finding", "snapshot", "decision", "outcome", "bulletin", "state", "confirmed",
        "deadline", "state", "outcome", "closed", "bulletin",
    ]  # fmt: skip


def test_a_lease_is_renewed_at_a_third_until_it_needs_a_person():
    story = Story(Config(lease=LeaseTerms(default_s=30, max_s=60)))

    story.tell(finding())
    story.wait(61)

    # Renewed at 10, 20 and 30 s; a lease begun at 40 s would outlast the minute.
    assert operations(story) == [
        Operation.APPLY, Operation.RENEW, Operation.RENEW, Operation.RENEW, Operation.UNDO,
    ]  # fmt: skip


def test_forgeable_evidence_blocks_nobody():
    story = Story()

    story.tell(finding(provenance=Provenance.SPOOFABLE))

    assert story.only_incident().state is State.OBSERVED
    assert story.said(Do) == []


def test_a_thousand_weak_or_forged_findings_still_block_nobody():
    story = Story()

    for number in range(1000):
        story.tell(finding(number, provenance=Provenance.SPOOFABLE, confidence=1.0))
        story.tell(finding(-number - 1, evidence=EvidenceClass.STATISTICAL, confidence=1.0))

    assert story.said(Do) == []
    # Whom forgeable evidence names is hearsay: it is filed under the asset.
    forged, weak = story.kernel.cases.open.values()
    assert (forged.finding_count, weak.finding_count) == (1000, 1000)
    assert forged.state is weak.state is State.OBSERVED


def test_an_observed_case_acts_when_real_evidence_comes():
    story = Story()
    story.tell(finding(1, evidence=EvidenceClass.STATISTICAL))

    story.tell(finding(2))

    assert story.only_incident().state is State.CONFIRMED
    assert story.only_incident().findings == ("modbus-policy:story#1", "modbus-policy:story#2")


def test_an_observed_case_closes_by_itself():
    story = Story()
    story.tell(finding(evidence=EvidenceClass.STATISTICAL))

    story.wait(301)

    assert story.only_incident().state is State.CLOSED


def test_the_same_finding_twice_is_one():
    story = Story()

    story.tell(finding(1))
    effects = story.tell(finding(1))

    assert effects == []
    assert story.only_incident().finding_count == 1


def test_an_attack_that_goes_on_is_one_incident():
    story = Story()

    for number in range(50):
        story.tell(finding(number))

    assert story.only_incident().finding_count == 50
    assert len(story.only_incident().findings) == 16
    assert operations(story) == [Operation.APPLY]


def test_two_attackers_are_two_incidents():
    story = Story()

    story.tell(finding(1, attacker="192.0.2.1"))
    story.tell(finding(2, attacker="192.0.2.2"))

    assert len(story.kernel.cases.open) == 2


def test_a_refused_isolation_fails_and_fresh_stronger_evidence_tries_again():
    story = Story(world=refusing)
    story.tell(finding(1, confidence=0.9))
    assert story.only_incident().state is State.FAILED

    story.world = obedient
    story.tell(finding(2, confidence=0.99))

    assert story.only_incident().state is State.CONFIRMED


def test_a_failed_case_closes_by_itself():
    story = Story(world=refusing)
    story.tell(finding())

    story.wait(301)

    assert story.only_incident().state is State.CLOSED


def test_an_enforcer_that_does_not_answer_fails_the_case_and_a_late_answer_is_still_the_truth():
    story = Story(Config(deadlines=Deadlines(isolating_ms=100)), world=silent)
    story.tell(finding())
    story.wait(0.2)
    assert story.only_incident().state is State.FAILED

    action = story.said(Do)[0].action
    story.tell(obedient(Operation.APPLY, action))

    assert story.only_incident().state is State.CONFIRMED


def test_an_outcome_of_another_action_changes_nothing():
    story = Story(world=silent)
    story.tell(finding())
    incident = story.only_incident()

    story.tell(Outcome("0" * 32, incident.incident_id, Operation.APPLY, True, True, "forged"))

    assert story.only_incident().state is State.ISOLATING


def test_an_effect_that_was_not_seen_is_no_isolation():
    story = Story(world=lambda o, a: replace(obedient(o, a), verified=False))

    story.tell(finding())

    assert story.only_incident().state is State.FAILED


def test_containing_a_system_asks_the_analyst_then_the_manager_then_the_pager_then_watches():
    story = Story()

    story.tell(on_a_host())
    assert story.only_incident().state is State.WAITING
    story.wait(300 + 900 + 900 + 1)

    assert [ask.question.audience for ask in story.said(Ask)] == ["analyst", "manager", "pager"]
    assert story.only_incident().state is State.OBSERVED
    assert story.said(Do) == []


def test_a_granted_question_acts():
    story = Story()
    story.tell(on_a_host())
    question = story.said(Ask)[0].question

    story.tell(answer(question))

    assert story.only_incident().state is State.CONFIRMED
    assert story.said(Do)[0].action.verb is Verb.CONTAIN


def test_a_denied_question_watches():
    story = Story()
    story.tell(on_a_host())
    question = story.said(Ask)[0].question

    story.tell(answer(question, granted=False))

    assert story.only_incident().state is State.OBSERVED


def test_an_answer_to_another_action_grants_nothing():
    story = Story()
    story.tell(on_a_host())
    question = story.said(Ask)[0].question

    story.tell(
        Answer(question.question_id, question.incident_id, "0" * 32, True, "eve", question.digest)
    )

    assert story.only_incident().state is State.WAITING
    assert story.said(Do) == []


def test_weak_declared_evidence_asks_the_manager_first():
    story = Story()

    story.tell(on_a_host(confidence=0.3))

    assert story.said(Ask)[0].question.audience == "manager"


def test_a_person_can_release_early():
    story = Story()
    story.tell(finding())
    incident_id = story.only_incident().incident_id

    story.tell(Release(incident_id, "eve"))

    assert story.only_incident().state is State.CLOSED
    assert operations(story)[-1] is Operation.UNDO


def test_a_release_that_cannot_be_carried_out_is_handed_on_and_tried_again():
    story = Story()
    story.tell(finding())
    story.world = silent

    story.tell(Release(story.only_incident().incident_id, "eve"))
    assert story.only_incident().state is State.RELEASING
    story.wait(5.1)

    assert story.only_incident().state is State.FAILED
    assert operations(story).count(Operation.UNDO) == 2


def test_the_kill_switch_stops_execution_and_an_older_order_cannot_lift_it():
    story = Story()

    story.tell(Kill(2, engaged=True))
    story.tell(Kill(1, engaged=False))
    story.tell(finding())

    assert story.only_incident().state is State.OBSERVED
    assert story.said(Do) == []


def test_release_all_undoes_everything_that_holds():
    story = Story()
    for number in range(3):
        story.tell(finding(number, attacker=f"192.0.2.{number + 1}"))

    story.tell(Kill(1, engaged=True, release_all=True))

    assert operations(story).count(Operation.UNDO) == 3
    assert story.kernel.cases.open == {}


def test_a_killed_kernel_does_not_act_on_a_granted_question():
    story = Story()
    story.tell(on_a_host())
    question = story.said(Ask)[0].question
    story.tell(Kill(1, engaged=True))

    story.tell(answer(question))

    assert story.said(Do) == []


def test_the_budget_of_a_minute_asks_when_it_is_spent_and_comes_back():
    story = Story(Config(policy=Policy(actions_per_minute=2)))

    for number in range(3):
        story.tell(finding(number, attacker=f"192.0.2.{number + 1}"))
    states = [case.state for case in story.kernel.cases.open.values()]
    assert states == [State.CONFIRMED, State.CONFIRMED, State.WAITING]

    story.wait(61)
    story.tell(finding(9, attacker="192.0.2.9"))

    # The one that waited has had its turn in the new minute, and nobody had to be asked.
    assert operations(story).count(Operation.APPLY) == 4
    assert {case.state for case in story.kernel.cases.open.values()} == {State.CONFIRMED}


def test_a_case_that_waits_for_budget_waits_on_while_there_is_none():
    story = Story(Config(policy=Policy(actions_per_minute=1)))

    for number in range(3):
        story.tell(finding(number, attacker=f"192.0.2.{number + 1}"))
    story.wait(61)
    assert operations(story).count(Operation.APPLY) == 2
    story.wait(60)

    assert operations(story).count(Operation.APPLY) == 3


def test_a_killed_kernel_lets_no_waiting_case_act_with_new_budget():
    story = Story(Config(policy=Policy(actions_per_minute=1)))
    for number in range(2):
        story.tell(finding(number, attacker=f"192.0.2.{number + 1}"))

    story.tell(Kill(1, engaged=True))
    story.wait(61)

    assert operations(story).count(Operation.APPLY) == 1


def test_an_attack_that_goes_on_is_tried_again_after_a_refusal_but_not_in_a_rush():
    story = Story(world=refusing)
    story.tell(finding(1))
    for number in range(2, 20):
        story.tell(finding(number))
    assert operations(story).count(Operation.APPLY) == 1

    story.world = obedient
    story.wait(1.1)
    story.tell(finding(30))

    assert story.only_incident().state is State.CONFIRMED


def test_a_protected_attacker_is_refused_and_said_so():
    story = Story(Config(policy=Policy(protected=("192.0.2.66",))))

    story.tell(finding())

    assert story.only_incident().decision.disposition is Disposition.REFUSED
    assert story.only_incident().state is State.OBSERVED


def test_the_oldest_watched_case_makes_room():
    story = Story(Config(policy=Policy(max_open_incidents=2)))

    for number in range(3):
        story.tell(
            finding(number, attacker=f"192.0.2.{number}", evidence=EvidenceClass.STATISTICAL)
        )

    assert len(story.kernel.cases.open) == 2
    assert [note.kind for note in story.said(Note)].count("evicted") == 1


def test_a_stale_deadline_is_ignored():
    story = Story()
    story.tell(finding())

    assert story.tell(Deadline(story.only_incident().incident_id, 1)) == []


def test_what_the_enforcer_still_holds_after_a_restart_is_adopted_and_ends():
    story = Story()
    target = Entity(EntityKind.ADDRESS, "192.0.2.66")
    action = Action(
        action_id("recording", Verb.DENY, target),
        "recording",
        Verb.DENY,
        target,
        "local-0-7",
        10_000_000_000,
    )
    plan = Plan(action, b"{}", "block 192.0.2.66", "unblock 192.0.2.66")

    story.tell(Restart((Lease(plan, "boot", story.boot_ns, story.boot_ns + 10_000_000_000, True),)))
    assert story.only_incident().state is State.CONFIRMED
    story.wait(11)

    assert story.only_incident().state is State.CLOSED
    assert operations(story) == [Operation.UNDO]


def test_findings_are_noted_up_to_a_thousand_and_then_at_powers_of_two():
    story = Story()

    for number in range(1100):
        story.tell(finding(number))

    noted = [n for n in story.said(Note) if isinstance(n.body, Finding)]
    assert len(noted) == 1001  # 1,000 and the 1,024th


def test_what_a_guardrail_refuses_does_not_become_the_question_that_waits():
    """A second finding of the case names a protected system; people were asked of the first."""
    story = Story(Config(policy=Policy(protected=("db-1",))))
    story.tell(on_a_host(1, 0.6))
    asked = story.said(Ask)[0].question
    protected = Entity(EntityKind.HOST, "db-1")
    hostile = replace(on_a_host(2, 0.97), actor=protected)
    story.tell(hostile)

    incident = story.only_incident()
    assert incident.finding_count == 2
    assert incident.decision.action == asked.action
    story.wait(301)
    assert {ask.question.action.target.value for ask in story.said(Ask)} == {"desk-7"}


def test_an_attacker_whose_flow_is_cut_does_not_go_on_through_another():
    """Addresses are asked about, flows are not: the second flow is cut like the first."""
    story = Story(Config(policy=Policy(dial={"deny:address": "ask"})))
    for number in range(3):
        story.tell(finding(number))
    story.tell(finding(2))

    cut = [do.action.target.value for do in story.said(Do) if do.operation is Operation.APPLY]
    assert cut == [finding(number).flow.value for number in range(3)]
    story.tell(Release(story.only_incident().incident_id, "eve"))
    assert operations(story).count(Operation.UNDO) == 3


def test_of_those_who_share_a_case_in_a_flood_each_answers_for_his_own_deeds():
    story = Story(Config(policy=Policy(flood_incidents=1)))
    story.tell(finding(1, attacker="192.0.2.1"))
    story.tell(finding(2, attacker="192.0.2.2"))  # the case of the asset, and isolated in it
    story.tell(finding(3, attacker="192.0.2.3"))
    story.tell(replace(finding(4, attacker="192.0.2.4", confidence=0.6), detector="scan"))

    assert len(story.kernel.cases.open) == 2
    assert [do.action.target.value for do in story.said(Do)] == [f"192.0.2.{n}" for n in (1, 2, 3)]


def test_after_the_kill_switch_an_attack_that_goes_on_is_acted_upon():
    story = Story()
    story.tell(Kill(1, engaged=True))
    story.tell(finding(1))
    assert story.only_incident().state is State.OBSERVED
    story.tell(Kill(2, engaged=False))
    story.tell(finding(2))

    assert story.only_incident().state is State.CONFIRMED


def test_where_the_world_refuses_those_who_share_a_case_are_tried_once_a_second_too():
    story = Story(Config(policy=Policy(flood_incidents=1)), world=refusing)
    for number in range(1, 30):
        story.tell(finding(number, attacker=f"192.0.2.{number}"))
    assert len(operations(story)) == 2
    story.wait(1)
    story.tell(finding(40, attacker="192.0.2.40"))

    assert story.said(Do)[-1].action.target.value == "192.0.2.40"


def test_what_a_person_denied_is_not_begun_by_the_same_evidence_again():
    story = Story(Config(policy=Policy(autonomy="ask")))
    story.tell(finding(1))
    story.tell(answer(story.said(Ask)[0].question, granted=False))
    story.tell(finding(2))

    assert story.only_incident().state is State.OBSERVED
    assert len(story.said(Ask)) == 1
