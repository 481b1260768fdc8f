"""What every `Planner` must do."""

from collections.abc import Sequence

from msgspec.structs import replace

from cronos.ports import Planner
from cronos.testing.conformance.base import require, same
from cronos.types import (
    Answer,
    Entity,
    Incident,
    Operation,
    Option,
    Outcome,
    State,
    action_id,
)

_MOST_ROUNDS = 256


class PlannerConformance:
    """Subclass and write `make` and `incident`; `known` where the site itself names targets."""

    def make(self) -> Planner:
        """Give the planner, with something to propose for the incident."""
        raise NotImplementedError

    def incident(self) -> Incident:
        """Give an incident that it has steps for."""
        raise NotImplementedError

    def known(self) -> frozenset[Entity]:
        """Give the targets that the site's configuration names."""
        return frozenset()

    def test_it_proposes_something_and_the_same_again(self) -> None:
        """Ask twice, and a second planner: nothing is remembered between two questions."""
        planner, incident = self.make(), self.incident()
        first = planner.plan(incident, ())
        require(len(first) > 0, "It proposes something for the incident it was made for.")
        same(planner.plan(incident, ()), first, "The same question gets the same answer.")
        same(self.make().plan(incident, ()), first, "Another planner gives the same answer.")

    def test_it_names_only_the_incidents_entities_and_the_sites_own(self) -> None:
        """Follow it to its end, everything succeeding, and look at every target."""
        allowed = _entities(self.incident()) | self.known()
        for options in self._followed(ok=True):
            for option in options:
                require(option.target in allowed, f"{option.target} is nobody's to name.")

    def test_it_ends_whether_its_steps_succeed_or_fail(self) -> None:
        """Let everything succeed, then everything fail."""
        for ok in (True, False):
            rounds = sum(1 for _ in self._followed(ok=ok))
            require(rounds < _MOST_ROUNDS, "A plan has an end.")

    def test_nothing_is_due_for_what_is_over(self) -> None:
        """Ask about the incident once it is closed."""
        closed = replace(self.incident(), state=State.CLOSED)
        same(len(self.make().plan(closed, ())), 0, "A closed incident needs nothing.")

    def _followed(self, *, ok: bool) -> list[Sequence[Option]]:
        """Carry out whatever is due until nothing is, or for a bounded number of rounds."""
        planner, incident = self.make(), self.incident()
        history: list[Outcome | Answer] = []
        rounds: list[Sequence[Option]] = []
        while len(rounds) < _MOST_ROUNDS:
            due = planner.plan(incident, tuple(history))
            if not due:
                break
            rounds.append(due)
            for option in due:
                name = action_id(option.enforcement_point, option.verb, option.target)
                case = incident.incident_id
                history.append(Outcome(name, case, Operation.APPLY, ok, ok, ""))
                history.append(Answer("", case, name, granted=True, subject="somebody"))
        return rounds


def _entities(incident: Incident) -> frozenset[Entity]:
    decided = incident.decision
    chosen = (decided.action, decided.proposal) if decided is not None else ()
    found = [one.target for one in chosen if one is not None]
    return frozenset(one for one in (incident.actor, incident.target, *found) if one is not None)
