"""What became of decisions, told as records and counted; silence and dry runs count nothing."""

import msgspec
import pytest

from cronos.govern.outcomes import OutcomeFold, Share, candidate_file, tracking
from cronos.types import (
    Action,
    Answer,
    AuditRecord,
    Decision,
    Disposition,
    Entity,
    EntityKind,
    EvidenceClass,
    Finding,
    Incident,
    Operation,
    Outcome,
    Provenance,
    Question,
    State,
    Verb,
    Verdict,
    encode,
)

ATTACKER = Entity(EntityKind.ADDRESS, "192.0.2.7")
ACTION = Action("a" * 32, "nftables", Verb.DENY, ATTACKER, "i", 1)


class Ledger:
    """Tells stories of incidents as records, a second apart."""

    def __init__(self):
        self.records = []
        self.wall_ns = 1_000_000_000

    def tell(self, incident_id, body, kind="x"):
        self.wall_ns += 1_000_000_000
        self.records.append(
            encode(AuditRecord("local", kind, self.wall_ns, 0, incident_id, encode(body)))
        )

    def found(self, name, detector="modbus-policy", confidence=0.97, techniques=("T0855",)):
        self.tell(
            name,
            Finding(
                f"{detector}:{name}", detector, "t", "e", EvidenceClass.DECLARED,
                Provenance.AUTHENTICATED, confidence, 4, 0, techniques, ATTACKER,
            ),
        )  # fmt: skip

    def decided(self, name, disposition=Disposition.EXECUTE, would=Disposition.EXECUTE):
        decision = Decision(name, disposition, 0.97, 0.4, "0.95-1.00/medium", ACTION, ())
        self.tell(name, msgspec.structs.replace(decision, would=would))

    def applied(self, name, ok=True, verified=True, dry_run=False):
        outcome = Outcome("a" * 32, name, Operation.APPLY, ok, verified, "", dry_run=dry_run)
        self.tell(name, outcome)

    def asked(self, name):
        self.tell(name, Question("q", name, "analyst", "May it?", ACTION, 1))

    def answered(self, name, granted, subject="alice"):
        self.tell(name, Answer("q", name, "a" * 32, granted, subject))

    def judged(self, name, malicious):
        self.tell(name, Verdict(name, "alice", malicious))

    def closed(self, name):
        one = Incident(
            name, State.CLOSED, ATTACKER, None, "t", 0.9, 4, EvidenceClass.DECLARED,
            Provenance.AUTHENTICATED, ("T0855",), (), 1, 0, 0, 9,
        )  # fmt: skip
        self.tell(name, one, "closed")


@pytest.fixture
def ledger():
    return Ledger()


def counted(share):
    return share.right, share.of


def test_autonomy_is_what_was_carried_out_before_anyone_granted_it(ledger):
    for name in ("alone", "granted", "later"):
        ledger.found(name)
        ledger.decided(name)
    ledger.applied("alone")
    ledger.asked("granted")
    ledger.answered("granted", True)
    ledger.applied("granted")
    ledger.applied("later")
    ledger.answered("later", True)
    ledger.applied("later")

    found = tracking(ledger.records)

    assert counted(found.autonomy) == (2, 3)
    assert counted(found.escalation) == (1, 3)
    assert counted(found.isolated) == (3, 3)


def test_success_is_counted_by_technique(ledger):
    ledger.found("a", techniques=("T0855", "T0836"))
    ledger.applied("a")
    ledger.found("b", techniques=("T0855",))
    ledger.applied("b", ok=False, verified=False)
    ledger.found("c", techniques=("T0836",))
    ledger.applied("c", verified=False)

    found = tracking(ledger.records)

    assert [
        (one.technique, one.incidents, counted(one.isolated), counted(one.verified))
        for one in found.techniques
    ] == [("T0836", 2, (2, 2), (1, 2)), ("T0855", 2, (1, 2), (1, 1))]
    assert found.isolated == Share(2, 3, 0.0943, 0.9916)


def test_people_judge_by_verdict_and_else_by_answer_and_silence_judges_nothing(ledger):
    for name in "abcde":
        ledger.found(name)
        ledger.decided(name)
        ledger.applied(name)
    ledger.judged("a", True)
    ledger.judged("b", True)
    ledger.judged("b", False)  # the last word counts
    ledger.answered("c", False)
    ledger.answered("d", False, subject="")
    ledger.answered("e", False)
    ledger.judged("e", True)

    found = tracking(ledger.records)

    assert counted(found.false_positives) == (2, 4)
    assert counted(found.false_isolations) == (2, 4)
    assert (found.judged_by_verdict, found.judged_by_answer) == (3, 1)


def test_a_no_to_what_was_proposed_besides_does_not_call_the_attack_a_false_alarm(ledger):
    for name in ("no", "yes", "stray"):
        ledger.found(name)
        ledger.decided(name)
        ledger.applied(name)
    other = msgspec.structs.replace(ACTION, action_id="b" * 32, verb=Verb.CONTAIN)
    for name, granted in (("no", False), ("yes", True)):
        ledger.tell(name, Question("q", name, "analyst", "All of it?", other, 1))
        ledger.tell(name, Answer("q", name, "b" * 32, granted, "alice"))
    ledger.tell("stray", Answer("q", "stray", "c" * 32, True, "alice"))

    found = tracking(ledger.records)

    assert counted(found.false_positives) == (0, 1)
    assert found.judged_by_answer == 1
    assert [(one.right, one.n) for one in found.candidates] == [(1, 1)]


