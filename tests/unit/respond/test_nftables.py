import msgspec
import pytest
from tests.unit.respond.stage import deny

from cronos.respond.nftables import NftablesConfig, NftablesExecutor
from cronos.types import Blast, EntityKind, Outcome, Reversal, Verb


@pytest.fixture
def planner():
    """An executor that only plans: what it would do to the kernel needs a namespace."""
    executor = NftablesExecutor.__new__(NftablesExecutor)
    executor._config = NftablesConfig()
    executor._segments = {}
    return executor


def test_each_ability_is_timed_out_by_the_kernel_and_what_takes_away_more_costs_more():
    abilities = {(one.verb, one.kind): one for one in NftablesExecutor.manifest.abilities}
    assert {one.reversal for one in abilities.values()} == {Reversal.KERNEL}
    assert abilities[Verb.DENY, EntityKind.NETWORK].blast is Blast.FLEET
    assert abilities[Verb.DENY, EntityKind.SERVICE].blast is Blast.SERVICE
    assert abilities[Verb.LIMIT, EntityKind.ADDRESS].blast is Blast.NARROW


@pytest.mark.parametrize(
    ("value", "kind", "verb"),
    [
        ("10.0.0.0/7", EntityKind.NETWORK, Verb.DENY),
        ("2001::/16", EntityKind.NETWORK, Verb.DENY),
        ("nowhere", EntityKind.SEGMENT, Verb.DENY),
        ("ff02::1", EntityKind.ADDRESS, Verb.DENY),
        ("224.0.0.5", EntityKind.ADDRESS, Verb.LIMIT),
        ("255.255.255.255", EntityKind.ADDRESS, Verb.DENY),
        ("0.0.0.0", EntityKind.ADDRESS, Verb.DENY),
        ("::", EntityKind.ADDRESS, Verb.DENY),
        ("ff02::/32", EntityKind.NETWORK, Verb.DENY),
        ("224.0.0.0/8", EntityKind.NETWORK, Verb.DENY),
        ("0.0.0.0/8", EntityKind.NETWORK, Verb.DENY),
        ("plc-1", EntityKind.HOST, Verb.DENY),
        ("192.0.2.7", EntityKind.ADDRESS, Verb.CONTAIN),
        ("192.0.2.0/24", EntityKind.NETWORK, Verb.LIMIT),
    ],
)
def test_what_cannot_or_must_not_be_done_is_refused_with_a_sentence(planner, value, kind, verb):
    (refusal,) = planner.plan([deny(value, kind=kind, verb=verb, point="nftables")])
    assert isinstance(refusal, Outcome)
    assert not refusal.ok
    assert value in refusal.detail


def test_a_plan_says_what_it_does_and_carries_its_recipe(planner):
    (plan,) = planner.plan([deny("tcp/192.0.2.7:22", kind=EntityKind.SERVICE, point="nftables")])
    assert plan.kernel_timeout
    assert "its answers" in plan.summary
    assert msgspec.json.decode(plan.recipe)["set"] == "service4"
