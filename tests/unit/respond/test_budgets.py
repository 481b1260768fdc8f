from tests.unit.respond.stage import S, deny

from cronos.respond.budgets import Abilities, Budget, Budgets, deed_of
from cronos.respond.recording import RecordingConfig, RecordingExecutor
from cronos.types import Ability, Blast, EntityKind, Manifest, Reversal, Verb

K = EntityKind


def test_the_budget_refills_evenly_and_never_beyond_a_minute():
    budget = Budget(60, 0)
    assert sum(budget.take(0) for _ in range(100)) == 60
    assert sum(budget.take(10 * S) for _ in range(100)) == 10
    assert sum(budget.take(10_000 * S) for _ in range(100)) == 60
    assert not budget.take(0)


def test_a_token_taken_for_nothing_is_given_back():
    budget = Budget(1, 0)
    assert budget.take(0)
    budget.give_back()
    assert budget.take(0)
    assert not budget.take(0)


def test_each_class_has_a_budget_of_its_own_and_all_share_one():
    budgets = Budgets(10, {"fleet": 2}, 0, ())
    assert [budgets.take(Blast.FLEET, 0) is None for _ in range(3)] == [True, True, False]
    assert "blast class fleet" in budgets.take(Blast.FLEET, 0)
    assert sum(budgets.take(Blast.NARROW, 0) is None for _ in range(20)) == 8
    assert "budget of 10 actions" in budgets.take(Blast.NARROW, 0)


def test_what_the_common_budget_refuses_costs_the_class_nothing():
    budgets = Budgets(60, {"fleet": 2}, 0, [Blast.NARROW] * 60)
    assert "budget of 60 actions" in budgets.take(Blast.FLEET, 0)
    assert [budgets.take(Blast.FLEET, 2 * S) is None for _ in range(3)] == [True, True, False]


def test_what_was_spent_before_a_crash_is_spent_in_its_class_too():
    budgets = Budgets(10, {"host": 3}, 0, [Blast.HOST, Blast.HOST])
    assert [budgets.take(Blast.HOST, 0) is None for _ in range(2)] == [True, False]


class Final(RecordingExecutor):
    manifest = Manifest(
        "final",
        "Ends processes",
        abilities=(
            Ability(Verb.STOP, K.PROCESS, "process", "D3-PT", Reversal.NONE, Blast.NARROW, 50),
            Ability(Verb.STOP, K.WORKLOAD, "x", "D3-PT", Reversal.LEASED, Blast.SERVICE, 50),
        ),
    )


def test_the_manifest_says_what_an_action_weighs_and_its_kind_where_none_does():
    abilities = Abilities({"world": Final(RecordingConfig())})

    def of(verb, kind):
        return deed_of(deny("x", kind=kind, verb=verb))

    assert abilities.is_final(of(Verb.STOP, K.PROCESS))
    assert not abilities.is_final(of(Verb.STOP, K.WORKLOAD))
    assert abilities.is_final(of(Verb.DELETE, K.POD))
    assert not abilities.is_final(of(Verb.DENY, K.ADDRESS))
    assert abilities.blast_of(of(Verb.STOP, K.WORKLOAD)) is Blast.SERVICE
    assert abilities.blast_of(of(Verb.DENY, K.NETWORK)) is Blast.FLEET
    assert abilities.blast_of(of(Verb.CONTAIN, K.HOST)) is Blast.HOST
    assert abilities.blast_of(of(Verb.DENY, K.ADDRESS)) is Blast.NARROW
