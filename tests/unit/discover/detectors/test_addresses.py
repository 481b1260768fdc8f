"""Own addresses in every spelling, stations that change places, and no chance finds."""

import msgspec
import numpy as np
from tests.unit.discover.detectors.noise import alarms, random_bytes

from cronos.discover.detectors.addresses import claims
from cronos.discover.messages import Message
from cronos.discover.model import Sem

HERE, THERE = "10.20.30.7", "192.168.4.9"


def live(write, count=20):
    rng = np.random.default_rng(1)
    return [Message(write(rng), "1", "c2s", 1.7e9, HERE, THERE) for _ in range(count)]


def test_own_addresses_are_found_as_bytes_and_as_text():
    found = claims(live(lambda rng: rng.bytes(int(rng.integers(2, 5))) + bytes([10, 20, 30, 7])))
    text = claims(live(lambda rng: b"to " + THERE.encode() + b";" + rng.bytes(3)))
    turned = claims(live(lambda rng: rng.bytes(2) + bytes([9, 4, 168, 192])))

    assert [(c.sem, c.spans[0][1], c.terms["whose"]) for c in found] == [(Sem.ADDRESS, 4, "source")]
    assert (text[0].spans[0], text[0].terms["whose"]) == ((3, 11), "destination")
    assert turned[0].terms["endian"] == "le"


def test_stations_change_places_in_answers():
    rng = np.random.default_rng(2)
    given = []
    for flow in range(6):
        one, two = (int(v) for v in rng.choice(np.arange(1, 250), 2, replace=False))
        for turn in range(8):
            pair = [one, two] if turn % 2 == 0 else [two, one]
            side = "c2s" if turn % 2 == 0 else "s2c"
            payload = b"\x05" + bytes(pair) + rng.bytes(6)
            given.append(Message(payload, str(flow), side, 1.7e9 + turn))

    found = claims(given)

    assert [(c.kind, c.spans[0]) for c in found] == [
        ("address.station", (1, 1)), ("address.station", (2, 1)),
    ]  # fmt: skip


def test_an_address_too_plain_to_be_told_is_not_sought():
    given = [msgspec.structs.replace(m, source="1.1.1.1") for m in random_bytes(1)]
    given = [msgspec.structs.replace(m, payload=b"\x01\x01\x01\x01" + m.payload) for m in given]

    assert [c for c in claims(given) if c.kind == "address.own"] == []


def placed(rng, *addresses):
    """Give a message for each address, behind three bytes and before a few."""
    return [
        Message(rng.bytes(3) + bytes(map(int, one.split("."))) + rng.bytes(int(rng.integers(9))))
        for one in addresses
    ]


def private(messages):
    return [c for c in claims(messages) if c.kind == "address.private"]


def test_addresses_of_private_networks_are_found_with_none_and_others_of_network_10_between():
    rng = np.random.default_rng(3)
    ends = ["192.168.7.1", "192.168.9.20", "0.0.0.0", "10.1.2.3", "255.255.255.0", "172.16.9.8"]
    (found,) = private(placed(rng, *(ends * 5)))

    assert (found.sem, found.support) == (Sem.ADDRESS, 1.0)
    assert set(found.spans) == {(3, 4)}
    # Two networks in one place are rarer than either.
    assert found.alarm < 1e-5
    (one,) = private(placed(rng, *(["192.168.7.1", "192.168.9.20"] * 5)))
    assert 1e-3 < one.alarm <= 0.01
    (other,) = private(placed(rng, *(["172.16.7.1", "172.31.9.20"] * 5)))
    assert other.alarm == one.alarm


def test_networks_that_chance_begins_as_often_are_not_told_alone():
    rng = np.random.default_rng(4)
    for one in ("10.0.0.{}", "172.16.3.{}", "255.255.{}.0", "8.8.8.{}"):
        assert private(placed(rng, *[one.format(n) for n in range(40)])) == []


def test_a_column_that_holds_other_numbers_too_is_not_one_of_addresses():
    rng = np.random.default_rng(5)
    ends = [f"192.168.1.{n}" if n % 4 else f"{n + 60}.3.2.1" for n in range(40)]

    assert private(placed(rng, *ends)) == []
    assert private(placed(rng, "192.168.1.1", "192.168.1.2")) == []


def test_nothing_is_found_in_noise():
    assert alarms(claims, range(1000, 1003)) == []
    wrong = [c for seed in range(6) for c in claims(
        [msgspec.structs.replace(m, source=HERE, destination=THERE) for m in random_bytes(seed)]
    )]  # fmt: skip
    assert wrong == []
