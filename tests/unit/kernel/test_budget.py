"""Budgets: refilled evenly, by how much an action takes away, and never borrowed."""

import pytest

from cronos.config import Policy
from cronos.errors import InputError
from cronos.kernel.budget import MINUTE_NS, Budgets
from cronos.types import Blast, Now

START = Now(MINUTE_NS, 0)


def later(minutes):
    return Now(int(MINUTE_NS * (1 + minutes)), 0)


def test_tokens_are_spent_and_come_back_evenly():
    budgets = Budgets(Policy(actions_per_minute=60))
    assert budgets.left(Blast.NARROW, START) == 60
    for _ in range(60):
        budgets.spend(Blast.NARROW)

    assert budgets.left(Blast.NARROW, START) == 0
    assert budgets.left(Blast.NARROW, later(0.5)) == 30
    assert budgets.left(Blast.NARROW, later(9)) == 60


def test_what_takes_away_more_has_less():
    budgets = Budgets(Policy(actions_per_minute=100, blast_per_minute={"host": 2}))
    budgets.left(Blast.HOST, START)
    budgets.spend(Blast.HOST)
    budgets.spend(Blast.HOST)

    assert budgets.left(Blast.HOST, START) == 0
    assert budgets.left(Blast.NARROW, START) == 98
    assert budgets.left(Blast.FLEET, START) == 4  # not named, and bounded all the same


def test_a_share_is_split_in_advance():
    budgets = Budgets(Policy(actions_per_minute=100, budget_share=0.25))

    assert budgets.left(Blast.NARROW, START) == 25


def test_a_clock_that_stands_or_goes_back_gives_nothing():
    budgets = Budgets(Policy(actions_per_minute=1))
    budgets.left(Blast.NARROW, later(5))
    budgets.spend(Blast.NARROW)

    assert budgets.left(Blast.NARROW, START) == 0


def test_a_budget_for_nothing_is_refused():
    with pytest.raises(InputError, match="blast class"):
        Budgets(Policy(blast_per_minute={"planet": 1}))
