"""One node: the four agencies and the messages between them, behind `step(event, now)`.

The agencies never call one another. What one of them says (`Publish`, `Confirm`) is handed to
the others here, in the same step, so that one call carries an incident as far as it can go
without the world: from a finding to its order, from an outcome to its confirmation.
"""

from collections.abc import Callable
from typing import Any, Final

from msgspec.structs import replace

from cronos import types as t
from cronos.config import Config
from cronos.kernel.audit import Audit
from cronos.kernel.cases import Cases
from cronos.kernel.communication import Communication
from cronos.kernel.defense import Defense
from cronos.kernel.duties import Duties
from cronos.kernel.operations import Operations
from cronos.kernel.options import Options
from cronos.kernel.people import People
from cronos.kernel.recovery import Recovery
from cronos.kernel.trust import Trust

# What one agency says to the others; all else is for the shell.
_SPOKEN: Final = frozenset({t.Publish, t.Confirm})
_NO_LOSSES: Final = t.LossTable()
_S_NS: Final = 1_000_000_000


class Kernel:
    """The pure part of a node.

    Args:
        config: the core's configuration.
        incarnation: rises with every start, so that identifiers never repeat.
        points: the enforcement points and what each can do.
        losses: what losing each asset costs; middling figures stand in for it.

    Raises:
        InputError: the configuration contradicts itself.
    """

    def __init__(
        self,
        config: Config,
        incarnation: int,
        points: dict[str, tuple[t.Ability, ...]],
        losses: t.LossTable = _NO_LOSSES,
    ) -> None:
        options = Options(config, points, losses)
        self.cases: Final = Cases(config)
        self.max_active: Final = config.policy.max_active_incidents
        lease_max_ns = config.lease.max_s * 1_000_000_000
        self.people: Final = People(self.cases, lease_max_ns, options)
        self.recovery: Final = Recovery(self.cases, self.people)
        self.defense: Final = Defense(config, incarnation, options, self.cases, self.people)
        self.operations: Final = Operations(config.workload)
        self.audit: Final = Audit()
        self._instance = config.node.instance
        self.communication: Final = Communication(config.node.instance, incarnation)
        self.trust: Final = Trust(config, options.protects)
        self.duties: Final = Duties(config.node.instance, config.mesh.roles)
        defense, people = self.defense, self.people
        # Which agencies an event concerns, and in which order they hear of it.
        self._hear: Final[dict[type[t.Event], Callable[[Any, t.Now], list[t.Effect]]]] = {
            t.Finding: defense.on_finding,
            t.Outcome: self._on_outcome,
            t.Deadline: self._on_deadline,
            t.Renewal: defense.on_renewal,
            t.Again: defense.on_again,
            t.Bulletin: self._on_bulletin,
            t.Receipt: self._on_receipt,
            t.Members: self._on_members,
            t.Confirm: defense.on_confirm,
            t.Propose: defense.on_propose,
            t.Answer: people.on_answer,
            t.Unanswered: people.on_unanswered,
            t.Reproach: self.trust.on_reproach,
            t.Defect: lambda defect, _now: [t.Note("mesh", "", defect)],
            t.Verdict: self._on_verdict,
            t.Release: people.on_release,
            t.Kill: people.on_kill,
            t.Restart: self._on_restart,
            t.Recalled: self._on_recalled,
        }

    def step(self, event: t.Event, now: t.Now) -> list[t.Effect]:
        """Take one event and give what must be done, in order."""
        if type(event) is t.Finding:
            # The path that must be short: what a finding leads to is for the shell alone.
            return self.defense.on_finding(event, now)
        said = self._hear[type(event)](event, now)
        effects: list[t.Effect] = []
        # Each round hands over what the last one said; Confirm leads to nothing further.
        while not _SPOKEN.isdisjoint(map(type, said)):
            heard: list[t.Effect] = []
            for effect in said:
                if isinstance(effect, t.Confirm):
                    heard += self.defense.on_confirm(effect, now)
                elif isinstance(effect, t.Publish) and isinstance(effect.message, t.Bulletin):
                    bulletin = self.communication.number(effect.message)
                    heard += self.audit.on_bulletin(bulletin)
                    acting = "operations" in self.duties.held
                    heard += self.operations.on_bulletin(bulletin, acting=acting)
                    heard += self.communication.on_sent(bulletin)
                    effects.append(t.Publish(bulletin))
                    continue
                effects.append(effect)
            said = heard
        return effects + said

    def incident(self, incident_id: str) -> t.Incident | None:
        """Give an incident, open or lately closed."""
        return self.cases.open.get(incident_id) or self.cases.closed.get(incident_id)

    def _on_outcome(self, outcome: t.Outcome, now: t.Now) -> list[t.Effect]:
        return self.defense.on_outcome(outcome, now) or self.operations.on_outcome(outcome)

    def _on_deadline(self, deadline: t.Deadline, now: t.Now) -> list[t.Effect]:
        """A confirmation that is overdue goes without the silent; the rest is defense's."""
        incident = self.cases.open.get(deadline.incident_id)
        stands = incident and (incident.state, incident.version)
        if stands == (t.State.ISOLATED, deadline.version):
            said = self.communication.overdue(deadline.incident_id)
            if said:
                return [t.Note("deadline", deadline.incident_id, deadline), *said]
        return self.defense.on_deadline(deadline, now)

    def _on_recalled(self, recalled: t.Recalled, now: t.Now) -> list[t.Effect]:
        self.communication.recorded.update(recalled.bulletins)
        return self.recovery.on_recalled(recalled, now)

    def _on_bulletin(self, bulletin: t.Bulletin, now: t.Now) -> list[t.Effect]:
        """A peer's bulletin: recorded and acted upon once, acknowledged every time.

        One of this node's own is from its outbox: the life that posted it may have ended before
        its record was stored, and is over in any case.
        """
        if bulletin.origin == self._instance:
            return self.audit.on_bulletin(bulletin) if self.communication.lacks(bulletin) else []
        said: list[t.Effect] = []
        if self.communication.is_new(bulletin):
            if not self.communication.is_recorded(bulletin):
                said += self.audit.on_bulletin(bulletin)
            if bulletin.kind is not t.BulletinKind.ISOLATED or self.trust.moves(bulletin, now):
                acting = "operations" in self.duties.held
                said += self.operations.on_bulletin(bulletin, acting=acting)
            said += self._weigh(bulletin, now)
        return said + self.communication.on_bulletin(bulletin)

    def _weigh(self, bulletin: t.Bulletin, now: t.Now) -> list[t.Effect]:
        """Take a peer's word as evidence, when what this node saw itself has had its turn."""
        if bulletin.action is not None:
            # What shares an enforcement point must not be fenced off by who started more often.
            self._see_epoch(bulletin.action.epoch, now)
        if "defense" not in self.duties.held:
            return []
        if bulletin.kind is t.BulletinKind.RELEASED:
            self.defense.on_retracted(bulletin)
        return self.trust.weigh(bulletin, now)

    def _see_epoch(self, epoch: int, now: t.Now) -> None:
        """Go on from the highest epoch there is; none can be beyond the enforcer's own bound."""
        if epoch <= now.wall_ns // _S_NS:
            self.defense.epoch = max(self.defense.epoch, epoch)

    def _on_restart(self, restart: t.Restart, now: t.Now) -> list[t.Effect]:
        # An enforcer may serve several nodes: to take up another's case would end it too early.
        ours = [one for one in restart.leases if _origin(one) == self._instance]
        for lease in restart.leases:
            self._see_epoch(lease.plan.action.epoch, now)
        restart = replace(restart, leases=tuple(ours))
        said = self.recovery.on_restart(restart, now) + self.operations.on_restart(restart)
        for outcome in self.recovery.gone(restart):
            said += self._on_outcome(outcome, now)
        return said

    def _on_receipt(self, receipt: t.Receipt, _now: t.Now) -> list[t.Effect]:
        said = self.audit.on_receipt(receipt) if "audit" in self.duties.held else []
        return said + self.communication.on_receipt(receipt)

    def _on_members(self, members: t.Members, _now: t.Now) -> list[t.Effect]:
        said = self.audit.on_members(members)
        self.trust.on_members(members)
        if self.duties.on_members(members):
            # Whoever takes a duty over takes it over from all that was ordered before.
            self.defense.epoch += 1
            said.append(t.Note("roles", "", self.duties.told(self.defense.epoch)))
            if "operations" in self.duties.held:
                said += self.operations.take_over()
        return said + self.communication.on_members(members)

    def _on_verdict(self, verdict: t.Verdict, now: t.Now) -> list[t.Effect]:
        incident = self.incident(verdict.incident_id)
        said = self.people.on_verdict(verdict, now)
        return said + self.trust.judge(incident.claims if incident else (), verdict.malicious)


def _origin(lease: t.Lease) -> str:
    """Give the node whose case a lease is for: ``north`` of ``north-3-17``."""
    return lease.plan.action.incident_id.rsplit("-", 2)[0]
