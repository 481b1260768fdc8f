import pytest
from tests.unit.front.recorded import ATTACKER, snapshot

from cronos.config import Config, LeaseTerms, Policy
from cronos.front.policy_change import under
from cronos.kernel.assets import Protected
from cronos.kernel.policy import decide
from cronos.types import Blast, Dial, Disposition, Option, Verb


def changed(new, old=None, asked=None):
    """Give what a changed `[policy]` makes of a snapshot, and what is decided about it."""
    after = Config(policy=new)
    covers = Protected(new).covers
    given = under(asked or snapshot(), Config(policy=old or Policy()), after, covers)
    return given, decide(given)


def test_the_same_policy_changes_nothing_that_is_decided():
    given, decision = changed(Policy())

    assert decision == decide(snapshot())
    assert given == snapshot()


@pytest.mark.parametrize(
    ("policy", "disposition"),
    [
        (Policy(protected=("192.0.2.0/24",)), Disposition.REFUSED),
        (Policy(autonomy="ask"), Disposition.ASK_ANALYST),
        (Policy(autonomy="observe"), Disposition.OBSERVE),
        (Policy(dial={"deny:address": "ask"}), Disposition.ASK_ANALYST),
        (Policy(dial={"deny:flow": "ask"}), Disposition.AUTO_APPROVE),
        (Policy(autonomy="observe", dial={"deny:address": "act"}), Disposition.AUTO_APPROVE),
    ],
)
def test_dials_and_protected_assets_are_those_of_the_new_policy(policy, disposition):
    assert changed(policy)[1].disposition is disposition


def test_what_was_held_back_by_the_old_policy_is_let_go_by_the_new_one():
    option = Option("recording", Verb.DENY, ATTACKER, 0.4, 0.7, dial=Dial.ASK, protected=True)
    asked = snapshot(options=(option,), protected=True, autonomy="observe")

    assert decide(asked).disposition is Disposition.REFUSED
    assert changed(Policy(), asked=asked)[1].disposition is Disposition.AUTO_APPROVE


def test_a_budget_shifts_by_what_the_limits_differ():
    spent = snapshot(budget=0, options=(Option("r", Verb.DENY, ATTACKER, 0.4, 0.7, budget=0),))
    old = Policy(actions_per_minute=10)

    assert changed(Policy(actions_per_minute=10), old, spent)[0].budget == 0
    given, decision = changed(Policy(actions_per_minute=12), old, spent)
    assert (given.budget, given.options[0].budget) == (2, 2)
    assert decision.disposition is Disposition.AUTO_APPROVE
    halved = Policy(actions_per_minute=12, budget_share=0.5)
    assert changed(halved, old, spent)[0].budget == 0


def test_a_blast_class_has_a_budget_of_its_own_within_that_of_all():
    wide = Option("r", Verb.CONTAIN, ATTACKER, 0.75, 0.7, blast=Blast.HOST, budget=20)
    asked = snapshot(options=(wide,))

    def left(**policy):
        return changed(Policy(**policy), asked=asked)[0].options[0].budget

    assert left(blast_per_minute={"host": 25}) == 25
    assert left(blast_per_minute={"host": 1}) == 1
    assert left(blast_per_minute={"host": 25}, actions_per_minute=3) == 3


def test_the_lease_and_the_version_are_the_new_ones_and_figures_stay():
    new = Config(policy=Policy(version=7), lease=LeaseTerms(default_s=60))
    given = under(snapshot(), Config(), new, lambda _target: False)

    assert (given.policy_version, given.lease_ns) == (7, 60_000_000_000)
    before, after = snapshot().options[0], given.options[0]
    assert (after.risk, after.utility) == (before.risk, before.utility)
    assert given.confidence == snapshot().confidence
