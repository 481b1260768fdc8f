"""Checksums: every algorithm at every kind of place, blocks, and none in noise."""

import numpy as np
import pytest
from tests.unit.discover.detectors.noise import alarms, random_bytes

from cronos.discover.detectors.checksums import claims
from cronos.discover.messages import Message
from cronos.discover.model import Sem
from cronos.discover.sums import SUMS


def bodies(count=40, seed=1):
    rng = np.random.default_rng(seed)
    return [rng.bytes(int(rng.integers(10, 60))) for _ in range(count)]


@pytest.mark.parametrize("order", ["big", "little"])
@pytest.mark.parametrize("name", SUMS)
def test_a_trailing_checksum_is_found(name, order):
    algorithm = SUMS[name]
    given = [
        Message(b + algorithm.of(b).to_bytes(algorithm.width, order)) for b in bodies()
    ]  # fmt: skip

    found = claims(given)

    assert len(found) == 1
    assert found[0].sem is Sem.CHECKSUM
    assert found[0].support == 1.0
    assert found[0].spans == tuple(
        (len(m.payload) - algorithm.width, algorithm.width) for m in given
    )


@pytest.mark.parametrize("name", ["internet", "crc16-ccitt", "crc32", "fletcher16"])
def test_a_header_with_a_sum_over_the_whole_message_is_found(name):
    algorithm = SUMS[name]
    given = []
    for body in bodies(seed=2):
        data = bytearray(b"\x08\x00" + bytes(algorithm.width) + body)
        data[2 : 2 + algorithm.width] = algorithm.of(bytes(data)).to_bytes(algorithm.width, "big")
        given.append(Message(bytes(data)))

    found = claims(given)

    assert [c.spans[0] for c in found] == [(2, algorithm.width)]
    assert found[0].terms["algorithm"] == name


def test_an_end_mark_behind_and_a_start_mark_before_are_left_out():
    algorithm = SUMS["crc16-x25"]
    given = [
        Message(b"\x7e" + b + algorithm.of(b).to_bytes(2, "little") + b"\x7e") for b in bodies()
    ]

    found = claims(given)

    assert found[0].terms["algorithm"] == "crc16-x25"
    assert found[0].terms["start"] == 1
    assert found[0].terms["at"] == -3


def test_blocks_each_with_their_sum_are_found_behind_a_header_with_its_own():
    algorithm = SUMS["crc16-dnp"]

    def closed(part):
        return part + algorithm.of(part).to_bytes(2, "little")

    given = []
    for body in bodies(60, seed=3):
        data = closed(b"\x05\x64" + bytes([len(body)]) + body[:5])
        given.append(
            Message(data + b"".join(closed(body[i : i + 16]) for i in range(0, len(body), 16)))
        )

    found = claims(given)

    ends = {span[0] + span[1] for c in found for span in (c.spans[0],) if span}
    size = len(given[0].payload)
    assert {10, min(28, size), min(46, size), size} <= ends | {10}
    assert all(c.terms["algorithm"] == "crc16-dnp" for c in found)


def test_a_header_of_its_own_sum_needs_no_blocks_behind_it():
    algorithm = SUMS["crc16-dnp"]
    heads = [b"\x05\x64" + body[:6] for body in bodies(60, seed=5)]
    given = [
        Message(head + algorithm.of(head).to_bytes(2, "little") + body)
        for head, body in zip(heads, bodies(60, seed=6), strict=True)
    ]

    assert [c.spans[0] for c in claims(given)] == [(8, 2)]


def test_a_third_of_broken_messages_does_not_hide_it():
    algorithm = SUMS["crc16-modbus"]
    given = [Message(b + algorithm.of(b).to_bytes(2, "little")) for b in bodies(90)]
    given[::4] = [Message(m.payload[:-1] + b"\x00") for m in given[::4]]

    assert claims(given)[0].support >= 0.7


def test_a_byte_copied_or_counted_beside_zeros_is_no_sum():
    given = [Message(bytes([0, 0, 0, n, 0, n, 0])) for n in range(200)]
    given += [Message(bytes([0, 0, 0, n, 0, (n + 3) & 255, 0, 1])) for n in range(200)]

    assert claims(given) == []


def test_nothing_is_found_in_noise():
    assert alarms(claims, range(200, 204)) == []
    assert claims(random_bytes(1)[:2]) == []
