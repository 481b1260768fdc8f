"""Canonical bytes: the same for the same value, everywhere, and never again different."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from cronos import types
from cronos.types import (
    Action,
    AuditRecord,
    Datum,
    Entity,
    EntityKind,
    Finding,
    Observation,
    Peer,
    Provenance,
    Unknown,
    Verb,
    action_id,
    decode,
    digest_of,
    encode,
    flow_entity,
)

SCALARS = st.one_of(
    st.text(max_size=20),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(allow_nan=False),
    st.booleans(),
)
OBSERVATIONS = st.builds(
    Observation,
    source=st.text(max_size=30),
    seq=st.integers(0, 2**40),
    time_ns=st.integers(0, 2**62),
    activity=st.sampled_from(["modbus", "network_activity"]),
    provenance=st.sampled_from(Provenance),
    fields=st.dictionaries(st.text(max_size=8), SCALARS, max_size=5),
)


@given(OBSERVATIONS)
def test_what_was_encoded_is_read_back(observation):
    assert decode(encode(observation)) == observation


@given(OBSERVATIONS)
def test_the_order_of_keys_does_not_matter(observation):
    turned = msgspec.structs.replace(
        observation, fields=dict(reversed(list(observation.fields.items())))
    )

    assert encode(turned) == encode(observation)


def test_canonical_bytes_are_frozen():
    action = Action(
        "00" * 16, "nftables", Verb.DENY, Entity(EntityKind.ADDRESS, "192.0.2.7"), "n-1-1", 300
    )
    record = AuditRecord("n", "order", 1, 2, "n-1-1", encode(action))

    assert encode(action).hex() == (
        "0106416374696f6e99a6416374696f6ed92030303030303030303030303030303030303030303030"
        "30303030303030303030a86e667461626c6573a464656e7993a6456e74697479a761646472657373"
        "a93139322e302e322e37a56e2d312d31cd012c0190"
    )
    assert encode(record)[:14].hex() == "010b41756469745265636f726497"
    assert decode(encode(record)) == record
    earlier = bytes.fromhex(encode(action).hex().replace("6e99a641", "6e98a641"))[:-1]
    assert decode(earlier) == action


def test_an_action_has_the_same_name_on_every_node():
    target = Entity(EntityKind.ADDRESS, "192.0.2.7")

    assert action_id("nftables", Verb.DENY, target) == action_id("nftables", "deny", target)
    assert action_id("nftables", Verb.DENY, target) == "61f399dee63defdd28def06802e6561d"
    assert action_id("tap", Verb.DENY, target) != action_id("nftables", Verb.DENY, target)


def test_what_a_later_version_wrote_survives():
    later = b"\x01\x08Tomorrow" + msgspec.msgpack.encode(["Tomorrow", 1])

    known = decode(later)

    assert known == Unknown("Tomorrow", later)
    assert encode(known) == later


def test_a_field_that_a_later_version_appended_is_passed_over():
    fields = ["Peer", "a", "a:1", 3, "alive", [], False, b"", "new"]
    longer = b"\x01\x04Peer" + msgspec.msgpack.encode(fields)

    assert decode(longer) == Peer("a", "a:1", 3)


@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_refused_or_read_but_nothing_else_happens(data):
    try:
        decode(data)
    except ValueError:
        return


@given(st.data(), OBSERVATIONS)
def test_damaged_bytes_are_refused_or_read_but_nothing_else_happens(data, observation):
    good = bytearray(encode(observation))
    at = data.draw(st.integers(0, len(good) - 1))
    good[at] ^= data.draw(st.integers(1, 255))
    try:
        decode(bytes(good))
    except ValueError:
        return


@pytest.mark.parametrize("kind", Datum.__subclasses__(), ids=lambda kind: kind.__name__)
def test_every_datum_is_frozen_and_tagged_by_its_name(kind):
    config = kind.__struct_config__

    assert config.frozen
    assert config.tag == kind.__name__


def test_a_flow_names_its_client_first():
    assert flow_entity("tcp", "192.0.2.7", 40312, "198.51.100.2", 502).value == (
        "tcp/192.0.2.7:40312>198.51.100.2:502"
    )


def test_a_finding_needs_only_what_it_claims():
    assert Finding.__struct_fields__[:3] == ("finding_id", "detector", "title")
    assert types.CANONICAL_VERSION == 1


def test_an_approval_binds_what_is_done_to_whom_for_which_case_and_how_long():
    action = Action("id", "tap", Verb.DENY, Entity(EntityKind.ADDRESS, "192.0.2.7"), "n-1-1", 300)
    changed = [replace(action, lease_ns=301), replace(action, incident_id="n-1-2")]
    changed.append(replace(action, action_id="other"))

    assert len(digest_of(action)) == 64
    assert len({digest_of(one) for one in (action, *changed)}) == 4
    assert digest_of(replace(action, epoch=2, approvals=(b"x",))) == digest_of(action)
