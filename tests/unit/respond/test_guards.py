import pytest
from tests.unit.respond.stage import S, deny

from cronos.errors import InputError
from cronos.respond.guards import Budget, EnforcerConfig, Guard, flow_client
from cronos.types import Entity, EntityKind

GUARD = Guard(
    EnforcerConfig(
        protected=(
            "127.0.0.1",
            "::1",
            "10.1.0.0/16",
            "2001:db8:1::/48",
            "plc-1",
            "tcp/198.51.100.2:502",
            "CORP\\admin",
        )
    )
)
K = EntityKind


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (K.ADDRESS, "127.0.0.1"),
        (K.ADDRESS, "::1"),
        (K.ADDRESS, "0:0:0:0:0:0:0:1"),
        (K.ADDRESS, "::ffff:127.0.0.1"),
        (K.ADDRESS, "::ffff:10.1.2.3"),
        (K.ADDRESS, "10.1.255.255"),
        (K.ADDRESS, "127.0.0.0/8"),
        (K.ADDRESS, "0.0.0.0/0"),
        (K.ADDRESS, "::/0"),
        (K.ADDRESS, "2001:db8:1:ffff::1"),
        (K.ADDRESS, "198.51.100.2"),
        (K.ADDRESS, "not an address"),
        (K.ADDRESS, "010.1.2.3"),
        (K.FLOW, "tcp/10.1.2.3:40000>192.0.2.9:502"),
        (K.FLOW, "tcp/::ffff:10.1.2.3:40000>192.0.2.9:502"),
        (K.FLOW, "no flow"),
        (K.FLOW, "tcp/x>y"),
        (K.SERVICE, "tcp/198.51.100.2:502"),
        (K.SERVICE, "tcp/127.0.0.1:22"),
        (K.HOST, "plc-1"),
        (K.HOST, "PLC-1"),
        (K.HOST, "10.1.2.3"),
        (K.PROCESS, "plc-1/4711"),
        (K.PROCESS, "10.1.2.3/4711"),
        (K.USER, "corp\\ADMIN"),
    ],
)
def test_protected_targets_are_found_however_they_are_written(kind, value):
    assert GUARD.protects(Entity(kind, value)) is not None
    assert GUARD.objection(deny(value, kind=kind)) is not None


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (K.ADDRESS, "127.0.0.66"),
        (K.ADDRESS, "10.2.0.1"),
        (K.ADDRESS, "192.0.2.0/24"),
        (K.FLOW, "tcp/127.0.0.66:40000>127.0.0.1:502"),
        (K.FLOW, "tcp/2001:db8:2::7:40000>2001:db8:1::1:502"),
        (K.HOST, "plc-2"),
        (K.PROCESS, "plc-2/1"),
        (K.USER, "CORP\\guest"),
        (K.WORKLOAD, "tank"),
    ],
)
def test_others_are_not(kind, value):
    assert GUARD.protects(Entity(kind, value)) is None
    assert GUARD.objection(deny(value, kind=kind)) is None


def test_the_client_of_a_flow_is_its_first_end():
    assert flow_client("tcp/192.0.2.7:40312>198.51.100.2:502") == "192.0.2.7"
    assert flow_client("tcp/2001:db8::7:40312>2001:db8::1:502") == "2001:db8::7"
    assert flow_client("nonsense") is None


def test_the_budget_refills_evenly_and_never_beyond_a_minute():
    budget = Budget(60, 0)
    assert sum(budget.take(0) for _ in range(100)) == 60
    assert sum(budget.take(10 * S) for _ in range(100)) == 10
    assert sum(budget.take(10_000 * S) for _ in range(100)) == 60
    assert not budget.take(0)


@pytest.mark.parametrize(
    "entry",
    [
        "10.0.0.7-10.0.0.9",
        "10.0.0.256",
        "010.1.2.3",
        "10.0.0.0/33",
        "10.0.0.5:port",
        "fe80::1%eth0",
        "plc_1",
        "-plc",
        "tcp/1.2.3.4:1>5.6.7.8:2",
        "a b",
        "",
        "x" * 64,
    ],
)
def test_an_entry_that_would_protect_nothing_is_refused_with_its_name(entry):
    with pytest.raises(InputError, match="would protect nothing") as refused:
        Guard(EnforcerConfig(protected=("10.0.0.1", entry)))
    assert repr(entry)[:20] in refused.value.sentence
    assert "several" in refused.value.remedy


@pytest.mark.parametrize(
    ("entry", "address"),
    [
        ("10.0.0.5:502", "10.0.0.5"),
        ("[2001:db8::5]:502", "2001:db8::5"),
        ("tcp/10.2.0.5:502", "10.2.0.5"),
        ("::ffff:10.1.0.0/112", "10.1.0.3"),
        ("10.0.0.5/24", "10.0.0.9"),
    ],
)
def test_services_and_mapped_networks_protect_their_addresses(entry, address):
    guard = Guard(EnforcerConfig(protected=(entry,)))
    assert guard.protects(Entity(K.ADDRESS, address)) == entry


def test_a_protected_host_name_is_a_host_with_or_without_its_port():
    guard = Guard(EnforcerConfig(protected=("plc-1.plant.example",)))
    assert guard.protects(Entity(K.HOST, "PLC-1.plant.example"))
