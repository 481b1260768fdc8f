"""The shell: batches what leaves, forgets nothing unanswered, acknowledges what is durable."""

import asyncio

from msgspec.structs import replace

from cronos.config import Config, Policy
from cronos.kernel.node import Kernel
from cronos.runtime.reflex import Reflex
from cronos.runtime.telemetry import Log
from cronos.testing.clock import VirtualClock
from cronos.testing.story import POINTS, Story, finding, obedient
from cronos.types import (
    Appended,
    AuditRecord,
    Bulletin,
    BulletinKind,
    Deadline,
    Decision,
    Entity,
    EntityKind,
    EvidenceClass,
    Lease,
    Manifest,
    Members,
    Operation,
    Option,
    Outcomes,
    Plan,
    Publish,
    Recall,
    Recalled,
    Receipt,
    Report,
    Reported,
    Restart,
    State,
    Verb,
    decode,
)


class Stage:
    """A reflex between a ledger and an enforcer that a test plays."""

    def __init__(self, config=None):
        self.orders, self.appends, self.answers = [], [], []
        clock = self.clock = VirtualClock()
        self.reflex = Reflex(
            Kernel(config or Config(), 1, POINTS),
            "north",
            clock,
            Log("north", clock, least="error"),
            lambda order: bool(self.orders.append(order)) or True,
            lambda append: bool(self.appends.append(append)) or True,
        )

    def report(self, number, *findings):
        self.reflex.on_report(
            Report(number, findings), lambda datum: bool(self.answers.append(datum)) or True
        )

    def store(self, upto=None):
        for append in self.appends[:upto]:
            self.reflex.on_ledger(Appended(append.request_id, 1))
        del self.appends[:upto]

    def obey(self):
        order = self.orders.pop(0)
        outcomes = tuple(obedient(order.operation, action) for action in order.actions)
        self.reflex.on_enforcer(Outcomes(order.order_id, outcomes))


def play(story, config=None):
    async def run():
        stage = Stage(config)
        await story(stage)

    asyncio.run(run())


async def turn():
    await asyncio.sleep(0)
    await asyncio.sleep(0)


def watched(number, attacker):
    return finding(number, attacker=attacker, evidence=EvidenceClass.STATISTICAL)


def attackers(count):
    return [finding(n, attacker=f"192.0.2.{n % 250}.{n}".rsplit(".", 1)[0]) for n in range(count)]


def test_all_orders_of_one_turn_leave_as_one_batch():
    async def story(stage):
        stage.report(1, *attackers(100))
        await turn()
        assert [len(order.actions) for order in stage.orders] == [100]
        assert stage.orders[0].operation is Operation.APPLY

    play(story)


def test_a_report_is_acknowledged_only_when_its_records_are_durable_and_its_orders_answered():
    async def story(stage):
        stage.report(1, finding())
        await turn()
        assert stage.answers == []
        stage.store()
        assert stage.answers == []
        stage.obey()
        assert stage.answers == [Reported(1)]

    play(story)


def test_an_answer_to_an_older_append_acknowledges_no_newer_report():
    async def story(stage):
        stage.report(1, watched(1, "192.0.2.1"))
        await turn()
        stage.report(2, watched(2, "192.0.2.2"))
        await turn()
        stage.store(1)
        assert stage.answers == [Reported(1)]
        stage.store()
        assert stage.answers == [Reported(1), Reported(2)]

    play(story)


def test_a_report_with_nothing_new_is_acknowledged_at_once():
    async def story(stage):
        stage.report(1)
        await turn()
        assert stage.answers == [Reported(1)]

    play(story)


def test_records_carry_node_time_and_the_exact_datum():
    async def story(stage):
        stage.report(1, finding())
        await turn()
        records = [decode(data) for append in stage.appends for data in append.records]
        assert all(isinstance(record, AuditRecord) for record in records)
        assert [record.kind for record in records] == ["finding", "snapshot", "decision"]
        assert decode(records[0].body) == finding()
        assert isinstance(decode(records[2].body), Decision)

    play(story)


