"""What executors of foreign systems share: errors become outcomes, one for each action."""

import threading

import msgspec
import pytest
from tests.unit.respond.stage import deny

from cronos.errors import InputError, UnreachableError
from cronos.link.foreign import ForeignExecutor, Prepared, recipe_of, refusal
from cronos.types import Ability, Blast, EntityKind, Manifest, Outcome, Plan, Reversal, Verb


class Before(msgspec.Struct, frozen=True):
    state: str


class Locks(ForeignExecutor):
    """Locks addresses in memory; the address 192.0.2.9 cannot be reached."""

    manifest = Manifest(
        "locks",
        "Locks",
        abilities=(
            Ability(Verb.DENY, EntityKind.ADDRESS, "x", "D3-NTF", Reversal.LEASED, Blast.NARROW, 1),
            Ability(Verb.STOP, EntityKind.ADDRESS, "x", "D3-NTF", Reversal.NONE, Blast.NARROW, 1),
        ),
    )

    def __init__(self):
        super().__init__(4)
        self.locked = set()
        self.before = Before("open")
        self.meeting = threading.Barrier(2)

    def prepare(self, action):
        self._reach(action)
        return Prepared(self.before, "lock", "unlock")

    def put(self, plan):
        self._reach(plan.action)
        self.locked.add(plan.action.target.value)
        return "locked " + "x" * 5000

    def sees(self, plan):
        return plan.action.target.value in self.locked

    def take_back(self, plan):
        recipe_of(plan, Before)
        self.locked.discard(plan.action.target.value)
        return "unlocked"

    def observe(self):
        return frozenset()

    def _reach(self, action):
        if action.target.value == "192.0.2.9":
            raise UnreachableError("x.y", "Nobody answers.", "Wait.")


def test_an_error_is_the_outcome_of_its_own_action():
    locks = Locks()
    plans = locks.plan([deny("192.0.2.1"), deny("192.0.2.9"), deny("192.0.2.2")])
    assert [isinstance(one, Plan) for one in plans] == [True, False, True]
    assert plans[1].detail == "Nobody answers. Wait."
    broken = Plan(deny("192.0.2.9"), b"{}", "", "")
    outcomes = locks.apply([plans[0], broken, plans[2]])
    assert [one.ok for one in outcomes] == [True, False, True]
    assert all(len(one.detail) <= 1001 for one in outcomes)
    assert not locks.renew([broken])[0].ok


def test_what_the_manifest_does_not_have_is_refused():
    (answer,) = Locks().plan([deny("192.0.2.1", verb=Verb.LIMIT)])
    assert answer.detail == "locks cannot limit a address."


def test_a_plan_without_a_recipe_is_for_what_cannot_be_taken_back_and_no_other():
    locks = Locks()
    (refused,) = locks.plan([deny("192.0.2.1", verb=Verb.STOP)])
    assert isinstance(refused, Outcome)
    locks.before = None
    (refused,) = locks.plan([deny("192.0.2.1")])
    assert isinstance(refused, Outcome)
    (plan,) = locks.plan([deny("192.0.2.1", verb=Verb.STOP)])
    assert plan.recipe == b""
    assert locks.undo([plan])[0].detail.startswith("It cannot be taken back.")


def test_renewing_puts_back_what_vanished_and_leaves_the_rest():
    locks = Locks()
    plans = locks.plan([deny("192.0.2.1")])
    assert locks.renew(plans)[0].detail.startswith("locked")
    assert locks.renew(plans)[0].detail == "It stays."


def test_a_batch_is_looked_after_side_by_side():
    locks = Locks()
    meeting = locks.meeting

    def put(_plan):
        meeting.wait(10)
        return "met"

    locks.put = put
    plans = locks.plan([deny("192.0.2.1"), deny("192.0.2.2")])
    assert [one.detail for one in locks.apply(plans)] == ["met", "met"]


def test_a_damaged_recipe_tells_what_to_do_by_hand():
    with pytest.raises(InputError) as raised:
        recipe_of(Plan(deny("192.0.2.1"), b"{", "lock", "unlock it"), Before)
    assert "unlock it" in raised.value.remedy
    assert refusal("No.").code == "link.foreign_target"
