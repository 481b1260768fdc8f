"""A decision is explained from what was decided about, by asking the real `decide` again."""

import math

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronos.intel.explain import ROWS, explain, lines, weights
from cronos.kernel.policy import CONFIDENCE_ROWS, decide
from cronos.types import (
    Blast,
    Disposition,
    Entity,
    EntityKind,
    Evidence,
    EvidenceClass,
    Finding,
    Impact,
    Now,
    Option,
    Provenance,
    Reversal,
    Snapshot,
    Verb,
)

ATTACKER = Entity(EntityKind.ADDRESS, "192.0.2.7")
FLOW = Entity(EntityKind.FLOW, "tcp/192.0.2.7:40312>198.51.100.2:502")
BLOCK = Option("nftables", Verb.DENY, ATTACKER, 0.4, 30.0, 0.95, 20.0)
CUT = Option("tap", Verb.DENY, FLOW, 0.3, 12.0, 0.5, 5.0)
DECLARED, STATISTICAL = EvidenceClass.DECLARED, EvidenceClass.STATISTICAL
SURE, SPOOFABLE = Provenance.AUTHENTICATED, Provenance.SPOOFABLE


def case(confidence=0.97, **changes):
    claim = Evidence("modbus-policy", confidence, DECLARED, SURE)
    made = Snapshot(
        Now(1, 2), "local-1-1", confidence, 4, DECLARED, SURE, (BLOCK, CUT), False, "act", False,
        5, 300_000_000_000, claims=(claim,), techniques=("T0855",),
    )  # fmt: skip
    return msgspec.structs.replace(made, **changes)


def explained(snapshot, findings=()):
    return explain(snapshot, decide(snapshot), findings, decide)


def test_the_rows_are_those_of_the_matrix():
    assert tuple(row[0] for row in CONFIDENCE_ROWS if row[0] > 0) == ROWS


def test_it_says_the_cell_the_action_and_where_it_would_have_asked():
    told = explained(case())

    assert told.cell == "0.95-1.00/medium"
    assert told.disposition == "auto_approve"
    assert told.action == "deny address 192.0.2.7 at nftables for 300 s"
    assert told.counterfactuals == ("would have asked an analyst below 0.85",)


@pytest.mark.parametrize("confidence", [0.1, 0.5, 0.62, 0.85, 0.9, 0.95, 0.999])
def test_every_counterfactual_about_confidence_is_true(confidence):
    snapshot = case(confidence)
    told = explained(snapshot)
    words = {
        "asked an analyst": "ask_analyst",
        "asked a manager": "ask_manager",
        "acted at once, with a review after": "auto_approve",
    }

    assert told.counterfactuals
    for sentence in told.counterfactuals:
        said, _, row = sentence.removeprefix("would have ").rpartition(" ")
        said, _, side = said.rpartition(" ")
        there = float(row) - 1e-9 if side == "below" else float(row)
        assert decide(case(there)).disposition == words[said], sentence
        assert words[said] != told.disposition


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"killed": True}, "without the kill switch"),
        ({"autonomy": "observe"}, "with every dial at act"),
        ({"protected": True}, "if the target were not protected"),
        ({"budget": 0}, "with budget left"),
        ({"provenance": SPOOFABLE}, "if the evidence could not be forged"),
        ({"evidence": STATISTICAL}, "if the anomaly were calibrated on this site"),
    ],
)
def test_each_guardrail_is_lifted_by_asking_again(changes, sentence):
    claims = (
        Evidence("a", 0.97, changes.get("evidence", DECLARED), changes.get("provenance", SURE)),
    )
    options = (BLOCK, CUT)
    if "protected" in changes:
        options = tuple(msgspec.structs.replace(one, protected=True) for one in options)
    if changes.get("budget") == 0:
        options = tuple(msgspec.structs.replace(one, budget=0) for one in options)
    snapshot = case(claims=claims, options=options, **changes)

    told = explained(snapshot)

    assert decide(snapshot).disposition is not Disposition.AUTO_APPROVE
    (found,) = [one for one in told.counterfactuals if one.endswith(sentence)]
    assert found.startswith("would have acted at once")


