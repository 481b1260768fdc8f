import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cronos.respond.nftargets import (
    Element,
    element_of,
    mask_of,
    packed,
    prefix_set,
    target_of,
)
from cronos.types import Entity, EntityKind, Verb

A, F = EntityKind.ADDRESS, EntityKind.FLOW
N, S = EntityKind.NETWORK, EntityKind.SERVICE


@pytest.mark.parametrize(
    ("kind", "value", "element"),
    [
        (A, "192.0.2.7", Element("deny4", "192.0.2.7")),
        (A, "2001:db8::7", Element("deny6", "2001:db8::7")),
        (
            F,
            "tcp/192.0.2.7:40312>198.51.100.2:502",
            Element("flow4", "6 . 192.0.2.7 . 40312 . 198.51.100.2 . 502"),
        ),
        (
            F,
            "udp/2001:db8::7:53>2001:db8::1:5353",
            Element("flow6", "17 . 2001:db8::7 . 53 . 2001:db8::1 . 5353"),
        ),
        (N, "192.0.2.0/24", Element("net4_24", "192.0.2.0")),
        (N, "2001:db8::/32", Element("net6_32", "2001:db8::")),
        (S, "tcp/198.51.100.2:502", Element("service4", "6 . 198.51.100.2 . 502")),
        (S, "udp/2001:db8::2:53", Element("service6", "17 . 2001:db8::2 . 53")),
    ],
)
def test_targets_become_members_of_the_right_set(kind, value, element):
    assert element_of(Entity(kind, value)) == element


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (A, ""),
        (A, "192.0.2.7 } ; flush ruleset"),
        (A, "192.0.2.0/24"),
        (A, "192.0.2.007"),
        (A, "2001:DB8::7"),
        (A, "fe80::1%eth0"),
        (F, "tcp/192.0.2.7:40312"),
        (F, "icmp/192.0.2.7:1>192.0.2.8:2"),
        (F, "tcp/192.0.2.7:40312>2001:db8::1:502"),
        (F, "tcp/192.0.2.7:99999>192.0.2.8:502"),
        (F, "tcp/192.0.2.7:040>192.0.2.8:502"),
        (F, "tcp/192.0.2.7:٣>192.0.2.8:502"),
        (F, "tcp/192.0.2.7:1>192.0.2.8:502>x"),
        (EntityKind.HOST, "192.0.2.7"),
        (N, "192.0.2.7/24"),
        (N, "0.0.0.0/0"),
        (N, "::/0"),
        (N, "192.0.2.0/33"),
        (N, "192.0.2.0/255.255.255.0"),
        (N, "192.0.2.0/024"),
        (N, "192.0.2.0"),
        (N, "::ffff:192.0.2.0/120"),
        (S, "tcp/198.51.100.2"),
        (S, "sctp/198.51.100.2:502"),
        (S, "tcp/[2001:db8::2]:53"),
        (S, "tcp/198.51.100.2:0502"),
    ],
)
def test_anything_else_becomes_nothing(kind, value):
    assert element_of(Entity(kind, value)) is None


@pytest.mark.parametrize(
    ("verb", "kind", "value"),
    [
        (Verb.DENY, A, "192.0.2.7"),
        (Verb.LIMIT, A, "2001:db8::7"),
        (Verb.DENY, N, "192.0.2.0/24"),
        (Verb.DENY, N, "2001:db8::/32"),
    ],
)
def test_what_a_set_holds_is_read_back_as_what_it_stands_for(verb, kind, value):
    element = element_of(Entity(kind, value), verb)
    assert target_of(element.set_name, element.key) == (verb, Entity(kind, value))


@pytest.mark.parametrize(
    ("kind", "value", "parts"),
    [
        (S, "tcp/198.51.100.2:502", (6, "198.51.100.2", 502)),
        (F, "udp/192.0.2.7:1>198.51.100.2:53", ("udp", "192.0.2.7", 1, "198.51.100.2", 53)),
    ],
)
def test_what_is_made_of_parts_is_read_back_too(kind, value, parts):
    assert target_of("any", parts) == (Verb.DENY, Entity(kind, value))
    assert target_of("any", parts[:2]) is None


def test_only_an_address_is_limited_and_a_segment_is_a_mark():
    assert element_of(Entity(A, "192.0.2.7"), Verb.LIMIT) == Element("limit4", "192.0.2.7")
    assert element_of(Entity(N, "192.0.2.0/24"), Verb.LIMIT) is None
    assert element_of(Entity(A, "192.0.2.7"), Verb.CONTAIN) is None
    cell = element_of(Entity(EntityKind.SEGMENT, "cell-3; flush ruleset"))
    assert cell.set_name == "segments"
    assert re.fullmatch("0x[0-9a-f]{8}", cell.key)
    assert target_of("segments", 7) is None


def test_a_key_is_packed_as_the_kernel_keeps_it():
    assert packed(Element("net4_24", "192.0.2.0")) == bytes((192, 0, 2, 0))
    assert packed(Element("service4", "6 . 198.51.100.2 . 502")).hex() == "06000000c633640201f60000"
    assert packed(Element("segments", "0x00000001")) in (b"\1\0\0\0", b"\0\0\0\1")


def test_masks_and_prefix_sets():
    assert (mask_of(4, 20), mask_of(6, 48)) == ("255.255.240.0", "ffff:ffff:ffff::")
    assert (prefix_set("net4_24"), prefix_set("net6_48")) == ((4, 24), (6, 48))
    assert prefix_set("deny4") is prefix_set("net5_1") is prefix_set("net4_x") is None


@given(
    st.sampled_from([A, F, N, S, EntityKind.SEGMENT]),
    st.sampled_from([Verb.DENY, Verb.LIMIT]),
    st.text(max_size=60) | st.text("tcpud/0123456789abcdef.:>{};, \n%", max_size=60),
)
@settings(max_examples=200, deadline=None)
def test_whatever_the_text_a_command_holds_numbers_and_addresses_only(kind, verb, value):
    element = element_of(Entity(kind, value), verb)
    if element is not None:
        assert set(element.key) <= set("0123456789abcdef.: x")
        assert re.fullmatch(r"[a-z]+[46]?(_\d+)?", element.set_name)
        packed(element)
