"""Intervals of counted shares, against published values and a sum over the binomial itself."""

import math

import pytest

from cronos.govern.intervals import clopper_pearson, incomplete_beta


def tail(right, of, share):
    """P(X >= right) for X binomial, summed term by term: shares no code with what is tested."""
    return sum(math.comb(of, k) * share**k * (1 - share) ** (of - k) for k in range(right, of + 1))


@pytest.mark.parametrize(
    ("right", "of", "low", "high"),
    [
        # As statistics packages print them; the sum over the binomial below is the proof.
        (0, 10, 0.0, 0.3084971),
        (10, 10, 0.6915029, 1.0),
        (1, 10, 0.002528579, 0.4450161),
        (5, 10, 0.1870860, 0.8129140),
        (0, 2_995, 0.0, 0.001230929),
        (81, 263, 0.2527405, 0.3676366),
    ],
)
def test_known_intervals_are_met(right, of, low, high):
    found = clopper_pearson(right, of)

    assert found[0] == pytest.approx(low, abs=5e-5)
    assert found[1] == pytest.approx(high, abs=5e-5)


@pytest.mark.parametrize(("right", "of"), [(1, 1), (3, 7), (29, 30), (2, 100), (250, 500)])
@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
def test_the_ends_leave_exactly_the_tails_of_the_binomial(right, of, level):
    low, high = clopper_pearson(right, of, level)

    assert tail(right, of, low) == pytest.approx((1 - level) / 2, rel=1e-6)
    if right < of:
        assert 1 - tail(right + 1, of, high) == pytest.approx((1 - level) / 2, rel=1e-6)


def test_the_incomplete_beta_is_symmetric_and_rises():
    for a, b in ((1, 1), (0.5, 3), (40, 2), (3_000, 5_000)):
        values = [incomplete_beta(n / 50, a, b) for n in range(51)]
        assert values == sorted(values)
        assert (values[0], values[-1]) == (0.0, 1.0)
        assert incomplete_beta(0.3, a, b) == pytest.approx(1 - incomplete_beta(0.7, b, a))
    assert incomplete_beta(0.3, 1, 1) == pytest.approx(0.3)


def test_more_counts_say_more_and_none_say_nothing():
    assert clopper_pearson(0, 0) == (0.0, 1.0)
    widths = [high - low for low, high in (clopper_pearson(n // 2, n) for n in (2, 20, 200, 2_000))]
    assert widths == sorted(widths, reverse=True)
    assert clopper_pearson(500_000, 1_000_000)[0] == pytest.approx(0.49902, abs=1e-5)


@pytest.mark.parametrize("bad", [(2, 1), (-1, 3), (0, -1)])
def test_what_is_no_share_is_refused(bad):
    with pytest.raises(ValueError, match="no share"):
        clopper_pearson(*bad)
    with pytest.raises(ValueError, match="no share"):
        clopper_pearson(1, 2, 1.0)
