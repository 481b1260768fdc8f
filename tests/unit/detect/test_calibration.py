"""No claim is louder than its measurement allows, and none is ever made louder."""

import contextlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronos.detect import calibration
from cronos.detect.calibration import Calibration, calibrated, read_table, shipped
from cronos.errors import InputError
from cronos.govern.intervals import clopper_pearson
from cronos.govern.outcomes import CANDIDATE_SCHEMA, candidate_file, tracking
from cronos.types import EvidenceClass, Finding, Provenance

SHIPPED = read_table(calibration._FILE.read_bytes())


def claim(confidence, detector="sigma", evidence=EvidenceClass.DECLARED):
    return Finding("id", detector, "t", "e", evidence, Provenance.AUTHENTICATED, confidence, 3, 0)


def row(above, below, high, detector="d", **more):
    told = {"right": 1, "n": 2, "low": 0.0, "basis": "measured", "evidence": "declared"}
    return {"detector": detector, "above": above, "below": below, "high": high, **told, **more}


def table(*rows, **more):
    told = {"schema": "cronos.calibration/1", "candidate": False, "rows": rows, **more}
    return read_table(json.dumps(told).encode())


def test_the_shipped_table_says_what_was_counted_and_nothing_else():
    for one in SHIPPED.rows:
        assert (one.basis == "measured") is (one.n > 0)
        assert one.note
        low, high = clopper_pearson(one.right, one.n)
        assert (one.low, one.high) == (round(low, 4), round(high, 4))
    assert {one.detector for one in SHIPPED.rows} == {
        "brute-force", "first-seen", "modbus-policy", "scan", "sigma",
    }  # fmt: skip


@given(st.sampled_from(["sigma", "modbus-policy", "scan", "new"]), st.floats(0, 1))
def test_no_claim_is_raised_or_louder_than_the_most_its_measurement_allows(detector, confidence):
    found = calibrated(claim(confidence, detector)).confidence

    assert found <= confidence
    for one in SHIPPED.rows:
        declared = one.evidence == "declared" and one.detector == detector
        if declared and one.above <= confidence < one.below:
            assert found <= one.high


@given(st.floats(0, 1), st.floats(0, 1))
def test_the_stronger_of_two_claims_stays_the_stronger(one, other):
    low, high = sorted((one, other))

    assert calibrated(claim(low)).confidence <= calibrated(claim(high)).confidence


def test_a_rule_that_claims_more_than_was_found_is_held_to_it():
    assert calibrated(claim(0.82)).confidence == pytest.approx(0.7299)
    assert calibrated(claim(0.6)).confidence == 0.6


def test_a_broken_policy_still_acts_by_itself():
    assert calibrated(claim(0.97, "modbus-policy")).confidence == 0.97


def test_statistical_claims_and_detectors_of_others_are_left_as_they_are():
    for one in (claim(0.85, "scan", EvidenceClass.STATISTICAL), claim(0.99, "someone-elses")):
        assert calibrated(one) is one
    odd = claim(0.9, "sigma", EvidenceClass.STATISTICAL)
    assert calibrated(odd) is odd


def test_small_counts_do_not_turn_the_order_around():
    held = Calibration(table(row(0, 0.5, 0.9), row(0.5, 0.85, 0.99), row(0.85, 1.0, 0.6)))

    caps = [held.calibrated(claim(one, "d")).confidence for one in (0.3, 0.45, 0.7, 0.9, 1.0)]
    assert caps == [0.3, 0.45, 0.6, 0.6, 0.6]


@pytest.mark.parametrize(
    "rows",
    [
        [row(0.5, 0.5, 0.9)],
        [row(0.0, 0.5, 0.9, low=0.95)],
        [row(0.0, 0.5, 0.9, right=3)],
        [row(0.0, 0.6, 0.9), row(0.5, 1.0, 0.9)],
    ],
)
def test_a_table_that_contradicts_itself_is_refused(rows):
    with pytest.raises(InputError) as refused:
        Calibration(table(*rows))
    assert refused.value.code == "detect.no_calibration"


@pytest.mark.parametrize(
    "data",
    [
        b"", b"{", b"\xff", b"[" * 100_000, b"{}", b" " * ((1 << 20) + 1),
        b'{"schema":"cronos.calibration/2","candidate":false,"rows":[]}',
        b'{"schema":"cronos.calibration/1","candidate":false,"rows":[{"detector":"d"}]}',
        json.dumps({"schema": "cronos.calibration/1", "candidate": False,
                    "rows": [row(0, 2, 0.5)]}).encode(),
    ],
)  # fmt: skip
def test_what_is_no_table_is_refused(data):
    with pytest.raises(InputError):
        read_table(data)


@given(st.binary(max_size=200))
def test_no_bytes_do_more_than_be_refused(data):
    with contextlib.suppress(InputError):
        read_table(data)


def test_candidates_are_the_same_file_and_calibrate_nothing_until_promoted():
    from tests.unit.govern.test_outcomes import Ledger  # noqa: PLC0415 - its stories

    ledger = Ledger()
    for n in range(40):
        ledger.found(f"i-{n}", "sigma", 0.9)
        ledger.judged(f"i-{n}", n % 2 == 0)
    candidate = read_table(candidate_file(tracking(ledger.records)))

    assert CANDIDATE_SCHEMA == calibration.SCHEMA
    with pytest.raises(InputError, match="no operator has promoted"):
        Calibration(candidate)
    promoted = Calibration(msgspec.structs.replace(candidate, candidate=False))
    assert promoted.calibrated(claim(0.92)).confidence == pytest.approx(0.6620, abs=1e-4)


def test_the_shipped_table_is_read_once():
    assert shipped() is shipped()
