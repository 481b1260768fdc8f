import json

import pytest

from cronos.errors import InputError
from cronos.respond.cacao_openc2 import TARGETS, read_command, write_command
from cronos.respond.cacao_place import Place
from cronos.types import Entity, EntityKind, Verb

CONNECTION = {"protocol": "tcp", "dst_addr": "198.51.100.2", "dst_port": 502}


def read(action, target, value, **more):
    content = json.dumps({"action": action, "target": {target: value}, **more})
    return read_command(Place("p.json", "content", content))


@pytest.mark.parametrize(
    ("target", "value", "kind", "expected"),
    [
        ("ipv4_net", "192.0.2.7", "address", "192.0.2.7"),
        ("ipv4_net", "192.0.2.7/32", "address", "192.0.2.7"),
        ("ipv4_net", "192.0.2.0/24", "network", "192.0.2.0/24"),
        ("ipv6_net", "2001:DB8::7", "address", "2001:db8::7"),
        ("ipv6_net", "2001:db8::/64", "network", "2001:db8::/64"),
        ("ipv4_connection", CONNECTION, "service", "tcp/198.51.100.2:502"),
        (
            "ipv4_connection",
            {**CONNECTION, "src_addr": "192.0.2.7", "src_port": 4000},
            "flow",
            "tcp/192.0.2.7:4000>198.51.100.2:502",
        ),
        (
            "ipv6_connection",
            {"protocol": "udp", "dst_addr": "2001:db8::2", "dst_port": 53},
            "service",
            "udp/2001:db8::2:53",
        ),
        ("device", {"hostname": "plc-7.example.test"}, "host", "plc-7.example.test"),
        ("x-cronos:pod", "plant/historian-0", "pod", "plant/historian-0"),
        ("x-cronos:user", "CORP\\alice", "user", "CORP\\alice"),
        ("x-cronos:workload", "billing", "workload", "billing"),
    ],
)
def test_literal_targets_are_read_in_the_spelling_of_sensors_and_written_back(
    target, value, kind, expected
):
    wanted = read("deny", target, value)

    assert wanted.literal == Entity(EntityKind(kind), expected)
    assert read_command(Place("", "", json.dumps(write_command(wanted)))) == wanted


@pytest.mark.parametrize("target", sorted(TARGETS))
def test_a_variable_stands_for_an_entity_of_the_targets_kind(target):
    wanted = read("contain", target, "__target__:value")

    assert (wanted.verb, wanted.variable, wanted.literal) == (Verb.CONTAIN, "target", None)
    assert wanted.kinds == TARGETS[target]
    assert read_command(Place("", "", json.dumps(write_command(wanted)))) == wanted


@pytest.mark.parametrize(
    ("action", "target", "value"),
    [
        ("scan", "ipv4_net", "192.0.2.7"),
        ("deny", "uri", "https://example.test"),
        ("deny", "ipv4_net", "192.0.2.7/24"),
        ("deny", "ipv4_net", "2001:db8::7"),
        ("deny", "ipv6_net", "192.0.2.7"),
        ("deny", "ipv6_net", "fe80::1%eth0"),
        ("deny", "ipv4_net", "010.0.0.1"),
        ("deny", "ipv4_net", 7),
        ("deny", "ipv4_net", "__secret__:value"),
        ("deny", "ipv4_net", "__actor__.__class__"),
        ("deny", "ipv4_net", "x __actor__:value"),
        ("deny", "ipv4_connection", {**CONNECTION, "dst_port": 0}),
        ("deny", "ipv4_connection", {**CONNECTION, "dst_port": True}),
        ("deny", "ipv4_connection", {**CONNECTION, "protocol": "sctp"}),
        ("deny", "ipv4_connection", {**CONNECTION, "dst_addr": "198.51.100.0/24"}),
        ("deny", "ipv4_connection", {**CONNECTION, "src_port": 4}),
        ("deny", "device", {"hostname": "-x"}),
        ("deny", "device", {"hostname": "a", "device_id": "7"}),
        ("stop", "process", {"pid": 7}),
        ("stop", "x-cronos:process", "host/7"),
        ("deny", "x-cronos:address", "192.0.2.7"),
        ("deny", "x-cronos:pod", "a b"),
        ("deny", "x-cronos:pod", ""),
    ],
)
def test_what_cannot_be_meant_is_refused(action, target, value):
    with pytest.raises(InputError) as caught:
        read(action, target, value)

    assert caught.value.sentence.startswith("p.json: content")
    assert caught.value.remedy


def test_no_playbook_sets_the_length_of_a_lease():
    with pytest.raises(InputError, match="a lease lasts as"):
        read("deny", "ipv4_net", "__actor__", args={"duration": 10**12})


def test_verbs_that_openc2_lacks_stand_beside_the_nearest_action():
    limit = read("set", "ipv4_net", "__actor__", args={"x-cronos": {"verb": "limit"}})
    pause = read("stop", "x-cronos:workload", "billing", args={"x-cronos": {"verb": "pause"}})

    assert (limit.verb, pause.verb) == (Verb.LIMIT, Verb.PAUSE)
    assert read("stop", "x-cronos:process", "__process__").verb is Verb.STOP
    for one in (limit, pause):
        assert read_command(Place("", "", json.dumps(write_command(one)))) == one


@pytest.mark.parametrize(
    ("action", "args"),
    [
        ("set", {}),
        ("limit", {}),
        ("pause", {}),
        ("stop", {"args": {"x-cronos": {"verb": "limit"}}}),
        ("deny", {"args": {"x-cronos": {"verb": "pause"}}}),
        ("stop", {"args": {"x-cronos": {"verb": "stop"}}}),
        ("stop", {"args": {"x-cronos": {"verb": "pause", "lease": 9}}}),
        ("stop", {"args": {}}),
    ],
)
def test_an_action_that_says_two_things_is_refused(action, args):
    with pytest.raises(InputError):
        read(action, "x-cronos:workload", "billing", **args)


def test_a_command_names_one_target():
    with pytest.raises(InputError, match="no single target"):
        read_command(Place("p", "", '{"action": "deny", "target": {}}'))
