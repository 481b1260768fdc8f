"""Whose record it is: the one place that says which subject a record of the ledger is kept for.

A record belongs to the actor of its incident: who attacked, or is said to have. The first records
of an incident (its finding, its bulletin) name the actor, and what follows under the same incident
is kept for the same subject, also where it names nobody (an outcome) or names the target beside
(a decision). An erasure of the actor therefore takes the whole incident with it. A record without
an incident (a kill switch, a membership) belongs to nobody and is never erased; nor is the target
of an attack erased where the actor is another.

A finding is its own actor's, also in a case about an asset that several are said to have attacked.

Rule: a record of which this cannot be said is kept for nobody rather than for the wrong one.
"""

from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Final

from cronos.types import (
    AuditRecord,
    Bulletin,
    Datum,
    Decision,
    Entity,
    Finding,
    Incident,
    Lease,
    Question,
    Snapshot,
    Unknown,
    decode,
)

# As many as a node holds open, and again as many that it has lately closed.
_MAX_INCIDENTS: Final = 200_000


def subject_of(entity: Entity | None) -> str:
    """Name a subject as `cronos audit erase` takes it: ``address 192.0.2.7``."""
    return "" if entity is None else f"{entity.kind} {entity.value}"


class Whose:
    """Remembers the subjects of the incidents that records were lately written about.

    Args:
        recall: gives the newest records that are stored, oldest first; asked once, when a record
            comes whose incident began before this process did.
    """

    def __init__(self, recall: Callable[[], Iterable[bytes]]) -> None:
        self._recall: Callable[[], Iterable[bytes]] | None = recall
        self._incidents: OrderedDict[str, str] = OrderedDict()

    def of(self, record: bytes) -> str:
        """Give the subject of a record's canonical bytes; "" where it belongs to nobody."""
        told = _decoded(record)
        if not isinstance(told, AuditRecord) or not told.incident_id:
            return ""
        if told.kind == "finding" and (own := subject_of(_actor(_decoded(told.body)))):
            if told.incident_id not in self._incidents:
                self._remember(told.incident_id, own)
            return own
        known = self._incidents.get(told.incident_id)
        if known is None:
            return self._learn(told)
        self._incidents.move_to_end(told.incident_id)  # the longest unheard of is forgotten first
        return known

    def _learn(self, told: AuditRecord) -> str:
        body = _decoded(told.body)
        subject = subject_of(_actor(body))
        if not subject and self._recall is not None:
            recall, self._recall = self._recall, None
            for past in recall():
                self.of(past)
            return self._incidents.get(told.incident_id) or self._learn(told)
        subject = subject or subject_of(_acted_upon(body))
        if subject:
            self._remember(told.incident_id, subject)
        return subject

    def _remember(self, incident_id: str, subject: str) -> None:
        self._incidents[incident_id] = subject
        if len(self._incidents) > _MAX_INCIDENTS:
            self._incidents.popitem(last=False)


def _decoded(data: bytes) -> Datum | Unknown | None:
    try:
        return decode(data)
    except ValueError:
        return None


def _actor(body: Datum | Unknown | None) -> Entity | None:
    return body.actor if isinstance(body, Finding | Incident | Bulletin) else None


def _acted_upon(body: Datum | Unknown | None) -> Entity | None:
    """Give whom an action is aimed at, which is the actor of what it answers."""
    match body:
        case Decision(action=action) if action is not None:
            return action.target
        case Question(action=action):
            return action.target
        case Lease(plan=plan):
            return plan.action.target
        case Snapshot(options=options) if options:
            return options[0].target
        case _:
            return None