def test_what_the_ledger_refused_is_kept_and_sent_again_once_however_much_it_is():
    async def story(stage):
        for number in range(5):
            stage.report(number, watched(number, f"192.0.2.{number}"))
            await turn()
        refused = list(stage.appends)
        for append in refused:
            stage.reflex.on_ledger(Appended(append.request_id, 0, "No space left."))
        for probe in refused[:3]:
            stage.appends.clear()
            stage.reflex._try_again()
            assert stage.appends == [probe]
            stage.reflex.on_ledger(Appended(probe.request_id, 0, "No space left."))
            assert stage.answers == []
        stage.appends.clear()
        stage.reflex._try_again()
        assert stage.appends == [refused[3]]
        stage.store(1)
        assert stage.appends == [refused[place] for place in (0, 1, 2, 4)]
        stage.store()
        assert len(stage.answers) == 5

    play(story)


def test_what_was_refused_and_stored_after_a_restart_holds_up_nothing_that_is_refused_still():
    async def story(stage):
        for number in range(2):
            stage.report(number, watched(number, f"192.0.2.{number}"))
            await turn()
        first, second = stage.appends
        for append in (first, second):
            stage.reflex.on_ledger(Appended(append.request_id, 0, "No space left."))
        stage.appends.clear()
        stage.reflex.resend_records()
        stage.reflex.on_ledger(Appended(first.request_id, 1))
        stage.reflex.on_ledger(Appended(second.request_id, 0, "No space left."))
        stage.appends.clear()
        stage.reflex._try_again()
        assert stage.appends == [second]

    play(story)


def test_a_ledger_that_goes_on_refusing_is_told_of_once(capsys):
    async def story(stage):
        for number in range(5):
            stage.report(number, watched(number, f"192.0.2.{number}"))
            await turn()
        for _ in range(3):
            for append in stage.appends:
                stage.reflex.on_ledger(Appended(append.request_id, 0, "No space left."))

    play(story)
    assert capsys.readouterr().err.count("ledger.append_failed") == 1


def test_a_restarted_ledger_is_given_everything_that_it_has_not_acknowledged():
    async def story(stage):
        stage.report(1, watched(1, "192.0.2.1"))
        await turn()
        append = stage.appends.pop()
        stage.reflex.resend_records()
        assert stage.appends == [append]

    play(story)


def test_orders_without_an_answer_are_sent_to_a_restarted_enforcer():
    async def story(stage):
        stage.report(1, finding())
        await turn()
        order = stage.orders.pop()
        stage.reflex.resend_orders()
        assert stage.orders == [order]
        stage.obey()
        stage.reflex.resend_orders()
        assert stage.orders == []

    play(story)


def test_it_has_settled_when_everything_is_answered_and_recorded():
    async def story(stage):
        assert stage.reflex.settled()
        stage.report(1, finding())
        await turn()
        assert not stage.reflex.settled()
        stage.obey()
        await turn()
        stage.store()
        assert stage.reflex.settled()

    play(story)


def test_a_case_knows_its_records_and_outcomes():
    async def story(stage):
        stage.report(1, finding())
        await turn()
        stage.obey()
        await turn()
        stage.store()
        (incident,) = stage.reflex.incidents()
        case = stage.reflex.cases[incident.incident_id]
        assert case.first_position == 1
        assert [outcome.ok for outcome in case.outcomes] == [True]
        assert case.findings == [finding()]

    play(story)


def test_large_batches_are_cut_to_fit_a_frame():
    async def story(stage):
        stage.report(1, *[finding(n, attacker=f"10.0.{n // 250}.{n % 250}") for n in range(1500)])
        while not stage.appends:
            await turn()
        assert [len(order.actions) for order in stage.orders] == [250] * 6
        assert all(sum(map(len, append.records)) <= 1 << 20 for append in stage.appends)

    play(story)


def test_findings_wait_while_enough_is_under_way_and_the_gravest_goes_first():
    async def story(stage):
        grave = replace(finding(3, attacker="192.0.2.3"), severity=5)
        stage.report(1, finding(1, attacker="192.0.2.1"))
        stage.report(2, finding(2, attacker="192.0.2.2"), grave)
        await turn()
        assert [a.target.value for order in stage.orders for a in order.actions] == ["192.0.2.1"]
        assert not stage.reflex.settled()

        stage.obey()
        await turn()

        assert [a.target.value for order in stage.orders for a in order.actions] == ["192.0.2.3"]
        stage.obey()
        await turn()
        stage.obey()
        await turn()
        assert stage.answers == []
        stage.store()
        assert stage.answers == [Reported(1), Reported(2)]

    play(story, Config(policy=Policy(max_active_incidents=1)))


