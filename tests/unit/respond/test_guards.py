import os
import socket

import pytest
from tests.unit.respond.stage import deny

from cronos.errors import InputError
from cronos.respond.guards import EnforcerConfig, Guard, flow_client
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
        (K.PROCESS, "plc-2/4711"),
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


SITE = Guard(
    EnforcerConfig(
        protected=(
            "10.1.0.0/16",
            "plc-1",
            "scada.plant.example",
            "CORP\\admin",
            "helpdesk@corp.example",
            "breakglass",
            "payments/gateway",
            "AKIAPROTECTED",
        ),
        segments={"Cell-1": ("10.1.3.0/24",), "cell-2": ("10.2.0.0/16", "2001:db8:2::/48")},
    ),
    lambda: {"192.0.2.99": "an address of this machine"},
)


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (K.NETWORK, "10.0.0.0/8"),
        (K.NETWORK, "10.1.255.0/24"),
        (K.NETWORK, "10.1.2.3/31"),
        (K.NETWORK, "127.0.0.0/8"),
        (K.NETWORK, "::/0"),
        (K.NETWORK, "::ffff:10.1.0.0/112"),
        (K.NETWORK, "192.0.2.0/24"),
        (K.NETWORK, "cell-2"),
        (K.NETWORK, "010.2.0.0/16"),
        (K.SEGMENT, "cell-1"),
        (K.SEGMENT, "CELL-1"),
        (K.SEGMENT, "cell-3"),
        (K.SEGMENT, "10.2.0.0/16"),
        (K.USER, "admin"),
        (K.USER, "Corp\\ADMIN"),
        (K.USER, "admin@corp.example"),
        (K.USER, "helpdesk"),
        (K.USER, "LAB\\helpdesk"),
        (K.USER, "LAB\\breakglass"),
        (K.USER, "breakglass@lab.example"),
        (K.USER, "root"),
        (K.USER, "NT AUTHORITY\\SYSTEM"),
        (K.SESSION, "CORP\\admin/17"),
        (K.SESSION, "plc-1:pts/3"),
        (K.SESSION, "root@10.9.9.9"),
        (K.SESSION, "10.1.2.3|42"),
        (K.CREDENTIAL, "akiaprotected"),
        (K.CREDENTIAL, "aws:AKIAPROTECTED"),
        (K.POD, "payments/gateway"),
        (K.POD, "kube-system/coredns-1"),
        (K.POD, "web/plc-1"),
        (K.POD, "web"),
        (K.POD, "/web"),
        (K.MACHINE, "plc-1"),
        (K.MACHINE, "plc-1.plant.example"),
        (K.MACHINE, "10.1.2.3"),
        (K.HOST, "scada"),
        (K.HOST, "localhost"),
        (K.PROCESS, "plc-2/1"),
        (K.PROCESS, "plc-2/0"),
        (K.PROCESS, "plc-2"),
        (K.PROCESS, "plc-2/x"),
        (K.PROCESS, "plc-2/\u0664\u0667"),
        pytest.param(K.PROCESS, f"localhost/{os.getpid()}", id="this process"),
        pytest.param(K.PROCESS, f"{socket.gethostname()}/{os.getppid()}", id="what began it"),
        pytest.param(K.PROCESS, f"192.0.2.99/{os.getpid()}", id="this process by an address"),
        (K.PROCESS, "scada/4711"),
    ],
)
def test_every_kind_of_target_can_be_protected(kind, value):
    assert SITE.protects(Entity(kind, value)) is not None


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (K.NETWORK, "10.2.0.0/16"),
        (K.NETWORK, "2001:db8:2::/64"),
        (K.SEGMENT, "cell-2"),
        (K.USER, "CORP\\guest"),
        (K.USER, "LAB\\admin"),
        (K.USER, "helpdesk@lab.example"),
        (K.SESSION, "CORP\\guest/17"),
        (K.SESSION, "c2"),
        (K.CREDENTIAL, "AKIAOTHER"),
        (K.POD, "payments/worker-1"),
        (K.MACHINE, "worker-3"),
        (K.HOST, "plc-2"),
        (K.HOST, "scada.other.example"),
        (K.PROCESS, "plc-2/4711"),
        pytest.param(K.PROCESS, f"plc-2/{os.getpid()}", id="its number elsewhere"),
    ],
)
def test_what_is_not_named_is_not_protected(kind, value):
    assert SITE.protects(Entity(kind, value)) is None


def test_a_segment_that_holds_no_network_is_refused_at_the_start():
    with pytest.raises(InputError, match="no network"):
        Guard(EnforcerConfig(segments={"cell": ("10.0.0.0/33",)}))


def test_naming_one_budget_frees_no_other():
    assert EnforcerConfig(blast_per_minute={"host": 1}).blast_per_minute == {
        "identity": 60, "service": 20, "host": 1, "fleet": 4
    }  # fmt: skip
