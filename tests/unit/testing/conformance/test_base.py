"""The suites' own words: what they state, expect and await."""

import pytest

from cronos.testing.conformance.base import eventually, noise, refused, require, run, same


def test_a_rule_that_does_not_hold_is_named():
    require(True, "fine")
    with pytest.raises(AssertionError, match="no gap"):
        require(False, "no gap")
    with pytest.raises(AssertionError, match=r"found    1\n  expected 2"):
        same(1, 2, "equal")


def test_a_call_that_should_have_been_refused_is_named():
    assert str(refused(ValueError, lambda: int("x"), "refused")).startswith("invalid")
    with pytest.raises(AssertionError, match="must be refused"):
        refused(ValueError, lambda: int("1"), "must be refused")


def test_noise_is_the_same_each_time_and_as_long_as_asked():
    assert noise(1, 100) == noise(1, 100) != noise(2, 100)
    assert [len(noise(3, size)) for size in (0, 1, 31, 32, 33)] == [0, 1, 31, 32, 33]
    assert noise(1, 100).startswith(noise(1, 40))


def test_what_becomes_true_is_awaited():
    turns = iter([False, False, True])
    run(eventually(lambda: next(turns), "never"))
