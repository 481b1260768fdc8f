"""Sums of refusals: one record for each reason and minute, whoever chooses how many there are."""

import pytest

from cronos.mesh.strangers import REASONS, Strangers
from cronos.testing.clock import VirtualClock

S_NS = 1_000_000_000


@pytest.fixture
def world():
    clock, told = VirtualClock(), []
    return clock, told, Strangers(clock, lambda *said, **more: told.append((*said, more["detail"])))


def test_the_first_is_told_at_once_and_the_others_a_minute_later_with_their_number(world):
    clock, told, strangers = world
    strangers.refused("mesh.no_tls", "192.0.2.7")
    strangers.tick()
    assert told == [
        (
            "warning",
            "mesh.no_tls",
            "Connections to the mesh's port said what is no TLS: 1 from 192.0.2.7.",
        )
    ]
    for second in range(59):
        for _ in range(100):
            strangers.refused("mesh.no_tls", "192.0.2.7")
        strangers.refused("mesh.no_tls", f"192.0.2.{second + 100}")
        clock.advance(S_NS)
        strangers.tick()
    assert len(told) == 1
    clock.advance(S_NS)
    strangers.tick()
    assert "5900 from 192.0.2.7, 1 from 192.0.2.100" in told[1][2]
    assert "57 others" in told[1][2]
    clock.advance(600 * S_NS)
    strangers.tick()
    assert len(told) == 2


def test_each_reason_is_told_apart(world):
    _, told, strangers = world
    for reason in REASONS:
        strangers.refused(reason, "2001:db8::1")
    strangers.tick()
    assert [reason for _, reason, _ in told] == list(REASONS)


def test_a_thousand_addresses_are_counted_and_not_kept(world):
    _, told, strangers = world
    for n in range(1_000):
        strangers.refused("mesh.unfinished", f"10.0.{n // 250}.{n % 250}")
    strangers.tick()
    assert "997 others" in told[0][2]
    assert len(told[0][2]) < 300


def test_what_is_no_address_is_not_shown(world):
    _, told, strangers = world
    strangers.refused("mesh.no_tls", "\x1b[31mred")
    strangers.tick()
    assert told[0][2].endswith("said what is no TLS: 1 others.")


def test_an_unknown_reason_is_a_mistake_of_ours(world):
    with pytest.raises(KeyError):
        world[2].refused("mesh.other", "192.0.2.1")