def test_what_waits_is_taken_when_the_enforcer_stays_silent():
    async def story(stage):
        stage.report(1, finding(1, attacker="192.0.2.1"), finding(2, attacker="192.0.2.2"))
        await turn()
        for case in list(stage.reflex.kernel.cases.open.values()):
            stage.reflex._ring(Deadline(case.incident_id, case.version))
        await turn()

        assert len(stage.orders) == 2

    play(story, Config(policy=Policy(max_active_incidents=1)))


def test_a_peers_word_waits_for_the_answers_to_peers_but_not_for_a_ledger_that_stores_nothing():
    async def story(stage):
        reflex, later = stage.reflex, []
        reflex._timers.after = lambda delay_ns, event: later.append((delay_ns, event))
        reflex.peering.publish(Publish(Receipt("local", "b", 1), "b"))
        told = replace(finding(1), detected_boot_ns=reflex._clock.now().boot_ns)
        reflex._ring(told)
        assert (later, stage.orders) == ([(10_000_000, told)], [])

        reflex._ring(replace(finding(2), detected_boot_ns=told.detected_boot_ns - 2_000_000_000))
        await turn()
        assert len(stage.orders) == 1
        stage.store()
        reflex._ring(replace(told, actor=Entity(EntityKind.ADDRESS, "192.0.2.9")))
        await turn()
        assert len(stage.orders) == 2

    play(story)


def test_nothing_is_taken_before_the_past_is():
    async def story(stage):
        stage.reflex.recall_hours = 24
        stage.reflex.resend_records()
        (recall,) = stage.appends
        assert recall == Recall(recall.request_id, 24)
        stage.appends.clear()
        stage.report(1, finding())
        stage.reflex.on_enforcer(Restart(()))
        await turn()
        assert (stage.orders, stage.appends) == ([], [])

        past = Story()
        past.tell(finding(7, attacker="192.0.2.7"))
        held = replace(past.only_incident(), incident_id="local-0-1")
        stage.reflex.on_ledger(
            Recalled(recall.request_id, (held,), (stage.clock.now().wall_ns,), False)
        )
        await turn()
        assert stage.orders == []
        stage.reflex.on_ledger(Recalled(recall.request_id, (), ()))
        await turn()

        applied = [one for one in stage.orders if one.operation is Operation.APPLY]
        assert [one.actions[0].incident_id for one in applied] == ["local-1-1"]
        assert stage.reflex.kernel.incident(held.incident_id).state is State.CLOSED

    play(story)


def test_what_has_closed_long_ago_is_not_what_a_start_waits_for():
    async def story(stage):
        stage.reflex.recall_hours = 24
        stage.report(1, finding())
        stage.reflex.on_ledger(Recalled(7, (), (), past=True))
        await turn()
        assert stage.orders == []
        stage.reflex.on_ledger(Recalled(7, (), ()))
        await turn()
        assert len(stage.orders) == 1

    play(story)


def test_what_has_closed_long_ago_is_learnt_while_at_work():
    async def story(stage):
        stage.report(1, finding())
        await turn()
        past = Story()
        past.tell(finding(7, attacker="192.0.2.7"))
        closed = replace(past.only_incident(), incident_id="local-0-1", state=State.CLOSED)
        now = (stage.clock.now().wall_ns,)
        stage.reflex.on_ledger(Recalled(7, (replace(closed, incident_id="local-0-2"),), now))
        stage.reflex.on_ledger(Recalled(7, (closed,), now, past=True))

        assert stage.reflex.kernel.incident("local-0-1").state is State.CLOSED
        assert stage.reflex.kernel.incident("local-0-2") is None

    play(story)


def test_a_ledger_that_does_not_recall_holds_nothing_up_for_good():
    async def story(stage):
        stage.reflex.recall_hours = 24
        stage.report(1, finding())
        stage.reflex._give_up_recall()
        stage.reflex._give_up_recall()
        await turn()

        assert len(stage.orders) == 1

    play(story)


class FlowPlanner:
    """Proposes to cut the flow as well, as long as one outcome is known."""

    manifest = Manifest("flow", "a test's")

    def plan(self, incident, history):
        if len(history) != 1:
            return ()
        return [Option("recording", Verb.DENY, finding().flow, 0.3, 1.0)]


class BrokenPlanner:
    manifest = Manifest("broken", "a test's")

    def plan(self, incident, history):
        raise ValueError(incident.incident_id)