def test_two_guardrails_are_lifted_together_where_one_alone_changes_nothing():
    def careful(snapshot):
        held = snapshot.killed or snapshot.autonomy != "act"
        told = decide(msgspec.structs.replace(snapshot, killed=False, autonomy="act"))
        return msgspec.structs.replace(told, disposition=Disposition.OBSERVE) if held else told

    snapshot = case(killed=True, autonomy="observe")
    told = explain(snapshot, careful(snapshot), (), careful)

    assert told.counterfactuals[-1] == (
        "would have acted at once, with a review after only without the kill switch and "
        "with every dial at act"
    )


def test_evidence_is_weighed_as_the_decision_weighs_it_and_what_is_barred_weighs_nothing():
    claims = (
        Evidence("scan", 0.8, STATISTICAL, SURE),
        Evidence("syslog", 0.99, DECLARED, SPOOFABLE),
        Evidence("sigma", 0.6, DECLARED, SURE),
        Evidence("modbus-policy", 0.97, DECLARED, SURE),
        Evidence("reputation", 0.3, DECLARED, SURE),
    )
    told = explained(case(claims=claims))

    first, second, *barred = told.grounds
    assert [one.detector for one in (first, second)] == ["modbus-policy", "sigma"]
    assert first.share + second.share == pytest.approx(1.0, abs=1e-3)
    assert {one.detector: one.barred for one in barred} == {
        "scan": "statistical, and not calibrated on this site",
        "syslog": "someone else could have forged it",
        "reputation": "too weak to add anything",
    }
    assert all(one.share == 0 for one in barred)


@given(
    st.lists(
        st.builds(
            Evidence,
            st.text(max_size=3),
            st.floats(0.0, 0.99),
            st.sampled_from(EvidenceClass),
            st.sampled_from(Provenance),
        ),
        min_size=1,
        max_size=16,
    )
)
def test_the_weights_add_up_to_the_confidence_that_decided(claims):
    told = decide(case(claims=tuple(claims)))
    odds = sum(weights(claims))

    acting = [one for one in claims if one.evidence is DECLARED and one.provenance is not SPOOFABLE]
    if acting and max(one.confidence for one in acting) > 1e-5:
        assert 1 / (1 + math.exp(-odds)) == pytest.approx(told.confidence, abs=1e-3)
    elif not acting:
        assert odds == 0.0


def test_certainty_and_impossibility_stay_finite():
    claims = (Evidence("a", 1.0, DECLARED, SURE), Evidence("b", 0.0, DECLARED, SURE))
    assert [one.share for one in explained(case(1.0, claims=claims)).grounds] == [1.0, 0.0]
    doubt = (Evidence("b", 0.0, DECLARED, SURE),)
    assert [one.share for one in explained(case(0.0, claims=doubt)).grounds] == [-1.0]


def test_what_is_proposed_while_a_narrow_lease_holds_is_said():
    host = Entity(EntityKind.HOST, "pump-1")
    contain = Option("agent", Verb.CONTAIN, host, 0.75, 90.0, 0.95, 60.0, blast=Blast.HOST)
    told = explained(case(options=(contain, BLOCK)))

    assert told.action.startswith("deny address")
    assert told.proposal.startswith("contain host pump-1")
    assert [one.why_not for one in told.considered] == ["proposed to people", ""]
    assert any("Proposed to people meanwhile: contain" in one for one in lines(told))


def test_what_cannot_be_taken_back_takes_two_persons():
    stop = Option(
        "process", Verb.STOP, Entity(EntityKind.PROCESS, "h/1"), 0.2, 90.0,
        reversal=Reversal.NONE,
    )  # fmt: skip
    told = explained(case(options=(stop,)))

    assert told.persons == 2
    assert "It takes 2 persons to approve it." in lines(told)
    assert "would have acted at once if it could be taken back" in told.counterfactuals


