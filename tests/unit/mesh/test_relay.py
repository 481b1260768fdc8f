"""Blind relay: what a member passes on, how far, and how much."""

import pytest

from cronos.errors import DeniedError
from cronos.mesh.relay import MAX_HOPS, Passing, RelayBudget, unwrap, wrap

SECOND = 1_000_000_000


def test_what_is_wrapped_is_unwrapped():
    assert unwrap(wrap(2, "beta", b"sealed")) == Passing(2, "beta", b"sealed")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x01",
        wrap(0, "beta", b"x"),
        wrap(MAX_HOPS + 1, "beta", b"x"),
        wrap(1, "", b"x"),
        wrap(1, "beta", b""),
        wrap(1, "b" * 64, b"x"),
        b"\x01\x09short",
        b"\x01\x02\xff\xffx",
    ],
)
def test_anything_else_is_refused(data):
    with pytest.raises(DeniedError):
        unwrap(data)


def test_one_member_cannot_use_up_what_is_there_for_all():
    budget = RelayBudget(each_per_s=10, all_per_s=100)

    greedy = sum(budget.take("greedy", SECOND) for _ in range(1000))
    modest = sum(budget.take("modest", SECOND) for _ in range(5))

    assert (greedy, modest) == (10, 5)


def test_all_together_have_a_bound_and_time_gives_back():
    budget = RelayBudget(each_per_s=10, all_per_s=15)

    first = sum(budget.take(f"m{n % 5}", SECOND) for n in range(100))
    after = sum(budget.take("m0", 2 * SECOND) for _ in range(100))

    assert (first, after) == (15, 10)


def test_members_are_counted_up_to_a_bound():
    budget = RelayBudget()
    for n in range(5000):
        budget.take(f"m{n}", SECOND)

    assert len(budget._each) == 4096
    budget.forget("m0")
    assert budget.take("another", SECOND * 2)
