"""Defense: findings become incidents, incidents are decided, decisions are carried out.

One incident holds all findings about one attacker (an address), or else about one asset; forgeable
evidence is filed under the asset, since whom it names is hearsay. Only evidence that may act counts
towards the confidence that acts: one strong finding decides, detectors that agree add up, and
repeating a weak one a thousand times adds nothing.
"""

from typing import Final

from msgspec.structs import replace

from cronos.config import Config
from cronos.kernel import evidence
from cronos.kernel.budget import MINUTE_NS
from cronos.kernel.cases import Cases, filed_under
from cronos.kernel.incident import Signal
from cronos.kernel.options import Options
from cronos.kernel.people import MOST_BESIDE, People
from cronos.kernel.policy import ACTING, ASKING, BUDGET_SPENT, decide
from cronos.kernel.trust import HEARD
from cronos.types import (
    Action,
    After,
    Again,
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
    Finding,
    Impact,
    Incident,
    Moment,
    Note,
    Now,
    Operation,
    Option,
    Outcome,
    Propose,
    Publish,
    Renewal,
    Snapshot,
    State,
)

_FINDINGS_NAMED: Final = 16
_RETRY_NS: Final = 1_000_000_000
_FINDINGS_NOTED: Final = 1_000
_MOST_STEPS: Final = 16
_HELD: Final = frozenset({State.ISOLATED, State.CONFIRMED})

# Looked up once: in Python 3.11 an enum's member costs a tenth of a microsecond each time.
_DETECTED, _WAITING, _OBSERVED = State.DETECTED, State.WAITING, State.OBSERVED
_ACT, _APPLIED, _CONFIRMED = Signal.ACT, Signal.APPLIED, Signal.CONFIRMED
_APPLY, _UNDO = Operation.APPLY, Operation.UNDO
_ADDRESS: Final = EntityKind.ADDRESS


