import pathlib

import pytest

from cronos.config import convert
from cronos.detect.modbus import CONFIDENCE, ModbusPolicyConfig, ModbusPolicyDetector
from cronos.errors import InputError
from cronos.types import Entity, EntityKind, EvidenceClass, Observation, Provenance

EXAMPLE = pathlib.Path(__file__).parents[3] / "examples" / "modbus-policy.toml"
SECOND = 1_000_000_000
PLC, OPERATOR, GUEST = "192.0.2.10", "192.0.2.20", "192.0.2.99"


@pytest.fixture
def detector():
    return ModbusPolicyDetector(ModbusPolicyConfig(policy_file=str(EXAMPLE)))


def command(seq, client=GUEST, code=6, at_s=0.0, **modbus):
    fields = {
        "src_endpoint.ip": client,
        "src_endpoint.port": 40312,
        "dst_endpoint.ip": PLC,
        "dst_endpoint.port": 502,
        "connection_info.protocol_name": "tcp",
        "modbus.unit_id": 1,
        "modbus.function_code": code,
        "modbus.direction": "request",
        "modbus.address": 100,
        "modbus.quantity": 1,
        "modbus.min_value": 900,
        "modbus.max_value": 900,
    }
    return Observation(
        source="tap",
        seq=seq,
        time_ns=int(at_s * SECOND),
        activity="modbus",
        provenance=modbus.pop("provenance", Provenance.BIDIRECTIONAL),
        actor=Entity(EntityKind.ADDRESS, client),
        target=Entity(EntityKind.ADDRESS, PLC),
        fields=fields | {f"modbus.{name}": value for name, value in modbus.items()},
        sensed_boot_ns=77,
    )


def test_a_write_from_an_unlisted_client_is_a_declared_violation(detector):
    (finding,) = detector.detect([command(5)])
    assert finding.evidence is EvidenceClass.DECLARED
    assert finding.confidence == CONFIDENCE
    assert finding.severity == 5
    assert finding.techniques == ("T0855", "T0836")
    assert finding.actor == Entity(EntityKind.ADDRESS, GUEST)
    assert finding.target == Entity(EntityKind.ADDRESS, PLC)
    assert finding.flow == Entity(EntityKind.FLOW, "tcp/192.0.2.99:40312>192.0.2.10:502")
    assert finding.finding_id == "modbus-policy.client:tap#5"
    assert finding.sensed_boot_ns == 77
    assert finding.explanation == (
        "192.0.2.99 wrote with function 6 on 192.0.2.10 unit 1; "
        "the policy does not list it as a client (modbus-policy.toml)."
    )


def test_a_value_out_of_range_names_the_range(detector):
    (finding,) = detector.detect([command(1, OPERATOR, max_value=9000)])
    assert "values from 900 to 9000 to holding 100" in finding.explanation
    assert "values from 0 to 1500" in finding.explanation


def test_allowed_commands_and_all_responses_pass(detector):
    assert detector.detect([command(1, OPERATOR), command(2, direction="response")]) == []


def test_a_violation_is_told_again_only_after_a_while(detector):
    storm = [command(n, at_s=n * 0.1) for n in range(1, 206)]
    assert [f.observations[0] for f in detector.detect(storm)] == ["tap#1", "tap#101", "tap#201"]


def test_a_clock_set_back_does_not_silence_it(detector):
    assert len(detector.detect([command(1, at_s=1000), command(2, at_s=5)])) == 2


def test_spoofable_provenance_is_carried(detector):
    (finding,) = detector.detect([command(1, provenance=Provenance.SPOOFABLE)])
    assert finding.provenance is Provenance.SPOOFABLE


def test_too_many_requests_in_a_second_are_told_once(detector):
    storm = [command(n, OPERATOR, code=3, at_s=n / 1000) for n in range(200)]
    (finding,) = detector.detect(storm)
    assert finding.title == "Modbus requests above the declared rate"
    assert finding.techniques == ("T0814",)


def test_an_unlisted_client_is_told_of_when_it_connects(detector):
    plain = command(1)
    fields = {k: v for k, v in plain.fields.items() if not k.startswith("modbus.")}

    def connection(status):
        return Observation(
            "tap", 2, 0, "network_activity", Provenance.BIDIRECTIONAL, plain.actor,
            plain.target, fields | {"status": status},
        )  # fmt: skip

    assert detector.detect([connection("no_answer")]) == []
    (finding,) = detector.detect([connection("open")])
    assert finding.title == "Modbus connection from an unlisted client"


def test_without_a_policy_it_is_silent_and_says_so():
    detector = ModbusPolicyDetector(ModbusPolicyConfig())
    assert detector.detect([command(1)]) == []
    assert "policy_file" in detector.advice


def test_the_policy_may_stand_in_the_configuration():
    table = {"policy": {"server": [{"address": PLC, "client": [{"address": OPERATOR}]}]}}
    detector = ModbusPolicyDetector(convert(table, ModbusPolicyConfig, "cronos.toml"))
    assert detector.advice == ""
    assert len(detector.detect([command(1, OPERATOR)])) == 1


def test_a_policy_that_is_not_there_is_an_error():
    with pytest.raises(InputError):
        ModbusPolicyDetector(ModbusPolicyConfig(policy_file="/nonexistent/policy.toml"))


def test_a_saved_state_goes_on_where_it_was(detector):
    other = ModbusPolicyDetector(ModbusPolicyConfig(policy_file=str(EXAMPLE)))
    assert len(detector.detect([command(1)])) == 1
    other.restore(detector.snapshot())
    assert other.detect([command(2, at_s=1)]) == []
    with pytest.raises(ValueError, match="not a saved"):
        other.restore(b"")


def test_a_forged_violation_does_not_silence_the_genuine_one(detector):
    forged = command(1, provenance=Provenance.SPOOFABLE)
    findings = detector.detect([forged, command(2, at_s=0.1), command(3, at_s=0.2)])
    assert [one.provenance for one in findings] == [
        Provenance.SPOOFABLE,
        Provenance.BIDIRECTIONAL,
    ]


def test_forged_requests_do_not_use_up_the_rate_of_a_genuine_client(detector):
    forged = [
        command(seq, OPERATOR, 3, quantity=10, provenance=Provenance.SPOOFABLE)
        for seq in range(1, 200)
    ]
    findings = detector.detect([*forged, command(200, OPERATOR, 3, quantity=10)])
    assert all(one.provenance is Provenance.SPOOFABLE for one in findings)
