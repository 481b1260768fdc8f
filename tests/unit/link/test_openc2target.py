import pytest

from cronos.catalog import CATALOG
from cronos.errors import ExtraMissingError
from cronos.front.plugins import load
from cronos.link.openc2target import target_form, target_name, target_names
from cronos.types import EntityKind

# OpenC2 1.0, section 3.3.1.2, as far as it is used here.
STANDARD = {"ipv4_net", "ipv6_net", "ipv4_connection", "ipv6_connection", "device", "process"}


@pytest.mark.parametrize("name", sorted(CATALOG["executor"]))
def test_every_executor_calls_a_kind_of_target_the_same(name):
    try:
        abilities = load("executor", name).manifest.abilities
    except ExtraMissingError as error:
        pytest.skip(str(error))
    assert {one.kind: one.openc2 for one in abilities} == {
        one.kind: target_name(one.kind) for one in abilities
    }


def test_each_name_is_one_of_openc2_or_ours_and_means_its_kind():
    names = target_names()
    assert {name for name in names if ":" not in name} == STANDARD
    for kind in EntityKind:
        assert kind in names[target_name(kind)]
        assert names[f"x-cronos:{kind.value}"] == (kind,)


@pytest.mark.parametrize(
    ("kind", "value", "form"),
    [
        (EntityKind.ADDRESS, "192.0.2.7", {"ipv4_net": "192.0.2.7"}),
        (EntityKind.NETWORK, "2001:db8::/32", {"ipv6_net": "2001:db8::/32"}),
        (
            EntityKind.SERVICE,
            "tcp/198.51.100.2:502",
            {"ipv4_connection": {"protocol": "tcp", "dst_addr": "198.51.100.2", "dst_port": 502}},
        ),
        (EntityKind.SERVICE, "no service", {"x-cronos:ipv4_connection": "no service"}),
        (EntityKind.HOST, "pump-1", {"device": {"hostname": "pump-1"}}),
        (EntityKind.PROCESS, "localhost/42", {"process": {"pid": 42}}),
        (EntityKind.MACHINE, "worker-1", {"x-cronos:machine": "worker-1"}),
        (EntityKind.POD, "shop/api-0", {"x-cronos:pod": "shop/api-0"}),
        (EntityKind.USER, "CORP\\alice", {"x-cronos:user": "CORP\\alice"}),
    ],
)
def test_a_target_has_its_form(kind, value, form):
    assert target_form(target_name(kind), value) == form