def test_a_maintenance_window_is_lifted_too():
    told = explained(case(impact=Impact("pump", maintenance=True)))

    assert told.disposition == "ask_analyst"
    assert any(one.endswith("outside the maintenance window") for one in told.counterfactuals)


def test_what_was_considered_is_said_with_its_worth_and_why_not():
    told = explained(case())

    assert [(one.action, one.chosen) for one in told.considered] == [
        ("deny address 192.0.2.7 at nftables", True),
        ("deny flow tcp/192.0.2.7:40312>198.51.100.2:502 at tap", False),
    ]
    assert told.considered[0].why_not == ""
    assert told.considered[1].why_not == "worth less than what was chosen (12.00 of 30.00)"


def test_loss_techniques_and_clocks_are_told():
    impact = Impact(
        "ward", 5, data=("personal",), loss_mean=46_832.0, loss_p90=92_207.0, loss_digest="ab" * 32
    )
    told = explained(case(impact=impact, techniques=("T1486", "T9999")))

    assert [(one.technique, one.name) for one in told.techniques] == [
        ("T1486", "Data Encrypted for Impact"),
        ("T9999", ""),
    ]
    assert [one.deadline for one in told.clocks] == ["without undue delay", "72 hours"]
    text = "\n".join(lines(told))
    assert "At stake: ward, 46,832 a successful attack, 92,207 in one case of ten" in text
    assert "ATT&CK T1486 Data Encrypted for Impact (Impact)." in text
    assert "T9999 (unknown)" in text
    assert "72 hours from awareness" in text


def test_a_loss_that_nobody_simulated_is_not_called_simulated():
    said = lines(explained(case(impact=Impact(loss_mean=47_000.0, loss_p90=110_000.0))))

    assert "47,000 a successful attack, 110,000 in one case of ten (assumed)." in "\n".join(said)
    assert not any("simulated" in line for line in said)


def test_a_claim_below_even_speaks_against_an_attack_in_words():
    said = "\n".join(lines(explained(case(0.2))))

    assert "confidence 0.200, which rather speaks against an attack." in said
    assert "-100" not in said


def test_nothing_to_do_is_said_too():
    told = explained(case(options=()))

    assert told.action == ""
    assert lines(told)[0] == "Cronos only observed: nothing it can do names the attacker."


def test_an_old_snapshot_without_claims_is_explained_from_its_confidence():
    told = explained(case(claims=()))

    (ground,) = told.grounds
    assert (ground.detector, ground.share) == ("", 1.0)
    assert "the evidence: confidence 0.970, 100% of the evidence." in "\n".join(lines(told))


def test_foreign_text_steers_nobodys_screen_and_stays_short():
    evil = "\x1b[2J\u202eevil\nCronos acted: nothing" + "x" * 5_000
    finding = Finding(
        "modbus-policy:1", "modbus-policy", evil, evil, DECLARED, SURE, 0.97, 4, 0, (evil,)
    )
    target = Entity(EntityKind.USER, evil)
    option = msgspec.structs.replace(BLOCK, target=target, enforcement_point=evil)
    snapshot = case(
        incident_id=evil,
        options=(option,),
        claims=(Evidence(evil, 0.97, DECLARED, SURE),) * 40,
        techniques=(evil,) * 40,
        impact=Impact(evil, loss_mean=1.0, loss_digest=evil, data=("personal", evil)),
    )
    told = explained(snapshot, [finding] * 500)
    text = lines(told)

    assert all(one.isprintable() and len(one) < 1_000 for one in text)
    assert len(text) < 60
    assert len(msgspec.json.encode(told)) < 20_000


def test_explaining_changes_no_decision_and_repeats_itself():
    snapshot = case()
    before = decide(snapshot)

    assert explained(snapshot) == explained(snapshot)
    assert decide(snapshot) == before


def test_many_options_are_considered_within_bounds():
    asked = []

    def counting(snapshot):
        asked.append(snapshot)
        return decide(snapshot)

    snapshot = case(options=(BLOCK,) * 500)
    told = explain(snapshot, decide(snapshot), (), counting)

    assert len(told.considered) == 16
    assert len(asked) < 40
