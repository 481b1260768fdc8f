"""What comes next: counts and the transformer, on conversations with and without a pattern."""

import numpy as np
import pytest

from cronos.discover.sequences import (
    CONTEXT,
    KINDS,
    MODEL,
    Foreseer,
    Turn,
    counted,
    inputs,
    mixed,
    shipped,
    surprise,
    told_apart,
)  # fmt: skip
from cronos.discover.sequences_train import conversation
from cronos.errors import InputError


def loop(count, period=4):
    return [Turn(n % period, 0, 1 + n % 2) for n in range(count)]


def test_kinds_are_numbered_in_the_order_of_their_first_message():
    assert told_apart(["b", "a", "b", "c"]) == [0, 1, 0, 2]
    assert max(told_apart(list(range(100)))) == KINDS - 1


def test_inputs_tell_what_followed_last_time_in_the_capture_and_in_the_flow():
    turns = [Turn(0, 0, 1), Turn(1, 0, 2), Turn(0, 1, 1), Turn(2, 1, 2), Turn(0, 0, 1)]

    assert inputs(turns)[4].tolist() == [0, 1, 1, 2, 1]


def test_chances_are_chances():
    turns = conversation(np.random.default_rng(1), 150)

    for given in (counted(turns, 0), counted(turns, 1), shipped().chances(turns)):
        assert given.shape == (150, KINDS)
        assert np.allclose(given.sum(axis=1), 1)
        assert (given >= 0).all()


def test_order_one_foresees_a_loop_and_order_zero_does_not():
    turns = loop(200)

    assert surprise(turns, counted(turns, 1)).right > 0.95
    assert surprise(turns, counted(turns, 0)).bits > 1.9


def test_the_shipped_network_foresees_a_loop_and_random_kinds_no_better_than_chance():
    rng = np.random.default_rng(2)
    noise = [Turn(int(rng.integers(4)), 0, 0) for _ in range(300)]

    assert surprise(loop(200), shipped().chances(loop(200))).right > 0.9
    assert surprise(noise, shipped().chances(noise)).right < 0.4


def test_a_chance_never_depends_on_what_comes_later():
    turns = conversation(np.random.default_rng(3), CONTEXT)
    changed = [*turns[:40], *(Turn(5, 0, 1) for _ in range(CONTEXT - 40))]

    assert np.allclose(shipped().chances(turns)[:41], shipped().chances(changed)[:41], atol=1e-6)


def test_a_damaged_network_is_refused():
    data = MODEL.read_bytes()
    for bad in (b"", data[:100], b"\x00" * 50):
        with pytest.raises(InputError):
            Foreseer(bad)


def test_a_mixture_is_nearly_as_good_as_its_best_expert():
    turns = loop(300)
    good, bad = counted(turns, 1), counted(turns, 0)

    bits = [surprise(turns, chances).bits for chances in (mixed(turns, [good, bad]), good, bad)]

    assert bits[0] <= bits[1] + 0.1 < bits[2]
