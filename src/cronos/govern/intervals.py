"""How sure a share is that was counted: the interval of Clopper and Pearson.

Exact and conservative: it holds the true share at least as often as it says, however small the
count. Ten right of ten is not certainty, it is "at least 69 %".

Source: Clopper and Pearson, 1934; the incomplete beta by Lentz's continued fraction (Abramowitz
and Stegun 26.5.8), inverted by bisection: slow, short, and the same everywhere.
"""

import math
from typing import Final

_ROUNDS: Final = 200
_TERMS: Final = 10_000
_TINY: Final = 1e-300
_ENOUGH: Final = 1e-15


def clopper_pearson(right: int, of: int, level: float = 0.95) -> tuple[float, float]:
    """Give the interval of the share `right` / `of`; (0, 1) where nothing was counted.

    Args:
        right: how often it was so, from 0 to `of`.
        of: how often it could have been.
        level: how often the interval holds the true share, in (0, 1).

    Raises:
        ValueError: `right` is no part of `of`, or `level` no probability.
    """
    if not 0 <= right <= of or not 0.0 < level < 1.0:
        raise ValueError(f"no share: {right} of {of} at {level}")
    tail = (1 - level) / 2
    low = 0.0 if right == 0 else _inverse(tail, right, of - right + 1)
    high = 1.0 if right == of else _inverse(1 - tail, right + 1, of - right)
    return low, high


def _inverse(probability: float, a: float, b: float) -> float:
    """Give x with I_x(a, b) = probability, by bisection."""
    low, high = 0.0, 1.0
    for _ in range(_ROUNDS):
        middle = (low + high) / 2
        if middle in (low, high):
            break
        if incomplete_beta(middle, a, b) < probability:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def incomplete_beta(x: float, a: float, b: float) -> float:
    """Give the regularised incomplete beta function I_x(a, b), for a and b above 0."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    # The fraction converges fast below the mean; above it the other tail is taken.
    if x > (a + 1) / (a + b + 2):
        return 1.0 - incomplete_beta(1.0 - x, b, a)
    scale = math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b)
    return math.exp(scale + a * math.log(x) + b * math.log1p(-x)) * _fraction(x, a, b) / a


def _fraction(x: float, a: float, b: float) -> float:
    value = numerator = 1.0
    denominator = 1 / _off_zero(1 - (a + b) * x / (a + 1))
    value = denominator
    for n in range(1, _TERMS):
        before = value
        for term in (
            n * (b - n) * x / ((a + 2 * n - 1) * (a + 2 * n)),
            -(a + n) * (a + b + n) * x / ((a + 2 * n) * (a + 2 * n + 1)),
        ):
            denominator = 1 / _off_zero(1 + term * denominator)
            numerator = _off_zero(1 + term / numerator)
            value *= denominator * numerator
        if abs(value - before) <= _ENOUGH * abs(value):
            break
    return value


def _off_zero(value: float) -> float:
    return value if abs(value) > _TINY else _TINY
