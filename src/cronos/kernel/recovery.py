"""Recovery: what a kernel that starts anew takes up, from the ledger and from the enforcer.

The ledger says how each incident last stood, the enforcer what is really held. Boot times of
another boot mean nothing, so that only what was left of a deadline is carried over. An isolation
that nobody holds any more has ended; one that no incident explains is adopted all the same.
"""

from msgspec.structs import replace

from cronos import types as t
from cronos.kernel.cases import CLOSED_NS, Cases, filed_under
from cronos.kernel.incident import Signal
from cronos.kernel.people import People

_GONE = "The enforcer holds it no more: it ended while nobody looked."
_FOUND_HELD = ("held by the enforcer when this process started",)
_HELD = frozenset({t.State.ISOLATED, t.State.CONFIRMED})
_UNAWARE = frozenset({t.State.WAITING, t.State.OBSERVED})


class Recovery:
    """Takes up the past; its state is which incidents still have to be found at the enforcer."""

    def __init__(self, cases: Cases, people: People) -> None:
        self._cases = cases
        self._people = people
        self._unproved: set[str] = set()
        self._told: set[tuple[str, str]] = set()  # what the enforcer has named so far

    def on_recalled(self, recalled: t.Recalled, now: t.Now) -> list[t.Effect]:
        """Take up incidents as they last stood; what waits for a person is asked again."""
        effects: list[t.Effect] = []
        for incident, written_ns in zip(recalled.incidents, recalled.written_wall_ns, strict=True):
            cases = self._cases
            if incident.incident_id in cases.open or incident.incident_id in cases.closed:
                continue
            age_ns = max(0, now.wall_ns - written_ns)
            if incident.state is t.State.CLOSED:
                if age_ns < CLOSED_NS:
                    ended = (t.Moment("closed", now.boot_ns - age_ns),)
                    cases.closed[incident.incident_id] = replace(
                        incident, moments=(*incident.moments[:-1], *ended)
                    )
                    if recalled.past:  # it closed before all others, and gives way before them
                        cases.closed.move_to_end(incident.incident_id, last=False)
            elif not recalled.past:
                self._take_up(incident, age_ns, now, effects)
        return effects

    def _take_up(
        self, incident: t.Incident, age_ns: int, now: t.Now, effects: list[t.Effect]
    ) -> None:
        proposed = incident.proposed
        began_ns = incident.moments[-1].boot_ns if incident.moments else 0
        left_ns = max(0, incident.deadline_boot_ns - began_ns - age_ns)
        lease_ns = max(0, incident.lease_until_boot_ns - began_ns - age_ns)
        incident = replace(
            incident,
            deadline_boot_ns=now.boot_ns + left_ns,
            lease_until_boot_ns=now.boot_ns + lease_ns if incident.lease_until_boot_ns else 0,
            version=incident.version + 1,
            proposed=(),
        )
        effects += self._cases.add(incident, filed_under(incident))
        effects.append(t.Note("recalled", incident.incident_id, incident))
        if incident.state in _HELD:
            self._unproved.add(incident.incident_id)
        self._cases.await_deadline(incident, now, effects)
        if incident.state is t.State.WAITING:
            self._people.ask(incident, effects)
        for action in proposed:
            current = self._cases.open[incident.incident_id]
            effects += self._people.propose(current, action, 0)

    def on_restart(self, restart: t.Restart, now: t.Now) -> list[t.Effect]:
        """Adopt what the enforcer still holds, so that it ends, or is released, like any other."""
        effects: list[t.Effect] = []
        for lease in restart.leases:
            action = lease.plan.action
            self._told.add((action.incident_id, action.action_id))
            if action.enforcement_point == t.WORKFLOW_POINT:
                continue  # a workload's, which operations takes up
            incident = self._cases.open.get(action.incident_id)
            if incident is None:
                self._adopt(lease, now, effects)
            else:
                self._recognise(incident, lease, now, effects)
        return effects

    def gone(self, restart: t.Restart) -> list[t.Outcome]:
        """Say what counts as held and is not, once the enforcer has named all that it holds.

        It ended while nobody looked, and whoever it held must be acted upon anew. What cannot be
        taken back has no lease that could be missed.
        """
        if not restart.complete:
            return []
        told, self._told = self._told, set()
        self._unproved.clear()
        return [
            t.Outcome(action.action_id, name, t.Operation.UNDO, True, True, _GONE)
            for name, incident in self._cases.open.items()
            if incident.state in _HELD and incident.decision is not None
            for action in (*incident.beside, incident.decision.action)
            if action is not None
            and (name, action.action_id) not in told
            and self._people.persons(action) == 1
        ]

    def _recognise(
        self, incident: t.Incident, lease: t.Lease, now: t.Now, effects: list[t.Effect]
    ) -> None:
        """Take a lease up into the incident that it was granted for.

        The ledger's last word may be older than the effect; and what an incident cannot name,
        nobody could release.
        """
        action = lease.plan.action
        decided = incident.decision.action if incident.decision is not None else None
        if decided is not None and decided.action_id == action.action_id:
            if incident.state in _UNAWARE:
                until_ns = lease.expires_boot_ns
                self._cases.move(
                    incident, Signal.APPLIED, now, effects, lease_until_boot_ns=until_ns
                )
        elif all(one.action_id != action.action_id for one in incident.beside):
            self._cases.keep(replace(incident, beside=(*incident.beside, action)))
        else:
            return
        if incident.incident_id in self._unproved:
            # Whoever was to renew it is gone; how much is left of the lease is not looked at.
            effects.append(t.After(0, t.Renewal(incident.incident_id, action.action_id)))

    def _adopt(self, lease: t.Lease, now: t.Now, effects: list[t.Effect]) -> None:
        action = lease.plan.action
        decision = t.Decision(
            action.incident_id, t.Disposition.EXECUTE, 1.0, 0.0, "adopted", action, _FOUND_HELD
        )
        incident = t.Incident(
            action.incident_id,
            t.State.CONFIRMED,
            action.target,
            None,
            f"Held since before a restart: {lease.plan.summary}",
            1.0,
            3,
            t.EvidenceClass.DECLARED,
            t.Provenance.AUTHENTICATED,
            (),
            (),
            0,
            now.wall_ns,
            lease.expires_boot_ns,
            1,
            (t.Moment("adopted", now.boot_ns),),
            decision,
            lease_until_boot_ns=lease.expires_boot_ns,
        )
        effects += self._cases.add(incident, action.target)
        effects.append(t.Note("adopted", incident.incident_id, lease))
        self._cases.await_deadline(incident, now, effects)