class Defense:
    """The agency that decides; `cases` are its incidents, `people` whom it asks.

    Args:
        config: the core's configuration.
        incarnation: rises with every start.
        options: what can be done here.
        cases: the incidents.
        people: whom it asks.
    """

    def __init__(
        self, config: Config, incarnation: int, options: Options, cases: Cases, people: People
    ) -> None:
        self._cases = cases
        self._people = people
        self._policy = config.policy
        self._lease_ns = config.lease.default_s * 1_000_000_000
        self._lease_max_ns = config.lease.max_s * 1_000_000_000
        self._origin = config.node.instance
        self._prefix = f"{self._origin}-{incarnation}-"
        self._options = options
        self._sequence = 0
        self.epoch = incarnation

    # --- findings ----------------------------------------------------------------------------

    def on_finding(self, finding: Finding, now: Now) -> list[Effect]:
        """Open an incident for a finding, or add it to the one it belongs to, and decide."""
        key = self._key(finding)
        incident = self._cases.filed(key)
        if incident is None:
            return self._open(finding, key, now)
        effects: list[Effect] = []
        count = incident.finding_count + 1
        if count <= _FINDINGS_NOTED or count & (count - 1) == 0:
            effects.append(Note("finding", incident.incident_id, finding))
        if finding.finding_id in incident.findings:
            return []
        before = evidence.fuse(incident.claims)
        incident = _merge(incident, finding)
        self._cases.keep(incident)
        stronger = evidence.fuse(incident.claims) > before
        open_question = incident.state in (_OBSERVED, _WAITING, State.FAILED)
        again = stronger or _deserves_another_try(incident, finding, now)
        if open_question and again and not _of_another(incident, finding):
            self._decide(incident, finding, now, effects)
        elif evidence.acting(finding) > 0 and _is_news(incident, finding, now):
            self._reconsider(incident, finding, now, effects)
        return effects

    def _key(self, finding: Finding) -> Entity | None:
        """Say what a finding is filed under: the attacking address, or else the asset."""
        key, asset = filed_under(finding), finding.target
        if asset is None or key is not finding.actor or not self._cases.flooded(asset):
            return key
        # What is filed under the attacker already stays there.
        return asset if self._cases.filed(key) is None else key

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
            now.boot_ns + self._cases.lasts_ns[_DETECTED],
            1,
            (Moment("detected", finding.detected_boot_ns or now.boot_ns),),
            why=finding.explanation,
            claims=evidence.add((), finding),
        )
        effects = self._cases.add(incident, key)
        effects.append(Note("finding", incident_id, finding))
        self._decide(incident, finding, now, effects)
        return effects

    # --- decisions ---------------------------------------------------------------------------

    def _decide(
        self, incident: Incident, finding: Finding, now: Now, effects: list[Effect]
    ) -> None:
        options, impact = self._options.against(finding, incident.confidence, now)
        self._settle(incident, self._snapshot(incident, options, impact, now), now, effects)

    def _reconsider(
        self, incident: Incident, finding: Finding, now: Now, effects: list[Effect]
    ) -> None:
        """Act on evidence that is no stronger, but names what may be done without asking.

        What came first must not decide: a flow, or an asset where nobody is at work; nor may
        whoever is isolated shield others. Another attacker answers for his own deeds alone.
        """
        told = incident
        if _of_another(incident, finding):
            alone = evidence.add((), finding)
            told = replace(incident, claims=alone, confidence=finding.confidence)
        options, impact = self._options.against(finding, told.confidence, now)
        snapshot = self._snapshot(told, options, impact, now)
        if decide(snapshot).disposition not in ACTING:
            return
        if incident.state in _HELD:
            self._step(incident, snapshot, effects)
        else:
            self._settle(incident, snapshot, now, effects)

    def _settle(
        self, incident: Incident, snapshot: Snapshot, now: Now, effects: list[Effect]
    ) -> None:
        """Decide, note what was seen and decided, and carry it out."""
        decision = decide(snapshot)
        effects.append(Note("snapshot", incident.incident_id, snapshot))
        effects.append(Note("decision", incident.incident_id, decision))
        action = decision.action
        if decision.disposition in ACTING and action is not None:
            self._act(incident, decision, action, now, effects)
        elif decision.disposition in ASKING:
            asked = 1 if decision.disposition is Disposition.ASK_MANAGER else 0
            incident = self._cases.move(
                incident, Signal.ASK, now, effects, decision=decision, asked=asked
            )
            self._people.ask(incident, effects)
            if decision.reasons == (BUDGET_SPENT,):
                # Only the budget was lacking, and it comes back: nobody should have to be asked.
                effects.append(After(MINUTE_NS, Again(incident.incident_id, incident.version)))
        elif incident.state is not _WAITING:
            # While people are asked, the question stays the one that they were asked.
            self._cases.move(incident, Signal.WATCH, now, effects, decision=decision)

    def _act(
        self,
        incident: Incident,
        decision: Decision,
        action: Action,
        now: Now,
        effects: list[Effect],
    ) -> None:
        self._options.spend(action)
        until_ns = now.boot_ns + self._lease_max_ns
        incident = self._cases.move(
            incident, _ACT, now, effects, decision=decision, lease_until_boot_ns=until_ns
        )
        effects.append(Do(_APPLY, action))
        if decision.proposal is not None:
            effects += self._people.propose(incident, decision.proposal, decision.persons - 1)

    def _snapshot(
        self, incident: Incident, options: tuple[Option, ...], impact: Impact, now: Now
    ) -> Snapshot:
        return Snapshot(
            now,
            incident.incident_id,
            incident.confidence,
            incident.severity,
            incident.evidence,
            incident.provenance,
            options,
            False,
            "act",
            self._people.killed,
            self._options.left(now),
            self._lease_ns,
            self._policy.version,
            incident.claims,
            incident.techniques,
            impact,
            self.epoch,
        )

    def on_again(self, again: Again, now: Now) -> list[Effect]:
        """Decide once more, with a new minute's budget, what nothing but the last one's barred."""
        incident = self._cases.open.get(again.incident_id)
        if incident is None or incident.version != again.version or incident.decision is None:
            return []
        action = incident.decision.action
        if action is None or self._people.killed:
            return []
        option = self._option_of(action, incident.decision.risk, now)
        if option is None or option.budget <= 0:
            return [After(MINUTE_NS, again)]
        impact = self._options.assets.impact(incident.target, now)
        effects: list[Effect] = []
        self._settle(incident, self._snapshot(incident, (option,), impact, now), now, effects)
        return effects

    def _option_of(self, action: Action, risk: float, now: Now) -> Option | None:
        point, verb, target = action.enforcement_point, action.verb, action.target
        return self._options.complete(Option(point, verb, target, risk, 0.0), now)

    def on_propose(self, proposal: Propose, now: Now) -> list[Effect]:
        """Decide about each step that a planner thinks should be taken besides."""
        effects: list[Effect] = []
        for given in proposal.options[:_MOST_STEPS]:
            incident = self._cases.open.get(proposal.incident_id)
            option = self._options.complete(given, now)
            if incident is None or option is None:
                continue
            impact = self._options.assets.impact(incident.target, now)
            self._step(incident, self._snapshot(incident, (option,), impact, now), effects)
        return effects

    def _step(self, incident: Incident, snapshot: Snapshot, effects: list[Effect]) -> None:
        """Decide what is done, or asked, besides what the incident has led to."""
        decision = decide(snapshot)
        effects.append(Note("snapshot", incident.incident_id, snapshot))
        effects.append(Note("step", incident.incident_id, decision))
        action = decision.action
        if action is None or _known(incident, action):
            return
        if decision.disposition in ACTING:
            self._options.spend(action)
            self._people.carry_out_beside(incident, action, effects)
        elif decision.disposition in ASKING:
            manager = decision.disposition is Disposition.ASK_MANAGER
            effects += self._people.propose(incident, action, int(manager))

    # --- outcomes ----------------------------------------------------------------------------

    def on_outcome(self, outcome: Outcome, now: Now) -> list[Effect]:
        """Take the enforcer's word on one of this incident's actions."""
        incident = self._cases.open.get(outcome.incident_id)
        if incident is None:
            return []
        beside = any(one.action_id == outcome.action_id for one in incident.beside)
        action = incident.decision.action if incident.decision is not None else None
        if not beside and (action is None or action.action_id != outcome.action_id):
            return []
        effects: list[Effect] = [Note("outcome", incident.incident_id, outcome)]
        if beside:
            ended = outcome.operation is _UNDO and outcome.ok
            if ended or (outcome.operation is _APPLY and not outcome.ok):
                left = tuple(one for one in incident.beside if one.action_id != outcome.action_id)
                self._cases.keep(replace(incident, beside=left))
        elif outcome.operation is _APPLY:
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
        incident = self._cases.move(incident, _APPLIED if done else Signal.REFUSED, now, effects)
        if not done or incident.state is before:
            return
        # The path shows when the effect was there, not when its news arrived.
        moments = (*incident.moments[:-1], Moment("isolated", at_ns))
        self._cases.keep(replace(incident, moments=moments))
        self._publish(incident, BulletinKind.ISOLATED, effects)
        action = incident.decision.action if incident.decision is not None else None
        if action is not None and self._options.persons(action) == 1:
            effects.append(
                After(action.lease_ns // 3, Renewal(incident.incident_id, action.action_id))
            )

    def _undone(self, incident: Incident, now: Now, effects: list[Effect]) -> None:
        self._cases.move(incident, Signal.UNDONE, now, effects)
        self._publish(incident, BulletinKind.RELEASED, effects)

    def _publish(self, incident: Incident, kind: BulletinKind, effects: list[Effect]) -> None:
        """Tell the peers what this node saw itself; `communication` numbers the bulletin.

        What it was only told it does not tell on, or its peers would take their own word, come
        back to them, for another's.
        """
        own = [claim for claim in incident.claims if not claim.detector.startswith(HEARD)]
        if incident.claims and not own:
            effects.append(Confirm(incident.incident_id, 0))
            return
        action = incident.decision.action if incident.decision is not None else None
        bulletin = Bulletin(
            f"{incident.incident_id}-{kind.value}",
            kind,
            self._origin,
            incident.incident_id,
            0,
            incident.actor,
            incident.target,
            incident.techniques,
            evidence.fuse(own) if own else incident.confidence,
            action,
            self._lease_ns,
            incident.severity,
        )
        effects.append(Publish(bulletin))

    def on_confirm(self, confirm: Confirm, now: Now) -> list[Effect]:
        """Every member of the view knows."""
        incident = self._cases.open.get(confirm.incident_id)
        effects: list[Effect] = []
        if incident is not None and incident.state is State.ISOLATED:
            self._cases.move(incident, _CONFIRMED, now, effects, view=confirm.view)
            effects.append(Note("confirmed", confirm.incident_id, confirm))
        return effects

    def on_retracted(self, bulletin: Bulletin) -> None:
        """Let an isolation run out that rests on nothing but the word of a peer that takes it back.

        Its lease is not cut short: on conflict isolation wins, until the last lease has ended.
        """
        incident = self._cases.filed(bulletin.actor)
        if incident is None or any(c.detector != HEARD + bulletin.origin for c in incident.claims):
            return
        self._cases.keep(replace(incident, lease_until_boot_ns=0))

    # --- time --------------------------------------------------------------------------------

    def on_deadline(self, deadline: Deadline, now: Now) -> list[Effect]:
        """Take the default transition of the state that has lasted long enough."""
        incident = self._cases.open.get(deadline.incident_id)
        if incident is None or incident.version != deadline.version:
            return []
        effects: list[Effect] = [Note("deadline", incident.incident_id, deadline)]
        if incident.state is _WAITING:
            self._people.unanswered(incident, now, effects)
            return effects
        before, action = incident.state, incident.decision.action if incident.decision else None
        if before is State.CONFIRMED and action and self._options.persons(action) > 1:
            # What cannot be taken back has no lease that could end.
            self._cases.move(incident, Signal.UNDONE, now, effects)
            return effects
        incident = self._cases.move(incident, Signal.DEADLINE, now, effects)
        if State.RELEASING in (incident.state, before) and action is not None:
            effects.append(Do(_UNDO, action))
        return effects

    def on_renewal(self, renewal: Renewal, now: Now) -> list[Effect]:
        """Renew a lease after a third of it, up to the most that needs no person."""
        incident = self._cases.open.get(renewal.incident_id)
        if incident is None or incident.state not in _HELD or incident.decision is None:
            return []
        every = (incident.decision.action, *incident.beside)
        action = next((one for one in every if one and one.action_id == renewal.action_id), None)
        # A lease that began now would outlast what the incident may hold: let it run out.
        if action is None or now.boot_ns + action.lease_ns > incident.lease_until_boot_ns:
            return []
        again = After(action.lease_ns // 3, renewal)
        # While the kill switch is engaged leases run out; what still holds later goes on.
        return [again] if self._people.killed else [Do(Operation.RENEW, action), again]


def _merge(incident: Incident, finding: Finding) -> Incident:
    """Add a finding; the strongest one tells what the incident is about."""
    findings = incident.findings
    if len(findings) < _FINDINGS_NAMED:
        findings = (*findings, finding.finding_id)
    news = tuple(t for t in finding.techniques if t not in incident.techniques)
    claims = evidence.add(incident.claims, finding)
    told = evidence.strongest(claims)
    merged = replace(
        incident,
        severity=max(incident.severity, finding.severity),
        techniques=(incident.techniques + news)[:32],
        findings=findings,
        finding_count=incident.finding_count + 1,
        claims=claims,
        confidence=evidence.fuse(claims) or told.confidence,
        evidence=told.evidence,
        provenance=told.provenance,
    )
    if not incident.claims or evidence.acting(finding) <= max(
        map(evidence.acting, incident.claims)
    ):
        return merged
    return replace(merged, title=finding.title, target=finding.target, why=finding.explanation)


def _deserves_another_try(incident: Incident, finding: Finding, now: Now) -> bool:
    """Say whether fresh evidence, no stronger than before, should be tried again.

    It should where the world refused the last time, at most once a second: an attack that goes on
    must not be let go on because one attempt failed.
    """
    rested = now.boot_ns - incident.moments[-1].boot_ns >= _RETRY_NS
    return incident.state is State.FAILED and rested and evidence.acting(finding) > 0


def _of_another(incident: Incident, finding: Finding) -> bool:
    """Say whether an address acts that is not the case's own: many share a case in a flood."""
    actor = finding.actor
    return actor is not None and actor.kind is _ADDRESS and actor != incident.actor


def _is_news(incident: Incident, finding: Finding, now: Now) -> bool:
    """Say whether evidence, no stronger than before, may name what nothing is done about yet."""
    state, decision = incident.state, incident.decision
    if state is _WAITING or decision is None:
        return state is _WAITING
    if state in _HELD:
        held = [one.target for one in (decision.action, *incident.beside) if one is not None]
        named = (finding.actor, finding.target, finding.flow)
        return len(incident.beside) < MOST_BESIDE and not any(one in held for one in named)
    another = _of_another(incident, finding)
    if state is _OBSERVED:
        # Not what a person has denied, but what was not to be at the time, as while stopped.
        return another or decision.disposition not in ASKING
    return another and _deserves_another_try(incident, finding, now)


def _known(incident: Incident, action: Action) -> bool:
    """Say whether an action is carried out or asked about already."""
    decided = incident.decision.action if incident.decision is not None else None
    every = (decided, *incident.beside, *incident.proposed)
    return any(one is not None and one.action_id == action.action_id for one in every)
