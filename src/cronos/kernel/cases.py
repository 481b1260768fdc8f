"""Cases: all incidents that are open, and those that closed within a day.

Every change of state goes through `move`: it advances the one state machine, sets the deadline of
the state that is entered, and notes how the incident stands wherever it comes to rest, which is
what a kernel that starts anew is told.
"""

from collections import OrderedDict
from typing import Final

from cronos.config import Config
from cronos.kernel.incident import Signal, advance, deadlines_ns
from cronos.types import (
    After,
    Deadline,
    Effect,
    Entity,
    EntityKind,
    Finding,
    Incident,
    Note,
    Now,
    Provenance,
    State,
)

CLOSED_NS: Final = 24 * 3_600_000_000_000
_CLOSED, _OBSERVED = State.CLOSED, State.OBSERVED
_ADDRESS, _SPOOFABLE = EntityKind.ADDRESS, Provenance.SPOOFABLE
# RELEASING is among them: what a person has ended must stay ended, whatever crashes then.
_RESTING: Final = frozenset(
    {State.WAITING, State.OBSERVED, State.CONFIRMED, State.RELEASING, State.FAILED}
)
# What the enforcer has been asked for and has not answered.
_UNDER_WAY: Final = frozenset({State.ISOLATING, State.RELEASING})


class Cases:
    """Incidents by id, and which of them new evidence belongs to.

    `active` counts those that wait for the enforcer.
    """

    def __init__(self, config: Config) -> None:
        self.open: dict[str, Incident] = {}
        self.closed: OrderedDict[str, Incident] = OrderedDict()
        self.active = 0
        self._watched: dict[str, None] = {}  # the open ones that are only watched, oldest first
        self._by_key: dict[Entity | None, str] = {}
        self._keys: dict[str, Entity | None] = {}
        self._about: dict[Entity, int] = {}
        self._most = config.policy.max_open_incidents
        self._flood = config.policy.flood_incidents
        self.lasts_ns: Final = deadlines_ns(config.deadlines, config.policy.analyst_deadline_s)
        # Whoever is asked after the analyst has longer.
        self.lasts_asked_ns: Final = deadlines_ns(
            config.deadlines, config.policy.manager_deadline_s
        )

    def filed(self, key: Entity | None) -> Incident | None:
        """Give the open incident that is filed under a key."""
        return self.open.get(self._by_key.get(key, ""))

    def flooded(self, asset: Entity) -> bool:
        """Say whether so many cases are open about one asset that the next are one."""
        return self._about.get(asset, 0) >= self._flood

    def add(self, incident: Incident, key: Entity | None) -> list[Effect]:
        """Keep a new incident, filed under `key`; where there is no room, make some.

        What gives way is the oldest case that is only watched, or else the oldest: on record, not
        silently. An isolation it held ends with its lease, by the enforcer.
        """
        effects: list[Effect] = []
        if len(self.open) >= self._most:
            oldest = self.open[next(iter(self._watched or self.open))]
            self.forget(oldest)
            effects.append(Note("evicted", oldest.incident_id, oldest))
        self.open[incident.incident_id] = incident
        if incident.state is _OBSERVED:
            self._watched[incident.incident_id] = None
        self.active += incident.state in _UNDER_WAY
        self._by_key.setdefault(key, incident.incident_id)
        self._keys[incident.incident_id] = key
        if incident.target is not None:
            self._about[incident.target] = self._about.get(incident.target, 0) + 1
        return effects

    def keep(self, incident: Incident) -> None:
        """Replace an incident by what has become of it, its state the same."""
        known = self.open
        if incident.incident_id not in known:
            known = self.closed
        before = known.get(incident.incident_id)
        if before is not None and before.target != incident.target:
            self._leave(before.target)
            if incident.target is not None:
                self._about[incident.target] = self._about.get(incident.target, 0) + 1
        known[incident.incident_id] = incident

    def move(
        self,
        incident: Incident,
        signal: Signal,
        now: Now,
        effects: list[Effect],
        **changes: object,
    ) -> Incident:
        """Advance an incident, keep it, and set the deadline of the state it enters."""
        patient = changes.get("asked", incident.asked)
        lasts_ns = self.lasts_asked_ns if patient else self.lasts_ns
        moved = advance(incident, signal, now.boot_ns, lasts_ns, **changes)
        if moved.version == incident.version:
            self.open[incident.incident_id] = moved
            return moved
        self.active += (moved.state in _UNDER_WAY) - (incident.state in _UNDER_WAY)
        if moved.state is _CLOSED:
            self.forget(moved)
            effects.append(Note("closed", moved.incident_id, moved))
            return moved
        self.open[moved.incident_id] = moved
        if moved.state is _OBSERVED:
            self._watched[moved.incident_id] = None
        elif incident.state is _OBSERVED:
            self._watched.pop(moved.incident_id, None)
        self.await_deadline(moved, now, effects)
        if moved.state in _RESTING:
            effects.append(Note("state", moved.incident_id, moved))
        return moved

    def await_deadline(self, incident: Incident, now: Now, effects: list[Effect]) -> None:
        """Ask to be told when the state has lasted long enough."""
        delay_ns = incident.deadline_boot_ns - now.boot_ns
        effects.append(After(max(0, delay_ns), Deadline(incident.incident_id, incident.version)))

    def forget(self, incident: Incident) -> None:
        """Move an incident among the closed ones, which are kept for a day, as many as are open."""
        former = self.open.pop(incident.incident_id, None)
        self._watched.pop(incident.incident_id, None)
        if former is not None:
            self._leave(former.target)
            if incident.state is not _CLOSED:
                self.active -= former.state in _UNDER_WAY
        key = self._keys.pop(incident.incident_id, None)
        if self._by_key.get(key) == incident.incident_id:
            del self._by_key[key]
        self.closed[incident.incident_id] = incident
        until_ns = _ended_ns(incident) - CLOSED_NS
        while (
            len(self.closed) > self._most or _ended_ns(next(iter(self.closed.values()))) < until_ns
        ):
            self.closed.popitem(last=False)

    def _leave(self, asset: Entity | None) -> None:
        if asset is not None and (count := self._about.get(asset, 0)):
            if count == 1:
                del self._about[asset]
            else:
                self._about[asset] = count - 1


def filed_under(told: Finding | Incident) -> Entity | None:
    """Say what news of this kind belongs to: the attacking address, or else the asset."""
    actor, asset = told.actor, told.target
    if actor is None or actor.kind is not _ADDRESS:
        return asset or actor
    return asset or actor if told.provenance is _SPOOFABLE else actor


def _ended_ns(incident: Incident) -> int:
    return incident.moments[-1].boot_ns if incident.moments else 0