def test_a_decision_about_a_step_is_not_what_a_no_is_about(ledger):
    ledger.found("a")
    ledger.decided("a")
    step = msgspec.structs.replace(ACTION, action_id="b" * 32)
    decision = Decision("a", Disposition.ASK_ANALYST, 0.97, 0.9, "0.95-1.00/high", step, ())
    ledger.tell("a", decision, "step")
    ledger.tell("a", Answer("q", "a", "b" * 32, False, "alice"))

    assert tracking(ledger.records).false_positives.of == 0


def test_the_shadow_score_compares_what_would_have_been_done_with_the_verdict(ledger):
    stories = {
        "acts, right": (Disposition.EXECUTE, True),
        "acts, wrong": (Disposition.AUTO_APPROVE, False),
        "waits, right": (Disposition.ASK_ANALYST, False),
        "waits, wrong": (Disposition.OBSERVE, True),
        "acts later, right": (Disposition.OBSERVE, True),
    }
    for name, (would, malicious) in stories.items():
        ledger.found(name)
        ledger.decided(name, Disposition.OBSERVE, would)
        ledger.judged(name, malicious)
    ledger.decided("acts later, right", Disposition.OBSERVE, Disposition.EXECUTE)
    ledger.found("never decided")
    ledger.judged("never decided", True)

    found = tracking(ledger.records)

    assert counted(found.shadow) == (3, 5)
    assert found.shadow.low < 0.6 < found.shadow.high


def test_time_to_resolution_runs_from_the_first_finding_to_the_first_closing(ledger):
    for name, findings in (("a", 1), ("b", 3), ("c", 9)):
        for _ in range(findings):
            ledger.found(name)
        ledger.closed(name)
        ledger.closed(name)
    ledger.found("open")

    found = tracking(ledger.records)

    assert (found.resolved, found.resolution_p50_s, found.resolution_p95_s) == (3, 3.0, 9.0)


def test_a_dry_run_an_adjusted_workload_and_an_undo_isolate_nobody(ledger):
    ledger.found("a")
    ledger.applied("a", dry_run=True)
    ledger.tell("a", Outcome("w", "a", Operation.APPLY, True, True, ""), "workflow")
    ledger.tell("a", Outcome("w", "a", Operation.UNDO, True, True, ""))

    found = tracking(ledger.records)

    assert (found.isolated.of, found.autonomy.of) == (0, 0)
    assert found.autonomy == Share(0, 0, 0.0, 1.0)


def test_what_stands_twice_counts_once(ledger):
    ledger.found("a")
    ledger.decided("a")
    ledger.applied("a")
    ledger.judged("a", True)
    ledger.closed("a")

    assert tracking(ledger.records * 2) == tracking(ledger.records)


def test_what_is_erased_damaged_or_of_a_later_version_counts_nothing(ledger):
    ledger.found("a")
    junk = [b"", b"junk", b"\x01\x05Later\x90", encode(ATTACKER)]
    junk += [
        encode(AuditRecord("n", "x", 0, 0, "z", body)) for body in (b"", b"\x01", b"\x02\x01a")
    ]

    assert tracking([*junk, *ledger.records, *junk]) == tracking(ledger.records)


def test_candidates_count_each_detector_once_an_incident_in_its_band(ledger):
    for n in range(12):
        ledger.found(f"i-{n}", confidence=0.90)
        ledger.found(f"i-{n}", confidence=0.97)
        ledger.found(f"i-{n}", "sigma", 0.6)
        ledger.judged(f"i-{n}", n > 0)
    ledger.found("unjudged")

    found = tracking(ledger.records)

    assert [(one.detector, one.above, one.below, one.right, one.n) for one in found.candidates] == [
        ("modbus-policy", 0.95, 1.0, 11, 12),
        ("sigma", 0.5, 0.85, 11, 12),
    ]
    document = msgspec.json.decode(candidate_file(found))
    assert document["schema"] == "cronos.calibration/1"
    assert document["candidate"] is True
    assert document["rows"][0]["low"] == pytest.approx(0.6152, abs=1e-4)
    assert candidate_file(tracking(ledger.records)) == candidate_file(found)


def test_memory_is_bounded_and_says_what_it_left_out(ledger):
    fold = OutcomeFold(max_cases=10)
    for n in range(25):
        ledger.found(f"i-{n}")
    for record in ledger.records:
        fold.take(record)

    found = fold.result()

    assert (found.incidents, found.left_out) == (10, 15)


def test_an_incident_with_thousands_of_claims_stays_small(ledger):
    for n in range(2_000):
        ledger.found("a", f"d{n}", 0.5, (f"T{n}",))

    found = tracking(ledger.records)

    assert len(found.techniques) == 16
    assert found.incidents == 1