def test_a_planner_proposes_once_and_a_broken_one_stops_nobody():
    async def story(stage):
        stage.reflex.planners = (BrokenPlanner(), FlowPlanner())
        stage.report(1, finding())
        await turn()
        stage.obey()
        await turn()
        await turn()
        (order,) = stage.orders
        assert [action.target for action in order.actions] == [finding().flow]
        stage.obey()
        await turn()

        assert stage.orders == []

    play(story)


def test_a_flood_of_cases_pushes_no_question_out(monkeypatch):
    monkeypatch.setattr("cronos.runtime.reflex._MAX_CASES", 10)

    async def story(stage):
        stage.report(1, finding(0, confidence=0.6))
        assert len(stage.reflex.questions()) == 1
        for number in range(1, 30):
            stage.report(number, watched(number, f"10.0.0.{number}"))
        (question,) = stage.reflex.questions()
        assert question.action.target.value == "192.0.2.66"
        assert len(stage.reflex.cases) == 10

    play(story)


def test_what_the_enforcer_undid_while_the_past_was_recalled_does_not_count_as_held():
    before = Story()
    before.tell(finding())
    held = before.only_incident()
    lease = Lease(Plan(held.decision.action, b"", "", ""), "boot", 0, 10**15, applied=True)

    async def story(stage):
        stage.reflex.recall_hours = 24
        stage.reflex.on_enforcer(Restart((lease,)))
        undone = obedient(Operation.UNDO, held.decision.action)
        stage.reflex.on_enforcer(Outcomes(0, (undone,)))
        stage.reflex.on_ledger(Recalled(1, (held,), (stage.clock.now().wall_ns,)))
        assert stage.reflex.kernel.incident(held.incident_id).state is State.CLOSED

    play(story)


def test_an_order_of_a_case_that_has_ended_is_not_sent_again():
    async def story(stage):
        stage.report(1, finding(1), finding(2, attacker="192.0.2.67"))
        await turn()
        (order,) = stage.orders
        gone, open_still = (action.incident_id for action in order.actions)
        for _ in range(2):  # isolating, failed: nobody has answered
            version = stage.reflex.kernel.incident(gone).version
            stage.reflex.take(Deadline(gone, version))
        stage.reflex.resend_orders()
        assert [one.incident_id for one in stage.orders[-1].actions] == [open_still]

    play(story)


def test_outcomes_without_end_do_not_fill_the_memory():
    async def story(stage):
        stage.report(1, finding())
        await turn()
        action = stage.orders[0].actions[0]
        refused = replace(obedient(Operation.APPLY, action), ok=False)
        for _ in range(1_100):
            stage.reflex.on_enforcer(Outcomes(0, (refused,)))
        assert len(stage.reflex.cases[action.incident_id].outcomes) == 1_000

    play(story)


def test_a_thousand_at_once_leave_turn_by_turn_and_before_their_records():
    async def story(stage):
        stage.report(1, *[finding(n, attacker=f"10.0.{n // 250}.{n % 250}") for n in range(1000)])
        assert [len(order.actions) for order in stage.orders] == [250]
        await asyncio.sleep(0)
        assert [len(order.actions) for order in stage.orders] == [250] * 2
        assert stage.appends == []  # no isolation waits for another's record
        stage.obey()  # nor for the news of another's
        assert sum(case.state is State.ISOLATING for case in stage.reflex.incidents()) >= 500
        while not stage.reflex.settled():
            while stage.orders:
                stage.obey()
            stage.store()
            await turn()
        assert len(stage.answers) == 1
        states = {case.state for case in stage.reflex.incidents()}
        assert states == {State.CONFIRMED}

    play(story)


# --- peers ---------------------------------------------------------------------------------------

FAR = Entity(EntityKind.ADDRESS, "192.0.2.200")


def told(number, actor=FAR):
    return Bulletin(
        f"east-1-{number}-isolated", BulletinKind.ISOLATED, "east", f"east-1-{number}",
        (1 << 32) + number, actor, None, (), 0.97, None, 300, 4,
    )  # fmt: skip


def meshed(stage):
    given = []
    stage.reflex.peering.send = lambda datum: bool(given.append(datum)) or True
    stage.reflex.on_mesh(Members(("east",)))
    return given


def receipts(given):
    return [one.message for one in given if isinstance(one, Publish)]


