import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.respond.stage import deny

from cronos.catalog import CATALOG
from cronos.errors import ExtraMissingError, InputError
from cronos.front.plugins import load
from cronos.respond.openc2 import from_command, to_command
from cronos.types import Action, Entity, EntityKind, Verb, action_id, digest_of

# OpenC2 1.0, table 3.3.1.1.
ACTIONS = {
    "scan", "locate", "query", "deny", "contain", "allow", "start", "stop", "restart", "cancel",
    "set", "update", "redirect", "create", "delete", "detonate", "restore", "copy",
    "investigate", "remediate",
}  # fmt: skip
SAMPLES = {
    EntityKind.ADDRESS: ["192.0.2.7", "2001:db8::7"],
    EntityKind.NETWORK: ["192.0.2.0/24", "2001:db8::/32"],
    EntityKind.FLOW: ["tcp/192.0.2.7:40312>198.51.100.2:502", "udp/2001:db8::7:1>2001:db8::2:53"],
    EntityKind.SERVICE: ["tcp/198.51.100.2:502", "udp/2001:db8::2:53"],
    EntityKind.HOST: ["plc-1.example"],
    EntityKind.PROCESS: ["localhost/4242"],
}


def catalogued():
    """Give every ability of the catalogue; of one whose library is missing there is nothing."""
    found = []
    for name in CATALOG["executor"]:
        try:
            found += [(name, one) for one in load("executor", name).manifest.abilities]
        except ExtraMissingError:
            continue
    return found


ABLE = catalogued()
ABILITIES = [one for _, one in ABLE]


@pytest.mark.parametrize(
    ("point", "able"), ABLE, ids=[f"{point}-{one.verb}-{one.kind}" for point, one in ABLE]
)
def test_every_ability_of_the_catalogue_is_said_in_openc2_and_understood_again(point, able):
    for value in SAMPLES.get(able.kind, ["some-name", "ns/name"]):
        action = deny(value, kind=able.kind, verb=able.verb, point=point)
        told = json.loads(to_command(action, [able]))
        assert told["action"] in ACTIONS
        assert told["args"]["duration"] == 300_000
        (target,) = told["target"]
        assert ":" in target or target in (
            "ipv4_net", "ipv6_net", "ipv4_connection", "ipv6_connection", "process", "device"
        )  # fmt: skip
        assert from_command(json.dumps(told).encode(), [able]) == action


def test_a_flow_and_a_service_are_connections_and_an_ipv6_one_says_so():
    flow = deny("tcp/192.0.2.7:1>198.51.100.2:502", kind=EntityKind.FLOW)
    service = deny("udp/2001:db8::2:53", kind=EntityKind.SERVICE)
    assert json.loads(to_command(flow, ABILITIES))["target"] == {
        "ipv4_connection": {
            "protocol": "tcp", "src_addr": "192.0.2.7", "src_port": 1,
            "dst_addr": "198.51.100.2", "dst_port": 502,
        }
    }  # fmt: skip
    assert json.loads(to_command(service, ABILITIES))["target"] == {
        "ipv6_connection": {"protocol": "udp", "dst_addr": "2001:db8::2", "dst_port": 53}
    }


texts = st.text(max_size=60) | st.text("tcpud/0123456789abcdef.:>[]", max_size=60)


@given(
    st.sampled_from(ABLE),
    texts,
    texts,
    st.integers(1, 1 << 62),
    st.integers(0, 1 << 40),
    st.lists(st.binary(max_size=40), max_size=4),
)
def test_any_action_comes_back_as_it_was(able, value, incident, lease_ns, epoch, approvals):
    point, one = able
    target = Entity(one.kind, value)
    named = action_id(point, one.verb, target)
    action = Action(named, point, one.verb, target, incident, lease_ns, epoch, tuple(approvals))
    back = from_command(to_command(action, ABILITIES), ABILITIES)
    assert back == action
    assert digest_of(back) == digest_of(action)


@pytest.mark.parametrize(
    "change",
    [
        lambda told: told.update(action="allow"),
        lambda told: told.update(target={"ipv4_net": "192.0.2.8"}),
        lambda told: told.update(target={}),
        lambda told: told["args"].update(duration=1),
        lambda told: told["args"]["x-cronos"].update(target="192.0.2.8"),
        lambda told: told["args"]["x-cronos"].update(point="tap"),
        lambda told: told["args"]["x-cronos"].update(verb="stop"),
        lambda told: told["args"]["x-cronos"].update(approvals=["%"]),
        lambda told: told["args"]["x-cronos"].update(approvals=[""] * 17),
        lambda told: told["args"].update(stop_time=1),
        lambda told: told["args"].pop("x-cronos"),
        lambda told: told.update(actuator={}),
    ],
)
def test_a_command_that_contradicts_itself_or_says_more_is_refused(change):
    told = json.loads(to_command(deny("192.0.2.7", point="nftables"), ABILITIES))
    change(told)
    with pytest.raises(InputError) as refused:
        from_command(json.dumps(told).encode(), ABILITIES)
    assert refused.value.code == "respond.openc2_refused"


@given(st.binary(max_size=300) | st.text('{}[]":,actionrgsx-1', max_size=200).map(str.encode))
def test_any_bytes_are_a_command_or_a_sentence(data):
    with pytest.raises(InputError):
        from_command(data, ABILITIES)


def test_what_nobody_is_able_to_do_is_no_command():
    with pytest.raises(InputError, match="no executor is able"):
        to_command(deny("x", kind=EntityKind.POD, verb=Verb.UPDATE), [])
    with pytest.raises(InputError, match="bytes"):
        from_command(b" " * 70_000, ABILITIES)
