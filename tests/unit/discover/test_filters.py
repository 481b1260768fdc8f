"""Capture filters: which ends are meant."""

import pytest

from cronos.discover.filters import Ends, compile_filter
from cronos.errors import InputError

MODBUS = Ends("tcp", "10.0.0.9", 40_000, "10.0.0.1", 502)
ANSWER = Ends("tcp", "10.0.0.1", 502, "10.0.0.9", 40_000)
DNS = Ends("udp", "2001:db8::9", 5_353, "2001:db8::1", 53)
GOOSE = Ends("ether", "02:00:00:00:00:01", 0, "02:00:00:00:00:02", 0, 0x88B8)
OSPF = Ends("ip", "10.0.0.1", 0, "224.0.0.5", 0, 89)
ALL = [MODBUS, ANSWER, DNS, GOOSE, OSPF]


@pytest.mark.parametrize(
    ("text", "passing"),
    [
        ("", ALL),
        ("tcp", [MODBUS, ANSWER]),
        ("tcp port 502", [MODBUS, ANSWER]),
        ("dst port 502", [MODBUS]),
        ("src port 502", [ANSWER]),
        ("portrange 500-600", [MODBUS, ANSWER]),
        ("host 10.0.0.9", [MODBUS, ANSWER]),
        ("src host 10.0.0.9", [MODBUS]),
        ("net 10.0.0.0/8", [MODBUS, ANSWER, OSPF]),
        ("net 2001:db8::/32", [DNS]),
        ("not tcp", [DNS, GOOSE, OSPF]),
        ("! tcp && ! udp", [GOOSE, OSPF]),
        ("tcp or udp", [MODBUS, ANSWER, DNS]),
        ("not (tcp or udp)", [GOOSE, OSPF]),
        ("udp or tcp and src port 502", [ANSWER, DNS]),
        ("ether proto 0x88b8", [GOOSE]),
        ("ip proto 89", [OSPF]),
        ("port 0", []),
    ],
)
def test_a_filter_means_what_the_language_says(text, passing):
    assert [ends for ends in ALL if compile_filter(text)(ends)] == passing


@pytest.mark.parametrize(
    "text",
    [
        "port",
        "port x",
        "port 70000",
        "port -1",
        "host nobody",
        "tcp[13] & 2 != 0",
        "(tcp",
        "tcp)",
        "src",
        "ip",
        "or",
        "not",
        "portrange 5",
        "(" * 400 + "tcp",
        "not " * 240 + "tcp",
        "tcp or " * 200 + "tcp",
    ],
)
def test_what_is_not_in_the_language_is_refused(text):
    with pytest.raises(InputError, match="cannot be understood"):
        compile_filter(text)