def test_a_receipt_leaves_when_its_record_is_durable_and_waits_for_no_enforcer():
    async def story(stage):
        given = meshed(stage)
        stage.report(1, finding())  # its order is never answered
        for number in (1, 2):
            stage.reflex.on_mesh(told(number, None))
        await turn()
        assert receipts(given) == []
        stage.store()
        assert receipts(given) == [Receipt("local", "east", (1 << 32) + 2)]

    play(story)


def test_what_was_isolated_is_published_and_given_again_until_it_is_durable():
    async def story(stage):
        given = meshed(stage)
        stage.report(1, finding())
        await turn()
        stage.obey()
        (bulletin,) = receipts(given)
        assert bulletin.kind is BulletinKind.ISOLATED
        stage.reflex.peering.resend()
        assert len(receipts(given)) == 2
        stage.reflex.on_mesh(Receipt("local", "local", bulletin.sequence))
        stage.reflex.peering.resend()
        assert len(receipts(given)) == 2
        stage.reflex.on_mesh(Receipt("east", "local", bulletin.sequence))
        (incident,) = stage.reflex.kernel.cases.open.values()
        assert (incident.state, incident.view) == (State.CONFIRMED, 2)

    play(story)


def test_what_peers_tell_before_the_past_is_taken_up_waits():
    async def story(stage):
        stage.reflex.recall_hours = 24
        meshed(stage)
        stage.reflex.on_mesh(told(1))
        assert stage.reflex.kernel.communication.is_new(told(1))
        stage.reflex.on_ledger(Recalled(1, (), ()))
        assert not stage.reflex.kernel.communication.is_new(told(1))

    play(story)


def test_what_a_peer_told_is_decided_in_its_turn_and_ordered_in_the_highest_epoch():
    async def story(stage):
        meshed(stage)
        stage.reflex.kernel.defense.epoch = 41
        stage.reflex.on_mesh(told(1))
        await turn()
        assert stage.orders == []
        stage.store()
        await asyncio.sleep(0.02)
        await turn()
        (order,) = stage.orders
        assert [(one.target, one.epoch) for one in order.actions] == [(FAR, 41)]

    play(story)


def test_a_flood_tells_peers_first_and_writes_its_records_three_tenths_of_a_second_later():
    async def story(stage):
        given = meshed(stage)
        await turn()
        stage.store()
        stage.report(1, *attackers(240))
        await turn()
        assert not stage.appends
        assert not stage.reflex.settled()
        stage.obey()
        await turn()
        assert len(receipts(given)) == 240  # the bulletins
        assert not stage.appends
        stage.clock.advance(299_999_999)
        await asyncio.sleep(0.05)
        assert not stage.appends
        # What a peer waits for does not wait, and takes with it all that was noted before.
        stage.reflex.on_mesh(told(1))
        await turn()
        assert sum(len(append.records) for append in stage.appends) > 1_000
        stage.store()
        assert receipts(given)[-1] == Receipt("local", "east", (1 << 32) + 1)

    play(story, Config(policy=Policy(actions_per_minute=10_000)))


def test_records_of_a_flood_do_not_wait_for_good_and_alone_not_at_all():
    async def story(stage):
        meshed(stage)
        stage.report(1, *attackers(240))
        await turn()
        assert not stage.appends
        stage.clock.advance(300_000_000)
        await asyncio.sleep(0.05)
        assert stage.appends
        alone = Stage(Config(policy=Policy(actions_per_minute=10_000)))
        alone.report(1, *attackers(240))
        await turn()
        assert alone.appends

    play(story, Config(policy=Policy(actions_per_minute=10_000)))


def test_outcomes_that_were_held_back_are_heard_a_turn_each_in_their_order():
    async def story(stage):
        given = meshed(stage)
        for begin in (0, 80, 160):
            stage.report(begin, *attackers(240)[begin : begin + 80])
            await turn()
        assert [len(order.actions) for order in stage.orders] == [80, 80, 80]
        stage.reflex._draining = True
        for _ in range(3):
            stage.obey()
        assert not receipts(given)
        stage.reflex._draining = False
        stage.reflex._hear_held_back()
        heard = [len(receipts(given))]
        for _ in range(3):
            await asyncio.sleep(0)
            heard.append(len(receipts(given)))
        assert heard == [80, 160, 240, 240]
        sequences = [one.sequence for one in receipts(given)]
        assert sequences == sorted(sequences)

    play(story, Config(policy=Policy(actions_per_minute=10_000)))
