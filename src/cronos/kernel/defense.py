"""Defense: findings become incidents, incidents are decided, decisions are carried out.

One incident holds all findings about one attacker (an address), or else about one asset. Only
evidence that may act counts towards the confidence that acts: one strong finding decides, and
repeating a weak one a thousand times adds nothing.
"""

from collections import OrderedDict
from itertools import islice
from typing import Final

from msgspec.structs import replace

from cronos.config import Config
from cronos.kernel.incident import Signal, advance, deadlines_ns
from cronos.kernel.policy import ACTING, ASKING, BUDGET_SPENT, Options, Protected, cell, decide
from cronos.types import (
    WORKFLOW_POINT,
    After,
    Again,
    Answer,
    Ask,
    Audience,
    Bulletin,
    BulletinKind,
    Confirm,
    Deadline,
    Decision,
    Disposition,
    Do,
    Effect,
    Entity,
    EntityKind,
    EvidenceClass,
    Finding,
    Incident,
    Kill,
    Lease,
    Moment,
    Note,
    Now,
    Operation,
    Outcome,
    Provenance,
    Publish,
    Question,
    Release,
    Renewal,
    Restart,
    Snapshot,
    State,
)

_MINUTE_NS: Final = 60_000_000_000
_CLOSED_KEPT: Final = 10_000
_FINDINGS_NAMED: Final = 16
_LOOKED_AT: Final = 256
_RETRY_NS: Final = 1_000_000_000
_FINDINGS_NOTED: Final = 1_000
_AUDIENCES: Final[tuple[Audience, ...]] = ("analyst", "manager", "pager")
_HELD: Final = frozenset({State.ISOLATED, State.CONFIRMED})

# Looked up once: in Python 3.11 an enum's member costs a tenth of a microsecond each time.
_DETECTED, _CLOSED, _WAITING = State.DETECTED, State.CLOSED, State.WAITING
_ACT, _APPLIED, _CONFIRMED = Signal.ACT, Signal.APPLIED, Signal.CONFIRMED
_APPLY, _UNDO = Operation.APPLY, Operation.UNDO
_ADDRESS, _SPOOFABLE = EntityKind.ADDRESS, Provenance.SPOOFABLE


