import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cronos.respond.nftables import Element, element_of
from cronos.types import Entity, EntityKind

A, F = EntityKind.ADDRESS, EntityKind.FLOW


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
    ],
)
def test_anything_else_becomes_nothing(kind, value):
    assert element_of(Entity(kind, value)) is None


@given(
    st.sampled_from([A, F]),
    st.text(max_size=60) | st.text("tcpud/0123456789abcdef.:>{};, \n%", max_size=60),
)
@settings(max_examples=200, deadline=None)
def test_whatever_the_text_a_command_holds_numbers_and_addresses_only(kind, value):
    element = element_of(Entity(kind, value))
    if element is not None:
        assert set(element.key) <= set("0123456789abcdef.: ")
