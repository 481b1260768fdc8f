"""Counts of items of one size; what counts bytes is left to lengths."""

import numpy as np
from tests.unit.discover.detectors.noise import alarms

from cronos.discover.detectors.counts import claims
from cronos.discover.messages import Message
from cronos.discover.model import Sem


def counted(item, head=4, count=80, seed=1):
    rng = np.random.default_rng(seed)
    out = []
    for _ in range(count):
        number = int(rng.integers(0, 20))
        out.append(Message(rng.bytes(head) + number.to_bytes(2, "big") + rng.bytes(number * item)))
    return out


def test_a_count_is_found_with_the_size_of_its_items():
    for item in (2, 5, 12):
        found = claims(counted(item))
        assert [(c.sem, c.spans[0], c.terms["item"]) for c in found] == [(Sem.COUNT, (4, 2), item)]
        assert found[0].alarm < 1e-6


def test_bytes_are_not_items():
    assert claims(counted(1)) == []


def test_nothing_is_found_in_noise():
    assert alarms(claims, range(800, 808)) == []


def test_messages_of_hundreds_of_sizes_have_a_bound_too():
    rng = np.random.default_rng(99)
    messages = [Message(rng.bytes(int(size))) for size in rng.integers(20, 300, 500)]

    assert all(claim.alarm <= 1 for claim in claims(messages))