class Defense:
    """The agency that decides; its state is the open incidents, a budget and the kill switch."""

    def __init__(self, config: Config, instance: str, incarnation: int, options: Options) -> None:
        self.incidents: dict[str, Incident] = {}
        self.closed: OrderedDict[str, Incident] = OrderedDict()
        self._by_key: dict[Entity | None, str] = {}
        self._policy = config.policy
        self._lease_ns = config.lease.default_s * 1_000_000_000
        self._lease_max_ns = config.lease.max_s * 1_000_000_000
        self._lasts_ns = deadlines_ns(config.deadlines, config.policy.analyst_deadline_s)
        # Whoever is asked after the analyst has longer.
        self._lasts_asked_ns = deadlines_ns(config.deadlines, config.policy.manager_deadline_s)
        self._origin = instance
        self._prefix = f"{instance}-{incarnation}-"
        self._options = options
        self._protected = Protected(config.policy)
        self._sequence = 0
        self._budget = config.policy.actions_per_minute
        self._minute_ns = -_MINUTE_NS
        self._killed_generation = 0
        self._killed = False

    # --- findings ----------------------------------------------------------------------------

    def on_finding(self, finding: Finding, now: Now) -> list[Effect]:
        """Open an incident for a finding, or add it to the one it belongs to, and decide."""
        key = _key(finding)
        incident = self.incidents.get(self._by_key.get(key, ""))
        if incident is None:
            return self._open(finding, key, now)
        effects: list[Effect] = []
        count = incident.finding_count + 1
        if count <= _FINDINGS_NOTED or count & (count - 1) == 0:
            effects.append(Note("finding", incident.incident_id, finding))
        if finding.finding_id in incident.findings:
            return []
        stronger = _acting(finding) > _acting(incident)
        incident = self._merge(incident, finding, stronger)
        self.incidents[incident.incident_id] = incident
        open_question = incident.state in (State.OBSERVED, _WAITING, State.FAILED)
        if open_question and (stronger or self._deserves_another_try(incident, finding, now)):
            self._decide(incident, finding, now, effects)
        return effects

    def _deserves_another_try(self, incident: Incident, finding: Finding, now: Now) -> bool:
        """Say whether fresh evidence, no stronger than before, should be tried again.

        It should where the world refused the last time, at most once a second: an attack that
        goes on must not be let go on because one attempt failed.
        """
        rested = now.boot_ns - incident.moments[-1].boot_ns >= _RETRY_NS
        return incident.state is State.FAILED and rested and _acting(finding) > 0

    def _open(self, finding: Finding, key: Entity | None, now: Now) -> list[Effect]:
        self._sequence += 1
        incident_id = self._prefix + str(self._sequence)
        incident = Incident(
            incident_id,
            _DETECTED,
            finding.actor,
            finding.target,
            finding.title,
            finding.confidence,
            finding.severity,
            finding.evidence,
            finding.provenance,
            finding.techniques,
            (finding.finding_id,),
            1,
            now.wall_ns,
            now.boot_ns + self._lasts_ns[_DETECTED],
            1,
            (Moment("detected", finding.detected_boot_ns or now.boot_ns),),
            why=finding.explanation,
        )
        effects: list[Effect] = []
        if len(self.incidents) >= self._policy.max_open_incidents:
            effects += self._make_room()
        self._by_key[key] = incident_id
        effects.append(Note("finding", incident_id, finding))
        self._decide(incident, finding, now, effects)
        return effects

    def _make_room(self) -> list[Effect]:
        """Close the oldest case that is only watched, or else the oldest: on record, not silently.

        An isolation it held ends with its lease, by the enforcer. Only the oldest few hundred are
        looked at, so that a flood costs no more than it must.
        """
        few = islice(self.incidents.values(), _LOOKED_AT)
        oldest = next(
            (case for case in few if case.state is State.OBSERVED),
            next(iter(self.incidents.values())),
        )
        self._forget(oldest)
        return [Note("evicted", oldest.incident_id, oldest)]

    def _merge(self, incident: Incident, finding: Finding, stronger: bool) -> Incident:
        """Add a finding; the strongest one tells what the incident is about."""
        findings = incident.findings
        if len(findings) < _FINDINGS_NAMED:
            findings = (*findings, finding.finding_id)
        news = tuple(t for t in finding.techniques if t not in incident.techniques)
        merged = replace(
            incident,
            severity=max(incident.severity, finding.severity),
            techniques=(incident.techniques + news)[:32],
            findings=findings,
            finding_count=incident.finding_count + 1,
        )
        if not stronger:
            return merged
        return replace(
            merged,
            title=finding.title,
            target=finding.target,
            confidence=finding.confidence,
            evidence=finding.evidence,
            provenance=finding.provenance,
            why=finding.explanation,
        )

    # --- decisions ---------------------------------------------------------------------------

    def _decide(
        self, incident: Incident, finding: Finding, now: Now, effects: list[Effect]
    ) -> None:
        snapshot = self._snapshot(incident.incident_id, finding, now)
        decision = decide(snapshot)
        effects.append(Note("snapshot", incident.incident_id, snapshot))
        effects.append(Note("decision", incident.incident_id, decision))
        action = decision.action
        if decision.disposition in ACTING and action is not None:
            self._budget -= 1
            until_ns = now.boot_ns + self._lease_max_ns
            self._move(
                incident, _ACT, now, effects, decision=decision, lease_until_boot_ns=until_ns
            )
            effects.append(Do(_APPLY, action))
        elif decision.disposition in ASKING:
            asked = 1 if decision.disposition is Disposition.ASK_MANAGER else 0
            incident = self._move(
                incident, Signal.ASK, now, effects, decision=decision, asked=asked
            )
            self._question(incident, effects)
            if decision.reasons == (BUDGET_SPENT,):
                # Only the budget was lacking, and it comes back: nobody should have to be asked.
                version = self.incidents[incident.incident_id].version
                effects.append(After(_MINUTE_NS, Again(incident.incident_id, version)))
        else:
            self._move(incident, Signal.WATCH, now, effects, decision=decision)

    def _snapshot(self, incident_id: str, finding: Finding, now: Now) -> Snapshot:
        self._refill(now)
        options = self._options.against(finding)
        return Snapshot(
            now,
            incident_id,
            finding.confidence,
            finding.severity,
            finding.evidence,
            finding.provenance,
            options,
            bool(options) and self._protected.covers(options[0].target),
            self._policy.autonomy,
            self._killed,
            self._budget,
            self._lease_ns,
            self._policy.version,
        )

    def _refill(self, now: Now) -> None:
        if now.boot_ns - self._minute_ns >= _MINUTE_NS:
            self._minute_ns = now.boot_ns
            self._budget = self._policy.actions_per_minute

    def _question(self, incident: Incident, effects: list[Effect]) -> None:
        """Put the incident's action to the next audience; asking again is harmless."""
        decision = incident.decision
        if decision is None or decision.action is None:
            return
        audience = _AUDIENCES[min(incident.asked, len(_AUDIENCES) - 1)]
        lasts_ns = self._lasts_asked_ns if incident.asked else self._lasts_ns
        question = Question(
            f"{incident.incident_id}-q{incident.asked}",
            incident.incident_id,
            audience,
            f"{decision.action.verb} {decision.action.target.value}? {incident.title}",
            decision.action,
            lasts_ns[_WAITING],
        )
        self.incidents[incident.incident_id] = replace(incident, asked=incident.asked + 1)
        effects.append(Ask(question))
        effects.append(Note("question", incident.incident_id, question))

    # --- outcomes ----------------------------------------------------------------------------

    def on_outcome(self, outcome: Outcome, now: Now) -> list[Effect]:
        """Take the enforcer's word on this incident's action."""
        incident = self.incidents.get(outcome.incident_id)
        if incident is None or not _concerns(incident, outcome):
            return []
        effects: list[Effect] = [Note("outcome", incident.incident_id, outcome)]
        if outcome.operation is _APPLY:
            self._applied(incident, outcome, now, effects)
        elif outcome.operation is _UNDO and outcome.ok:
            self._undone(incident, now, effects)
        return effects

    def _applied(
        self, incident: Incident, outcome: Outcome, now: Now, effects: list[Effect]
    ) -> None:
        done = outcome.ok and outcome.verified
        at_ns = outcome.at_boot_ns or now.boot_ns
        before = incident.state
        incident = self._move(incident, _APPLIED if done else Signal.REFUSED, now, effects)
        if not done or incident.state is before:
            return
        # The path shows when the effect was there, not when its news arrived.
        moments = (*incident.moments[:-1], Moment("isolated", at_ns))
        self.incidents[incident.incident_id] = replace(incident, moments=moments)
        effects.append(Publish(self._bulletin(incident, BulletinKind.ISOLATED)))
        if incident.decision is not None and incident.decision.action is not None:
            action = incident.decision.action
            effects.append(
                After(action.lease_ns // 3, Renewal(incident.incident_id, action.action_id))
            )

    def _undone(self, incident: Incident, now: Now, effects: list[Effect]) -> None:
        self._move(incident, Signal.UNDONE, now, effects)
        effects.append(Publish(self._bulletin(incident, BulletinKind.RELEASED)))

    def _bulletin(self, incident: Incident, kind: BulletinKind) -> Bulletin:
        """Write a bulletin; `communication` numbers it."""
        action = incident.decision.action if incident.decision is not None else None
        return Bulletin(
            f"{incident.incident_id}-{kind.value}",
            kind,
            self._origin,
            incident.incident_id,
            0,
            incident.actor,
            incident.target,
            incident.techniques,
            incident.confidence,
            action,
            self._lease_ns,
        )

    def on_confirm(self, confirm: Confirm, now: Now) -> list[Effect]:
        """Every member of the view knows."""
        incident = self.incidents.get(confirm.incident_id)
        effects: list[Effect] = []
        if incident is not None and incident.state is State.ISOLATED:
            self._move(incident, _CONFIRMED, now, effects, view=confirm.view)
            effects.append(Note("confirmed", confirm.incident_id, confirm))
        return effects

    # --- time --------------------------------------------------------------------------------

    def on_deadline(self, deadline: Deadline, now: Now) -> list[Effect]:
        """Take the default transition of the state that has lasted long enough."""
        incident = self.incidents.get(deadline.incident_id)
        if incident is None or incident.version != deadline.version:
            return []
        effects: list[Effect] = [Note("deadline", incident.incident_id, deadline)]
        if incident.state is _WAITING:
            self._unanswered(incident, now, effects)
            return effects
        before = incident.state
        incident = self._move(incident, Signal.DEADLINE, now, effects)
        if incident.state is State.RELEASING or before is State.RELEASING:
            _do(_UNDO, incident, effects)
        return effects

    def _unanswered(self, incident: Incident, now: Now, effects: list[Effect]) -> None:
        """Silence asks the next audience, and in the end leaves the case watched."""
        if incident.asked >= len(_AUDIENCES):
            self._move(incident, Signal.DENIED, now, effects)
            return
        incident = self._move(incident, Signal.DEADLINE, now, effects)
        self._question(incident, effects)

    def on_again(self, again: Again, now: Now) -> list[Effect]:
        """Carry out, with a new minute's budget, what nothing but the last one's stood against."""
        incident = self.incidents.get(again.incident_id)
        if incident is None or incident.version != again.version or incident.decision is None:
            return []
        decision, action = incident.decision, incident.decision.action
        self._refill(now)
        if action is None or self._killed:
            return []
        if self._budget <= 0:
            return [After(_MINUTE_NS, again)]
        disposition, _ = cell(decision.confidence, decision.risk)
        decision = replace(decision, disposition=disposition, reasons=())
        effects: list[Effect] = [Note("decision", incident.incident_id, decision)]
        self._budget -= 1
        until_ns = now.boot_ns + self._lease_max_ns
        self._move(incident, _ACT, now, effects, decision=decision, lease_until_boot_ns=until_ns)
        effects.append(Do(_APPLY, action))
        return effects

    def on_renewal(self, renewal: Renewal, now: Now) -> list[Effect]:
        """Renew a lease after a third of it, up to the most that needs no person."""
        incident = self.incidents.get(renewal.incident_id)
        if incident is None or incident.state not in _HELD or incident.decision is None:
            return []
        action = incident.decision.action
        # A lease that began now would outlast what the incident may hold: let it run out.
        if action is None or now.boot_ns + action.lease_ns > incident.lease_until_boot_ns:
            return []
        return [Do(Operation.RENEW, action), After(action.lease_ns // 3, renewal)]

    # --- people ------------------------------------------------------------------------------

    def on_answer(self, answer: Answer, now: Now) -> list[Effect]:
        """Take a person's yes or no; it must name the exact action that was asked about."""
        incident = self.incidents.get(answer.incident_id)
        if incident is None or incident.state is not _WAITING or incident.decision is None:
            return []
        action = incident.decision.action
        effects: list[Effect] = [Note("answer", incident.incident_id, answer)]
        if action is None or action.action_id != answer.action_id:
            return effects
        if not answer.granted:
            self._move(incident, Signal.DENIED, now, effects)
        elif not self._killed:
            until_ns = now.boot_ns + self._lease_max_ns
            self._move(incident, Signal.GRANTED, now, effects, lease_until_boot_ns=until_ns)
            effects.append(Do(_APPLY, action))
        return effects

    def on_release(self, release: Release, now: Now) -> list[Effect]:
        """End an isolation early because a person says so."""
        incident = self.incidents.get(release.incident_id)
        if incident is None:
            return []
        effects: list[Effect] = [Note("release", incident.incident_id, release)]
        self._release(incident, now, effects)
        return effects

    def _release(self, incident: Incident, now: Now, effects: list[Effect]) -> None:
        if self._move(incident, Signal.RELEASE, now, effects).state is State.RELEASING:
            _do(_UNDO, incident, effects)

    def on_kill(self, kill: Kill, now: Now) -> list[Effect]:
        """Stop executing, or go on; an order of an older generation is ignored."""
        if kill.generation <= self._killed_generation:
            return []
        self._killed_generation, self._killed = kill.generation, kill.engaged
        effects: list[Effect] = [Note("kill", "", kill)]
        if kill.release_all:
            for incident in list(self.incidents.values()):
                self._release(incident, now, effects)
        return effects

    def on_restart(self, restart: Restart, now: Now) -> list[Effect]:
        """Adopt what the enforcer still holds, so that it ends, or is released, like any other."""
        effects: list[Effect] = []
        for lease in restart.leases:
            action = lease.plan.action
            if action.enforcement_point == WORKFLOW_POINT:
                continue  # a workload's, which operations takes up
            if action.incident_id not in self.incidents:
                self._adopt(lease, now, effects)
        return effects

    def _adopt(self, lease: Lease, now: Now, effects: list[Effect]) -> None:
        action = lease.plan.action
        decision = Decision(
            action.incident_id,
            Disposition.EXECUTE,
            1.0,
            0.0,
            "adopted",
            action,
            ("held by the enforcer when this process started",),
        )
        incident = Incident(
            action.incident_id,
            State.CONFIRMED,
            action.target,
            None,
            f"Held since before a restart: {lease.plan.summary}",
            1.0,
            3,
            EvidenceClass.DECLARED,
            Provenance.AUTHENTICATED,
            (),
            (),
            0,
            now.wall_ns,
            lease.expires_boot_ns,
            1,
            (Moment("adopted", now.boot_ns),),
            decision,
            lease_until_boot_ns=lease.expires_boot_ns,
        )
        self._by_key.setdefault(action.target, action.incident_id)
        self.incidents[incident.incident_id] = incident
        effects.append(Note("adopted", incident.incident_id, lease))
        self._await_deadline(incident, now, effects)

    # --- transitions -------------------------------------------------------------------------

    def _move(
        self,
        incident: Incident,
        signal: Signal,
        now: Now,
        effects: list[Effect],
        **changes: object,
    ) -> Incident:
        """Advance an incident, keep it, and set the deadline of the state it enters."""
        patient = changes.get("asked", incident.asked)
        lasts_ns = self._lasts_asked_ns if patient else self._lasts_ns
        moved = advance(incident, signal, now.boot_ns, lasts_ns, **changes)
        if moved.version == incident.version:
            self.incidents[incident.incident_id] = moved
            return moved
        if moved.state is _CLOSED:
            self._forget(moved)
            effects.append(Note("closed", moved.incident_id, moved))
            return moved
        self.incidents[moved.incident_id] = moved
        self._await_deadline(moved, now, effects)
        return moved

    def _await_deadline(self, incident: Incident, now: Now, effects: list[Effect]) -> None:
        delay_ns = incident.deadline_boot_ns - now.boot_ns
        effects.append(After(max(0, delay_ns), Deadline(incident.incident_id, incident.version)))

    def _forget(self, incident: Incident) -> None:
        """Move an incident among the closed ones, of which the latest are kept for display."""
        self.incidents.pop(incident.incident_id, None)
        for key in (incident.actor, incident.target):
            if self._by_key.get(key) == incident.incident_id:
                del self._by_key[key]
        self.closed[incident.incident_id] = incident
        if len(self.closed) > _CLOSED_KEPT:
            self.closed.popitem(last=False)


def _key(finding: Finding) -> Entity | None:
    """Say what a finding is filed under: the attacking address, or else the asset."""
    actor = finding.actor
    if actor is not None and actor.kind is _ADDRESS:
        return actor
    return finding.target or actor


def _acting(claim: Finding | Incident) -> float:
    """Give the confidence that may act: none for forgeable or statistical evidence."""
    if claim.evidence is EvidenceClass.STATISTICAL or claim.provenance is _SPOOFABLE:
        return 0.0
    return claim.confidence


def _concerns(incident: Incident, outcome: Outcome) -> bool:
    decision = incident.decision
    if decision is None or decision.action is None:
        return False
    return decision.action.action_id == outcome.action_id


def _do(operation: Operation, incident: Incident, effects: list[Effect]) -> None:
    if incident.decision is not None and incident.decision.action is not None:
        effects.append(Do(operation, incident.decision.action))
