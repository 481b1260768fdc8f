"""An executor that ends things keeps the contract; those that break it are caught."""

import pytest

from cronos.testing.conformance.irreversible import IrreversibleExecutorConformance
from cronos.testing.conformance.samples import deny
from cronos.types import (
    Ability,
    Blast,
    EntityKind,
    Manifest,
    Operation,
    Outcome,
    Plan,
    Reversal,
    Verb,
)


class Shredder:
    """Ends files, for good."""

    manifest = Manifest(
        "shredder",
        "Ends files",
        abilities=(
            Ability(Verb.DENY, EntityKind.ADDRESS, "file", "D3-FEV", Reversal.NONE,
                    Blast.NARROW, 5),
        ),
    )  # fmt: skip
    recipe = b""
    too_many = False
    works = True

    def __init__(self, folder):
        self.folder = folder

    def plan(self, actions):
        return [
            Outcome(a.action_id, a.incident_id, Operation.APPLY, False, False, "never")
            if a.target.value == "198.51.100.1"
            else Plan(a, self.recipe, f"end {a.target.value}", "")
            for a in actions
        ]

    def apply(self, plans):
        for plan in plans:
            if self.works:
                (self.folder / plan.action.target.value).unlink(missing_ok=True)
            if self.too_many:
                (self.folder / "bystander").unlink(missing_ok=True)
        return [self._said(plan, Operation.APPLY, True) for plan in plans]

    def verify(self, plans):
        return [not (self.folder / plan.action.target.value).exists() for plan in plans]

    def renew(self, plans):
        return [self._said(plan, Operation.RENEW, False) for plan in plans]

    def undo(self, plans):
        return [self._said(plan, Operation.UNDO, False) for plan in plans]

    def observe(self):
        return frozenset()

    def _said(self, plan, operation, ok):
        a = plan.action
        return Outcome(a.action_id, a.incident_id, operation, ok, False, "as said")


class TestShredder(IrreversibleExecutorConformance):
    kind = Shredder

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path):
        self.folder = tmp_path

    def make(self):
        for name in ("192.0.2.7", "192.0.2.8", "bystander"):
            (self.folder / name).touch()
        return self.again()

    def again(self):
        return self.kind(self.folder)

    def actions(self):
        return [deny("shredder", f"192.0.2.{n}") for n in (7, 8)]

    def impossible(self):
        return deny("shredder", "198.51.100.1")

    def is_done(self, action):
        return not (self.folder / action.target.value).exists()

    def bystanders(self):
        return (self.folder / "bystander").exists()


def suite(tmp_path, **broken):
    made = TestShredder()
    made.folder = tmp_path
    made.kind = type("Broken", (Shredder,), broken)
    return made


def test_one_that_promises_an_undo_is_caught(tmp_path):
    with pytest.raises(AssertionError, match="No recipe"):
        suite(tmp_path, recipe=b"{}").test_a_plan_changes_nothing_and_says_that_there_is_no_undo()


def test_one_that_hits_bystanders_is_caught(tmp_path):
    with pytest.raises(AssertionError, match="Nobody else"):
        suite(tmp_path, too_many=True).test_what_is_applied_has_happened_and_is_looked_at()


def test_one_that_only_says_so_is_caught(tmp_path):
    with pytest.raises(AssertionError, match="It happened"):
        suite(tmp_path, works=False).test_what_is_applied_has_happened_and_is_looked_at()


def test_one_whose_manifest_promises_an_undo_is_caught(tmp_path):
    with pytest.raises(AssertionError, match="irreversible"):
        suite(
            tmp_path, manifest=Manifest("x", "x")
        ).test_the_manifest_says_that_nobody_takes_it_back()
