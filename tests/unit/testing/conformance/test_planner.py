"""The suite finds the planners that break a rule of the port."""

import pytest
from tests.unit.respond.playbooks import ATTACKER, incident

from cronos.testing.conformance.planner import PlannerConformance
from cronos.types import Entity, EntityKind, Manifest, Option, State, Verb


class _Once:
    """Proposes one step until it is done: as it should be."""

    manifest = Manifest("once", "Blocks the attacker")

    def plan(self, case, history):
        over = history or case.state is State.CLOSED
        return () if over else (Option("p", Verb.DENY, ATTACKER, 0.4, 1.0),)


class _Endless(_Once):
    def plan(self, case, history):
        return (Option("p", Verb.DENY, ATTACKER, 0.4, 1.0),)


class _Stranger(_Once):
    def plan(self, case, history):
        stranger = Entity(EntityKind.ADDRESS, "203.0.113.1")
        return () if history else (Option("p", Verb.DENY, stranger, 0.4, 1.0),)


class _Forgetful(_Once):
    def __init__(self):
        self.asked = 0

    def plan(self, case, history):
        self.asked += 1
        return (Option("p", Verb.DENY, ATTACKER, 0.4, float(self.asked)),)


def suite(planner):
    class Suite(PlannerConformance):
        def make(self):
            return planner()

        def incident(self):
            return incident()

    return Suite()


TESTS = [name for name in dir(PlannerConformance) if name.startswith("test_")]


@pytest.mark.parametrize("name", TESTS)
def test_a_planner_that_keeps_the_rules_passes(name):
    getattr(suite(_Once), name)()


@pytest.mark.parametrize(
    ("planner", "name"),
    [
        (_Endless, "test_it_ends_whether_its_steps_succeed_or_fail"),
        (_Endless, "test_nothing_is_due_for_what_is_over"),
        (_Stranger, "test_it_names_only_the_incidents_entities_and_the_sites_own"),
        (_Forgetful, "test_it_proposes_something_and_the_same_again"),
    ],
)
def test_a_planner_that_breaks_a_rule_is_found(planner, name):
    with pytest.raises(AssertionError):
        getattr(suite(planner), name)()
