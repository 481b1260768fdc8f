"""Operations: keeps the business going while an asset is isolated.

A workload that depends on an isolated asset is paused or rerouted, and restored when the last
isolation of any of its assets has ended.
"""

from cronos import types as t
from cronos.config import Workload


class Operations:
    """The agency that adjusts workloads; its state is which incidents hold which workload."""

    def __init__(self, workloads: tuple[Workload, ...]) -> None:
        self._workloads = {workload.name: workload for workload in workloads}
        self._by_asset: dict[str, tuple[Workload, ...]] = {}
        for workload in workloads:
            for asset in workload.assets:
                known = self._by_asset.get(asset.lower(), ())
                self._by_asset[asset.lower()] = (*known, workload)
        self._holders: dict[str, set[str]] = {}
        self._leases: dict[str, str] = {}  # under which incident the enforcer holds a workload
        self._ours = {_action(one, "").action_id: one.name for one in workloads}

    def on_bulletin(self, bulletin: t.Bulletin, *, acting: bool = True) -> list[t.Effect]:
        """Adjust the workloads of an asset that was isolated, or restore them.

        Where another node is to do that, only what would have to be done is remembered.
        """
        if not self._by_asset or bulletin.action is None:
            return []
        effects: list[t.Effect] = []
        for workload in self._by_asset.get(_asset(bulletin.action.target), ()):
            if bulletin.kind is t.BulletinKind.ISOLATED:
                self._holders.setdefault(workload.name, set()).add(bulletin.incident_id)
                if acting:
                    self._adjust(workload, bulletin.incident_id, effects)
            elif bulletin.kind is t.BulletinKind.RELEASED:
                self._let_go(workload, bulletin.incident_id, effects)
        return effects

    def take_over(self) -> list[t.Effect]:
        """Adjust what whoever did so before may have left."""
        effects: list[t.Effect] = []
        for name, holders in self._holders.items():
            if holders:
                self._adjust(self._workloads[name], min(holders), effects)
        return effects

    def on_restart(self, restart: t.Restart) -> list[t.Effect]:
        """Take up which incidents hold which workload from what the enforcer still holds."""
        for lease in restart.leases:
            action = lease.plan.action
            if action.enforcement_point == t.WORKFLOW_POINT:
                self._holders.setdefault(action.target.value, set()).add(action.incident_id)
                self._leases.setdefault(action.target.value, action.incident_id)
        return []

    def on_outcome(self, outcome: t.Outcome) -> list[t.Effect]:
        """Note what became of a workload's adjustment; the enforcer retries what must end.

        What is not held is nobody's: the next isolation adjusts the workload anew.
        """
        name = self._ours.get(outcome.action_id)
        if name is None:
            return []
        ended = outcome.ok == (outcome.operation is t.Operation.UNDO)
        if ended and self._leases.get(name) == outcome.incident_id:
            del self._leases[name]
            self._holders.pop(name, None)
        return [t.Note("workflow", outcome.incident_id, outcome)]

    def _adjust(self, workload: Workload, incident_id: str, effects: list[t.Effect]) -> None:
        if workload.name not in self._leases:
            self._leases[workload.name] = incident_id
            effects.append(t.Do(t.Operation.APPLY, _action(workload, incident_id)))

    def _let_go(self, workload: Workload, incident_id: str, effects: list[t.Effect]) -> None:
        holders = self._holders.get(workload.name, set())
        if incident_id not in holders:
            return
        holders.discard(incident_id)
        if not holders and workload.name in self._leases:
            # Whichever case is the last to end: the lease stands for the one that was first.
            first = self._leases.pop(workload.name)
            effects.append(t.Do(t.Operation.UNDO, _action(workload, first)))


def _action(workload: Workload, incident_id: str) -> t.Action:
    verb = t.Verb.PAUSE if workload.on_isolated == "pause" else t.Verb.REDIRECT
    target = t.Entity(t.EntityKind.WORKLOAD, workload.name)
    return t.Action(
        t.action_id(t.WORKFLOW_POINT, verb, target),
        t.WORKFLOW_POINT,
        verb,
        target,
        incident_id,
        workload.lease_s * 1_000_000_000,
    )


def _asset(target: t.Entity) -> str:
    """Give the asset that an action takes away: an address or host, or a flow's client."""
    if target.kind is t.EntityKind.FLOW:
        return target.value.partition("/")[2].partition(">")[0].rpartition(":")[0]
    return target.value.lower()
