"""What several detectors' claims amount to, and why repetition is no proof."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cronos.kernel.evidence import MOST_CLAIMS, acting, add, fuse, strongest
from cronos.testing.story import finding
from cronos.types import Evidence, EvidenceClass, Provenance

DECLARED, STATISTICAL = EvidenceClass.DECLARED, EvidenceClass.STATISTICAL
PROBABILITIES = st.floats(0, 1, allow_nan=False)


def claim(confidence, detector="d", evidence=DECLARED, provenance=Provenance.BIDIRECTIONAL):
    return Evidence(detector, confidence, evidence, provenance)


CLAIMS = st.lists(
    st.builds(
        claim,
        PROBABILITIES,
        st.sampled_from("abcdef"),
        st.sampled_from(EvidenceClass),
        st.sampled_from(Provenance),
    ),
    max_size=8,
)


def test_one_claim_is_itself():
    assert fuse([claim(0.87)]) == 0.87
    assert fuse([]) == 0


def test_detectors_that_agree_add_up_by_half_and_one_that_doubts_takes_nothing_away():
    # 0.8 is a log-odds of ln 4; half as much again is 4 ** 1.5 : 1 = 8 : 1.
    assert fuse([claim(0.8, "a"), claim(0.8, "b")]) == pytest.approx(8 / 9, abs=1e-6)
    assert fuse([claim(0.8, "a"), claim(0.3, "b")]) == 0.8


@pytest.mark.parametrize(
    "change", [{"evidence": STATISTICAL}, {"provenance": Provenance.SPOOFABLE}]
)
def test_what_may_not_act_adds_nothing(change):
    assert acting(claim(0.99, **change)) == 0
    assert fuse([claim(0.8), claim(0.99, "b", **change)]) == 0.8


@given(claims=CLAIMS, more=st.builds(claim, PROBABILITIES, st.just("new")))
def test_more_evidence_for_an_attack_never_lowers_the_sum(claims, more):
    assert fuse([*claims, more]) >= fuse(claims)
    assert 0 <= fuse([*claims, more]) <= 1


@given(claims=CLAIMS, seed=st.randoms())
def test_the_order_of_claims_changes_nothing(claims, seed):
    shuffled = list(claims)
    seed.shuffle(shuffled)

    assert fuse(shuffled) == fuse(claims)


def test_a_detector_counts_once_however_often_it_repeats_itself():
    claims = ()
    for number in range(10_000):
        claims = add(claims, finding(number, confidence=0.8))

    assert len(claims) == 1
    assert fuse(claims) == 0.8


def test_a_detector_keeps_its_strongest_claim_and_one_that_may_act_first():
    claims = add((), finding(1, confidence=0.99, evidence=STATISTICAL))
    claims = add(claims, finding(2, confidence=0.6))
    claims = add(claims, finding(3, confidence=0.5))

    assert [(one.confidence, one.evidence) for one in claims] == [(0.6, DECLARED)]


def test_many_detectors_crowd_out_the_weakest_only():
    claims = ()
    for number in range(MOST_CLAIMS):
        claims = add(claims, replace(finding(confidence=0.5 + number / 100), detector=f"d{number}"))
    stronger = add(claims, replace(finding(confidence=0.9), detector="late"))

    assert add(claims, replace(finding(confidence=0.1), detector="weak")) == claims
    assert len(stronger) == MOST_CLAIMS
    assert strongest(stronger).detector == "late"
    assert "d0" not in {one.detector for one in stronger}


@pytest.mark.parametrize("confidence", [math.nan, math.inf, 1.5, -0.1])
def test_what_is_no_probability_acts_on_nobody_and_keeps_nothing_out(confidence):
    absurd = Evidence("scan", confidence, EvidenceClass.DECLARED, Provenance.AUTHENTICATED)
    told = add((absurd,), finding())

    assert fuse((absurd,)) == 0
    assert fuse(told) == 0.97
