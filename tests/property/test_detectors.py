"""What holds for every detector: batching, redelivery and hostile observations change nothing."""

import pathlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cronos.detect.bruteforce import BruteForceConfig, BruteForceDetector
from cronos.detect.firstseen import FirstSeenConfig, FirstSeenDetector
from cronos.detect.modbus import ModbusPolicyConfig, ModbusPolicyDetector
from cronos.detect.scan import ScanConfig, ScanDetector
from cronos.detect.sigma import SigmaConfig, SigmaDetector
from cronos.types import Entity, EntityKind, EvidenceClass, Observation, Provenance

POLICY = pathlib.Path(__file__).parents[2] / "examples" / "modbus-policy.toml"
MAKERS = {
    "scan": lambda: ScanDetector(ScanConfig(ports=3, hosts=3, plant_hosts=2)),
    "brute-force": lambda: BruteForceDetector(BruteForceConfig(failures=3, users=2)),
    "first-seen": lambda: FirstSeenDetector(FirstSeenConfig(learning_observations=5, learning_s=1)),
    "modbus-policy": lambda: ModbusPolicyDetector(ModbusPolicyConfig(policy_file=str(POLICY))),
    "sigma": lambda: SigmaDetector(SigmaConfig()),
}
_MADE = {name: [make() for _ in range(3)] for name, make in MAKERS.items()}
_EMPTY = {name: made[0].snapshot() for name, made in _MADE.items()}


def fresh(name, number):
    """Give a detector without a past; making one anew would read its rules every time."""
    detector = _MADE[name][number]
    detector.restore(_EMPTY[name])
    return detector


ADDRESSES = st.sampled_from(["192.0.2.10", "192.0.2.20", "192.0.2.33", "192.0.2.99", "::1", "x"])
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 70_000), st.floats(allow_nan=False), st.text()
)
NAMED = st.fixed_dictionaries(
    {},
    optional={
        "src_endpoint.ip": ADDRESSES,
        "dst_endpoint.ip": ADDRESSES,
        "src_endpoint.port": SCALARS,
        "dst_endpoint.port": st.one_of(st.just(502), st.integers(1, 30), SCALARS),
        "connection_info.protocol_name": st.sampled_from(["tcp", "udp"]),
        "status": st.sampled_from(["open", "refused", "no_answer", "failure", "success"]),
        "user.name": st.sampled_from(["root", "eve", "bob"]),
        "metadata.product": st.sampled_from(["windows", "linux", "zeek"]),
        "metadata.log_name": st.sampled_from(["Security", "System", "http"]),
        "modbus.direction": st.sampled_from(["request", "response"]),
        "modbus.unit_id": st.one_of(st.just(1), SCALARS),
        "modbus.function_code": st.one_of(st.integers(1, 24), SCALARS),
        "modbus.address": st.one_of(st.integers(90, 110), SCALARS),
        "modbus.quantity": st.one_of(st.integers(1, 5), SCALARS),
        "modbus.max_value": SCALARS,
    },
)
NATIVE = st.dictionaries(
    st.sampled_from(["EventID", "Image", "CommandLine", "TargetObject", "Details", "a"]),
    st.recursive(
        st.one_of(SCALARS, st.sampled_from([1102, 4662, "\\mshta.exe", "${jndi:x}", "http:"])),
        lambda inner: st.one_of(st.lists(inner), st.dictionaries(st.text(), inner)),
        max_leaves=5,
    ),
)


@st.composite
def streams(draw):
    count = draw(st.integers(0, 20))
    return [
        Observation(
            source=draw(st.sampled_from(["a", "b"])),
            seq=seq,
            time_ns=draw(st.integers(0, 1 << 62) | st.integers(0, 20).map(lambda s: s * 10**9)),
            activity=draw(
                st.sampled_from(["network_activity", "authentication", "modbus", "base_event"])
            ),
            provenance=draw(st.sampled_from(list(Provenance))),
            actor=draw(st.none() | ADDRESSES.map(lambda a: Entity(EntityKind.ADDRESS, a))),
            target=draw(st.none() | ADDRESSES.map(lambda a: Entity(EntityKind.ADDRESS, a))),
            fields=draw(NAMED),
            native=draw(NATIVE),
        )
        for seq in range(1, count + 1)
    ]


@pytest.mark.parametrize("name", MAKERS)
@settings(max_examples=40, deadline=None)
@given(stream=streams(), cut=st.integers(0, 20))
def test_batching_and_restarting_change_no_finding(name, stream, cut):
    whole = fresh(name, 0).detect(stream)
    first, second = fresh(name, 1), fresh(name, 2)
    before = list(first.detect(stream[:cut]))
    saved = first.snapshot()
    second.restore(saved)
    assert second.snapshot() == saved
    one_by_one = [finding for one in stream[cut:] for finding in second.detect([one])]
    assert [*before, *one_by_one] == list(whole)
    assert len({finding.finding_id for finding in whole}) == len(whole)
    for finding in whole:
        assert 0.0 <= finding.confidence <= 1.0
        assert 1 <= finding.severity <= 5
        assert len(finding.observations) <= 16
        assert finding.explanation
        assert finding.evidence in EvidenceClass


@settings(max_examples=40, deadline=None)
@given(stream=streams())
def test_anchors_never_change_what_matches(stream):
    detector = fresh("sigma", 0)
    for observation in stream:
        assert detector.matching(observation) == detector.matching_naively(observation)
