"""How often a peer may ask for what is dear, and what is told of the rest."""

import pytest

from cronos.mesh.rates import CODE, LIMITS, Rates
from cronos.testing.clock import VirtualClock

S_NS = 1_000_000_000


@pytest.fixture
def world():
    clock, told = VirtualClock(), []
    return clock, told, Rates(clock, lambda *said: told.append(said))


def test_what_an_honest_peer_needs_at_once_is_there_and_fills_again(world):
    clock, told, rates = world
    most, each_s = LIMITS["offers of keys"]
    assert all(rates.take("b", "offers of keys") for _ in range(int(most)))
    assert not rates.take("b", "offers of keys")
    assert rates.take("c", "offers of keys")
    assert rates.take("b", "cards")
    clock.advance(int(S_NS / each_s))
    assert rates.take("b", "offers of keys")
    assert told == [("b", "b sends offers of keys too often: offers of keys left out.", CODE)]


def test_what_is_left_out_is_counted_and_told_once_a_minute(world):
    clock, told, rates = world
    for _ in range(10_000):
        rates.take("b", "cards")
    assert len(told) == 1
    clock.advance(61 * S_NS)
    for _ in range(10_000):
        rates.take("b", "cards")
    assert len(told) == 2
    assert "9968 cards left out" in told[1][1]
    assert rates.dropped == 2 * (10_000 - 32)


def test_who_owes_waits_longer_but_not_for_ever(world):
    clock, _, rates = world
    rates.charge("b", "cards", 50)
    assert not rates.has("b", "cards")
    clock.advance(18 * S_NS)
    assert not rates.has("b", "cards")
    clock.advance(S_NS)
    assert rates.has("b", "cards")


def test_any_number_of_peers_takes_bounded_room(world):
    _, _, rates = world
    for n in range(10_000):
        rates.take(str(n), "cards")
    assert len(rates._buckets) <= 8_192
