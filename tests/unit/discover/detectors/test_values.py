"""Floats by their decimals and binades, packed decimals by their nibbles; integers are neither."""

import struct

import numpy as np
import pytest
from tests.unit.discover.detectors.noise import alarms

from cronos.discover.detectors.values import claims
from cronos.discover.messages import Message
from cronos.discover.model import Sem


def fields(write, count=80, seed=1):
    rng = np.random.default_rng(seed)
    return [Message(rng.bytes(2) + write(rng) + rng.bytes(4)) for _ in range(count)]


@pytest.mark.parametrize("code", [">f", "<f", ">d", "<d"])
def test_readings_with_few_decimals_are_floats(code):
    given = fields(lambda rng: struct.pack(code, round(float(rng.uniform(1, 90)), 1)))

    found = [c for c in claims(given) if c.sem is Sem.FLOAT]

    assert [c.spans[0] for c in found] == [(2, struct.calcsize(code))]
    assert found[0].alarm < 1e-6


def test_readings_of_many_magnitudes_are_floats():
    given = fields(lambda rng: struct.pack(">f", float(10 ** rng.uniform(-3, 5))))

    assert claims(given)[0].spans[0] == (2, 4)


def test_packed_decimals_are_told_from_text_and_binary():
    digits = fields(lambda rng: bytes(int(a) * 16 + int(b) for a, b in rng.integers(0, 10, (4, 2))))
    ascii_ = fields(lambda rng: bytes(int(v) for v in rng.integers(0x30, 0x3A, 4)))

    assert [(c.kind, c.spans[0]) for c in claims(digits)] == [("bcd", (2, 4))]
    assert claims(ascii_) == []


def test_integers_of_either_order_are_no_floats():
    assert claims(fields(lambda rng: int(rng.integers(1 << 20)).to_bytes(4, "big"))) == []
    assert claims(fields(lambda rng: int(rng.integers(1 << 20)).to_bytes(4, "little"))) == []
    assert claims(fields(lambda rng: int(rng.integers(50)).to_bytes(2, "big") * 2)) == []


def test_nothing_is_found_in_noise():
    assert alarms(claims, range(1100, 1106)) == []
