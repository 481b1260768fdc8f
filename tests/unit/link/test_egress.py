import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cronos.config import EgressRule
from cronos.errors import DeniedError
from cronos.link.egress import EgressGate
from cronos.testing.conformance.egress import EgressConformance


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "127.0.0.66", "::1", "[::1]", "localhost", "LOCALHOST.", "::ffff:127.0.0.1"],
)
def test_loopback_is_open(host):
    EgressGate().permit(host, 8080, "test")


@pytest.mark.parametrize(
    "host",
    [
        "192.0.2.1",
        "0.0.0.0",
        "::",
        "example.org",
        "localhost.example.org",
        "127.0.0.1.example.org",
        "127.1",
        "2130706433",
        "0x7f.1",
        "",
        "127.0.0.1\n",
        "::ffff:192.0.2.1",
    ],
)
def test_everything_else_is_closed_and_the_remedy_names_the_table(host):
    with pytest.raises(DeniedError, match="allow-list") as refused:
        EgressGate().permit(host, 443, "test")
    assert "[[egress]]" in refused.value.remedy


def test_a_rule_opens_one_host_and_one_port():
    gate = EgressGate([EgressRule("Hooks.Example", 443), EgressRule("2001:DB8::1", 443)])
    gate.permit("hooks.example", 443, "test")
    gate.permit("hooks.example.", 443, "test")
    gate.permit("2001:db8:0:0::1", 443, "test")
    for host, port in (("hooks.example", 80), ("a.hooks.example", 443), ("2001:db8::2", 443)):
        with pytest.raises(DeniedError):
            gate.permit(host, port, "test")


@pytest.mark.parametrize("port", [0, -1, 65536])
def test_a_port_that_is_none_is_closed(port):
    with pytest.raises(DeniedError):
        EgressGate().permit("127.0.0.1", port, "test")


@given(st.text(max_size=50), st.integers(-10, 70_000))
@settings(max_examples=200, deadline=None)
def test_any_text_is_either_permitted_or_refused(host, port):
    with contextlib.suppress(DeniedError):
        EgressGate().permit(host, port, "test")


class TestConformance(EgressConformance):
    def make(self, *allowed):
        return EgressGate(EgressRule(host, port) for host, port in allowed)
