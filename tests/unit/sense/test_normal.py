import pytest

from cronos.sense import normal
from cronos.types import Entity, EntityKind, Provenance


@pytest.mark.parametrize(
    ("spelt", "value"),
    [
        ("192.0.2.7", "192.0.2.7"),
        ("0:0:0:0:0:0:0:1", "::1"),
        ("fe80::1%eth0", "fe80::1"),
        ("::ffff:192.0.2.7", "192.0.2.7"),
        ("[2001:db8::7]", "2001:db8::7"),
    ],
)
def test_an_address_has_one_spelling(spelt, value):
    assert normal.address(spelt) == Entity(EntityKind.ADDRESS, value)


@pytest.mark.parametrize(
    "text",
    ["", "-", "LOCAL", "0.0.0.0", "::", "192.0.2.7; drop", "1" * 100, 7, None, ["192.0.2.7"]],
)
def test_what_is_no_address_names_nobody(text):
    assert normal.address(text) is None


def test_users_and_hosts_are_named_as_the_vocabulary_says():
    assert normal.user("bob", "CORP") == Entity(EntityKind.USER, "CORP\\bob")
    assert normal.user("bob", "-") == Entity(EntityKind.USER, "bob")
    assert normal.user("-") is None
    assert normal.host("WS5.Example.ORG") == Entity(EntityKind.HOST, "ws5.example.org")
    assert normal.host("") is None


@pytest.mark.parametrize(
    ("stamp", "nanoseconds"),
    [
        ("1970-01-01T00:00:01Z", 1_000_000_000),
        ("1970-01-01T01:00:01.5+0100", 1_500_000_000),
        ("1970-01-01 00:00:01.1234567", 1_123_456_000),
        (1.5, 1_500_000_000),
        ("1588205199.824370", 1_588_205_199_824_370_000),
        ("1588205199", 1_588_205_199_000_000_000),
        ("1969-01-01T00:00:00Z", 0),
        ("9999-12-31T23:59:59Z", 0),
        ("yesterday", 0),
        ("²", 0),
        (float("inf"), 0),
        (-1, 0),
        (None, 0),
    ],
)
def test_times_become_nanoseconds_and_nonsense_becomes_zero(stamp, nanoseconds):
    assert normal.time_ns(stamp) == nanoseconds


@pytest.mark.parametrize(
    ("value", "number"),
    [(7, 7), ("7", 7), ("0x1c58", 7256), (7.0, 7), ("7_0", None), ("x", None), (1 << 64, None)],
)
def test_integers_come_in_several_spellings(value, number):
    assert normal.integer(value) == number


def test_ports_end_at_65535():
    assert normal.port("65535") == 65535
    assert normal.port(65536) is None


def test_the_transport_limits_what_a_format_justifies():
    capped = normal.capped(Provenance.BIDIRECTIONAL)
    assert capped[Provenance.AUTHENTICATED] is Provenance.BIDIRECTIONAL
    assert capped[Provenance.SPOOFABLE] is Provenance.SPOOFABLE


def test_text_is_cut_to_a_field():
    assert normal.text("x" * 10_000) == "x" * normal.MAX_FIELD_CHARS
    assert normal.text("-") is None
    assert normal.text(7) is None


def test_a_part_that_is_no_object_is_empty():
    assert normal.part({"flow": [1]}, "flow") == {}
