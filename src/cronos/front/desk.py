"""The desk of a running node: where commands of people meet its incidents.

It knows no socket and no signature: who may do what was found out before. Nothing here waits, for
it is called on the event loop that isolates.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, TypeAlias

import msgspec

from cronos.front.result import IncidentView
from cronos.types import Answer, Incident, Kill, Question, Release, State, Verdict

Heard: TypeAlias = Answer | Release | Verdict | Kill


class Desk:
    """Shows incidents and questions, and hands over what people said.

    Args:
        open_cases: the open incidents by id, the oldest first.
        closed_cases: those that closed lately.
        view: shows one.
        questions: gives those that wait for an answer.
        take: gives the node an event.
    """

    def __init__(
        self,
        open_cases: Mapping[str, Incident],
        closed_cases: Mapping[str, Incident],
        view: Callable[[Incident], IncidentView],
        questions: Callable[[], list[Question]],
        take: Callable[[Heard], None],
    ) -> None:
        self._open = open_cases
        self._closed = closed_cases
        self._view = view
        self._questions = questions
        self._take = take
        self.state: Callable[[], dict[str, Any]] = dict
        self.reread: Callable[[], str] = str

    def listing(self, which: str, first: int, count: int) -> tuple[int, Sequence[Any]]:
        """Give how many incidents there are of a kind, and `count` of them from `first` on."""
        match which:
            case "open":
                total, cases = len(self._open), iter(self._open.values())
            case "waiting":
                waiting = list(self._waiting())
                total, cases = len(waiting), iter(waiting)
            case _:
                total = len(self._closed) + len(self._open)
                cases = chain(self._closed.values(), self._open.values())
        return total, [self._shown(one) for one in islice(cases, first, first + count)]

    def shown(self, incident_id: str) -> Any | None:
        """Give one incident with all that is known of it, or None."""
        incident = self._open.get(incident_id) or self._closed.get(incident_id)
        return None if incident is None else self._shown(incident)

    def questions(self) -> Sequence[Question]:
        """Give the questions that wait for an answer, the oldest first."""
        return self._questions()

    def take(self, heard: Heard) -> None:
        """Give the node what a person said."""
        self._take(heard)

    def status(self) -> dict[str, Any]:
        """Give how the node stands."""
        return self.state()

    def reload(self, subject: str) -> str:  # noqa: ARG002 - who asked is on record already
        """Read playbooks anew; give a sentence on it."""
        return self.reread()

    def _waiting(self) -> Iterator[Incident]:
        return (one for one in self._open.values() if one.state is State.WAITING or one.proposed)

    def _shown(self, incident: Incident) -> Any:
        return msgspec.to_builtins(self._view(incident))
