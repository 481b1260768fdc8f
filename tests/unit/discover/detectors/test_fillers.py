"""Padding to a unit, tails that nobody can read, and neither where bytes are readable."""

import zlib

import numpy as np
from tests.unit.discover.detectors.noise import alarms, few_sizes, messages, shuffled

from cronos.discover.detectors.fillers import claims, evenness
from cronos.discover.messages import Message
from cronos.discover.synthetic import samples


def test_padding_to_a_unit_is_found():
    rng = np.random.default_rng(1)
    bodies = [b"\x01\x02" + bytes(int(v) for v in rng.integers(1, 99, int(rng.integers(5, 60))))
              for _ in range(60)]  # fmt: skip

    found = claims([Message(b + bytes(-len(b) % 8)) for b in bodies])

    assert [(c.kind, c.terms["unit"]) for c in found] == [("padding", 8)]
    assert found[0].spans[0] is None or sum(found[0].spans[0]) % 8 == 0


def test_bytes_that_count_up_or_down_are_a_ramp_from_sixteen_on():
    up, down = bytes(range(16, 48)), bytes(range(200, 180, -1))
    given = [b"\x08\x00ab" + up + b"zz", down, b"\x08" + bytes(range(15)), b"", bytes(64)]

    (found,) = claims([Message(one) for one in given])

    assert (found.kind, found.terms) == ("ramp", {"bytes": 52})
    assert found.spans == ((4, 32), (0, 20), None, None, None)
    assert 0 < found.alarm < 1e-30


def test_numbers_of_two_bytes_that_count_are_no_ramp():
    given = [b"".join(n.to_bytes(2, order) for n in range(50)) for order in ("big", "little")]

    assert claims([Message(one) for one in given]) == []


def test_a_tail_of_random_bytes_is_sealed_from_its_first_byte_on():
    rng = np.random.default_rng(2)
    given = [Message(b"\x17\x03\x03\x00" + bytes([n % 5]) + rng.bytes(60)) for n in range(80)]

    assert [(c.kind, c.spans[0]) for c in claims(given)] == [("sealed", (5, 60))]


def test_evenness_is_small_for_random_bytes_and_large_for_others():
    rng = np.random.default_rng(3)

    assert max(abs(evenness(rng.bytes(4096))) for _ in range(50)) < 4
    assert evenness(b"".join(b"%d;" % n for n in range(2000))) > 50
    assert evenness(zlib.compress(b"abc" * 9)) > -4


def test_readable_messages_are_neither():
    assert alarms(claims, range(1300, 1308), (shuffled, few_sizes)) == []
    sealed = [
        seed
        for seed in range(20)
        for c in claims(messages(samples(seed, 100)))
        if c.kind == "sealed"
    ]
    assert sealed == []
