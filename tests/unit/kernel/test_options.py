"""What could be done, to whom, and what it would be worth."""

import pytest
from msgspec.structs import replace

from cronos.config import Asset, Config, Policy
from cronos.errors import InputError
from cronos.kernel.options import LEAST_RISK, Options
from cronos.testing.story import POINTS, finding
from cronos.types import (
    Ability,
    Action,
    Blast,
    Dial,
    Entity,
    EntityKind,
    LossTable,
    Now,
    Option,
    Reversal,
    Verb,
)

NOW = Now(10**12, 10**18)
KILL = Ability(
    Verb.STOP, EntityKind.PROCESS, "process", "D3-PT", Reversal.NONE, Blast.NARROW, 50, 0.1, 0.9
)
CLOSE = Ability(
    Verb.DENY, EntityKind.SERVICE, "ipv4_connection", "D3-NTF", Reversal.KERNEL, Blast.SERVICE, 50
)


def options(config=None, points=None):
    return Options(config or Config(), points or POINTS, LossTable())


def against(found, config=None, points=None):
    return options(config, points).against(found, found.confidence, NOW)[0]


def test_the_most_useful_comes_first():
    first, second = against(finding())

    assert (first.target.kind, second.target.kind) == (EntityKind.ADDRESS, EntityKind.FLOW)
    assert first.utility > second.utility


def test_a_doubtful_claim_about_a_dear_client_prefers_the_narrowest():
    costly = Asset("desk", ("192.0.2.66",), downtime_per_hour=10_000_000.0)
    found = against(finding(confidence=0.6), Config(asset=(costly,)))

    assert found[0].target.kind is EntityKind.FLOW


def test_the_asset_makes_an_action_riskier():
    plain = against(finding())[0].risk
    old = Asset("desk", ("192.0.2.66",), criticality=5, legacy=True)

    assert against(finding(), Config(asset=(old,)))[0].risk == pytest.approx(plain + 0.2)


def test_a_dial_of_a_class_stands_over_the_common_one():
    policy = Policy(autonomy="observe", dial={"deny:flow": "ask"})
    dials = {one.target.kind: one.dial for one in against(finding(), Config(policy=policy))}

    assert dials == {EntityKind.ADDRESS: Dial.OBSERVE, EntityKind.FLOW: Dial.ASK}


@pytest.mark.parametrize("name", ["deny", "deny:planet", "smite:address"])
def test_a_dial_for_nothing_is_refused(name):
    with pytest.raises(InputError, match="class of actions"):
        options(Config(policy=Policy(dial={name: "ask"})))


def test_what_cannot_be_taken_back_is_of_the_highest_risk_whatever_its_maker_says():
    found = replace(finding(), actor=Entity(EntityKind.PROCESS, "desk/7"), flow=None)
    (option,) = against(found, points={"process": (KILL,)})

    assert option.risk == 0.9
    assert option.reversal is Reversal.NONE
    action = Action("id", "process", Verb.STOP, option.target, "n-1-1", 1)
    assert options(points={"process": (KILL,)}).persons(action) == 2


def test_no_finding_leads_to_what_only_a_planner_may_propose():
    found = replace(finding(), target=Entity(EntityKind.SERVICE, "tcp/198.51.100.2:502"))

    assert against(found, points={"nftables": (CLOSE,)}) == ()


def test_a_proposal_is_completed_by_what_is_ours_to_say():
    port = Entity(EntityKind.SERVICE, "tcp/198.51.100.2:502")
    given = Option("nftables", Verb.DENY, port, 0.0, 1.0, dial=Dial.ACT, budget=10**6)
    ours = options(Config(policy=Policy(autonomy="ask")), {"nftables": (CLOSE,)})
    completed = ours.complete(given, NOW)

    assert completed.risk == LEAST_RISK[Blast.SERVICE]
    assert (completed.dial, completed.budget) == (Dial.ASK, 20)
    assert ours.complete(replace(given, risk=0.95), NOW).risk == 0.95
    assert ours.complete(replace(given, dial=Dial.OBSERVE), NOW).dial is Dial.OBSERVE
    assert ours.complete(replace(given, enforcement_point="elsewhere"), NOW) is None


def test_a_protected_target_is_marked_in_each_option():
    policy = Policy(protected=("192.0.2.0/24",))

    assert all(one.protected for one in against(finding(), Config(policy=policy)))


def test_spending_lowers_what_is_left():
    ours = options(Config(policy=Policy(actions_per_minute=2)))
    action = Action("id", "recording", Verb.DENY, Entity(EntityKind.ADDRESS, "192.0.2.1"), "i", 1)
    before = ours.left(NOW)
    ours.spend(action)

    assert (before, ours.left(NOW)) == (2, 1)
