"""The matrix exactly as promised, and guardrails that only make it more careful."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronos.config import Config, Policy
from cronos.kernel.assets import Protected
from cronos.kernel.options import Options
from cronos.kernel.policy import CAUTION, cell, decide
from cronos.testing.story import POINTS, finding
from cronos.types import (
    Disposition,
    Entity,
    EntityKind,
    EvidenceClass,
    LossTable,
    Now,
    Provenance,
    Snapshot,
    Verb,
    encode,
    flow_entity,
)

EXECUTE, AUTO = Disposition.EXECUTE, Disposition.AUTO_APPROVE
ANALYST, MANAGER = Disposition.ASK_ANALYST, Disposition.ASK_MANAGER

MATRIX = {
    0.95: (EXECUTE, AUTO, ANALYST),
    0.85: (EXECUTE, AUTO, ANALYST),
    0.50: (AUTO, ANALYST, ANALYST),
    0.00: (MANAGER, MANAGER, MANAGER),
}


def snapshot(**changes):
    claim = finding()
    options = Options(Config(), POINTS, LossTable()).against(claim, claim.confidence, Now(1, 2))[0]
    given_values = {
        "now": Now(1, 2),
        "incident_id": "local-1-1",
        "confidence": 0.97,
        "severity": 4,
        "evidence": EvidenceClass.DECLARED,
        "provenance": Provenance.BIDIRECTIONAL,
        "options": options,
        "protected": False,
        "autonomy": "act",
        "killed": False,
        "budget": 10,
        "lease_ns": 300_000_000_000,
    }
    return Snapshot(**{**given_values, **changes})


@pytest.mark.parametrize("floor", sorted(MATRIX))
@pytest.mark.parametrize(("column", "risk"), [(0, 0.0), (0, 0.2999), (1, 0.3), (2, 0.7), (2, 0.99)])
def test_each_cell_of_the_matrix(floor, column, risk):
    assert cell(floor, risk)[0] is MATRIX[floor][column]


@pytest.mark.parametrize(
    ("confidence", "name"),
    [(0.4999, "0.00-0.50"), (0.5, "0.50-0.85"), (0.8499, "0.50-0.85"), (0.85, "0.85-0.95"),
     (0.9499, "0.85-0.95"), (0.95, "0.95-1.00"), (1.0, "0.95-1.00")],
)  # fmt: skip
def test_intervals_are_closed_below_and_open_above(confidence, name):
    assert cell(confidence, 0.4)[1] == f"{name}/medium"


def test_the_strongest_leased_block_of_an_attacker_is_chosen():
    decision = decide(snapshot())

    assert decision.disposition is AUTO
    assert decision.action.verb is Verb.DENY
    assert decision.action.target == Entity(EntityKind.ADDRESS, "192.0.2.66")
    assert decision.reasons == ()


@pytest.mark.parametrize(
    ("change", "floor", "word"),
    [
        ({"provenance": Provenance.SPOOFABLE}, Disposition.OBSERVE, "forged"),
        ({"evidence": EvidenceClass.STATISTICAL}, Disposition.OBSERVE, "calibrated"),
        ({"autonomy": "observe"}, Disposition.OBSERVE, "autonomy"),
        ({"autonomy": "ask"}, ANALYST, "autonomy"),
        ({"killed": True}, Disposition.OBSERVE, "kill switch"),
        ({"budget": 0}, ANALYST, "budget"),
        ({"protected": True}, Disposition.REFUSED, "protected"),
    ],
)
def test_each_guardrail_makes_the_decision_more_careful_and_says_why(change, floor, word):
    decision = decide(snapshot(**change))

    assert decision.disposition is floor
    assert any(word in reason for reason in decision.reasons)


def test_with_nothing_to_do_it_observes():
    assert decide(snapshot(options=())).disposition is Disposition.OBSERVE


@given(
    confidence=st.floats(0, 1),
    provenance=st.sampled_from(Provenance),
    evidence=st.sampled_from(EvidenceClass),
    autonomy=st.sampled_from(["act", "ask", "observe"]),
    killed=st.booleans(),
    budget=st.integers(-1, 3),
    protected=st.booleans(),
)
def test_guardrails_never_make_a_decision_bolder_than_the_matrix(**changes):
    decision = decide(snapshot(**changes))

    assert CAUTION[decision.disposition] >= CAUTION[cell(changes["confidence"], decision.risk)[0]]


@given(confidence=st.floats(0, 1), budget=st.integers(0, 2))
def test_the_same_snapshot_gives_the_same_bytes(confidence, budget):
    taken = snapshot(confidence=confidence, budget=budget)

    assert encode(decide(taken)) == encode(decide(taken))


@pytest.mark.parametrize(
    ("target", "covered"),
    [
        (Entity(EntityKind.ADDRESS, "10.0.0.1"), True),
        (Entity(EntityKind.ADDRESS, "10.0.1.1"), False),
        (Entity(EntityKind.ADDRESS, "::ffff:10.0.0.1"), True),
        (Entity(EntityKind.ADDRESS, "2001:db8::5"), True),
        (Entity(EntityKind.ADDRESS, "not an address"), True),
        (Entity(EntityKind.ADDRESS, "010.0.0.1"), True),
        (Entity(EntityKind.ADDRESS, "10.0.0.256"), True),
        (Entity(EntityKind.ADDRESS, "11.0.0.1"), False),
        (Entity(EntityKind.HOST, "HISTORIAN"), True),
        (Entity(EntityKind.HOST, "desk-7"), False),
        (flow_entity("tcp", "10.0.0.1", 5, "192.0.2.1", 502), True),
        (flow_entity("tcp", "192.0.2.1", 5, "10.0.0.1", 502), False),
        (flow_entity("tcp", "2001:db8::5", 5, "::1", 502), True),
        (Entity(EntityKind.FLOW, "nonsense"), True),
    ],
)
def test_protected_assets_are_recognised_in_every_spelling(target, covered):
    guard = Protected(Policy(protected=("10.0.0.0/24", "2001:db8::/64", "historian")))

    assert guard.covers(target) is covered
    assert guard.covers(target) is covered


def test_a_host_is_contained_only_where_no_outside_address_acts():
    claim = finding()
    options, _ = Options(Config(), POINTS, LossTable()).against(claim, 0.97, Now(1, 2))
    kinds = {option.target.kind for option in options}

    assert kinds == {EntityKind.ADDRESS, EntityKind.FLOW}


@pytest.mark.parametrize("confidence", [math.nan, -1.0, -math.inf])
def test_a_confidence_that_is_no_number_falls_into_the_most_careful_row(confidence):
    assert cell(confidence, 0.1) == (Disposition.ASK_MANAGER, "0.00-0.50/low")


def test_a_risk_that_is_no_number_is_high():
    assert cell(0.99, math.nan) == (Disposition.ASK_ANALYST, "0.95-1.00/high")
