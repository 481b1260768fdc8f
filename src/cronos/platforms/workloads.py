"""Restores workloads of a Kubernetes cluster: a Deployment's pods are made anew as declared.

What an intruder changed within running pods is gone with them; what was changed in the declaration
itself is not. It is a rollout, as `kubectl rollout restart` makes it: an annotation of the pod
template, ``cronos/restored: <action id>``, has the cluster replace one pod after the other. The
annotation is the record. Undoing it gives the template back as it was, by one more rollout.

Restored is what the cluster's controller says it has seen, with every replica made from the new
template, ready, and none of the old left. It has a table, a process and a token of its own, since
a rollout takes its time and no quarantine should wait for it.

Source: Kubernetes, Deployments (status, observedGeneration, complete rollouts).
"""

import threading
from collections.abc import Callable
from typing import ClassVar, Final

import msgspec

from cronos.config import Name, Positive, Section
from cronos.link.foreign import ForeignExecutor, Prepared, recipe_of, refusal
from cronos.link.openc2target import target_name
from cronos.link.rest import path
from cronos.platforms.cluster import ID, NAME, Cluster, ClusterConfig, Meta, not_done
from cronos.ports import Clock, Egress
from cronos.types import Ability, Action, Blast, EntityKind, Manifest, Plan, Reversal, Verb

_TABLE: Final = "kubernetes-workloads"
_MARK: Final = "cronos/restored"
_POLL_S: Final = 0.1
_MS_NS: Final = 1_000_000


class WorkloadsConfig(ClusterConfig, frozen=True):
    """Which cluster, by whose right, and the Deployment of each workload."""

    # By the workload's name: namespace/deployment.
    workload: dict[Name, str] = msgspec.field(default_factory=dict[Name, str])
    # How long a rollout may take; one that is not complete by then is taken back.
    rollout_ms: Positive = 20_000
    deadline_ms: Positive = 180_000


class _Template(msgspec.Struct, frozen=True):
    metadata: Meta = Meta()


class _Spec(msgspec.Struct, frozen=True):
    template: _Template = _Template()
    replicas: int = 1
    paused: bool = False


class _Status(msgspec.Struct, frozen=True, rename="camel"):
    observed_generation: int = 0
    replicas: int = 0
    updated_replicas: int = 0
    ready_replicas: int = 0
    available_replicas: int = 0


class _DeploymentMeta(Meta, frozen=True, rename="camel"):
    generation: int = 0


class _Deployment(msgspec.Struct, frozen=True):
    metadata: _DeploymentMeta
    spec: _Spec = _Spec()
    status: _Status = _Status()

    @property
    def mark(self) -> str | None:
        """Give the action that its template names, if any."""
        return self.spec.template.metadata.annotations.get(_MARK)


class RolloutBefore(msgspec.Struct, frozen=True):
    """Which Deployment, and what its template's annotation was before."""

    namespace: str
    name: str
    mark: str | None


class WorkloadsExecutor(ForeignExecutor):
    """Acts in one cluster.

    Raises:
        InputError: an address, a file or a workload's Deployment cannot be used.
        DeniedError: others may read the token.
    """

    manifest = Manifest(
        _TABLE,
        "Restores workloads of a Kubernetes cluster as they were declared, by a rollout",
        abilities=(
            Ability(
                Verb.RESTORE,
                EntityKind.WORKLOAD,
                target_name(EntityKind.WORKLOAD),
                "D3-RS",
                Reversal.LEASED,
                Blast.SERVICE,
                30_000,
            ),
        ),
    )
    config_type: ClassVar[type[Section]] = WorkloadsConfig

    def __init__(self, config: WorkloadsConfig, clock: Clock, egress: Egress) -> None:
        super().__init__(config.at_once)
        self._clock = clock
        self._rollout_ns = config.rollout_ms * _MS_NS
        self._cluster = Cluster(config, egress, _TABLE)
        self._places = {name: _place(name, where) for name, where in config.workload.items()}

    def prepare(self, action: Action) -> Prepared:
        """See `ForeignExecutor.prepare`."""
        workload = action.target.value
        if workload not in self._places:
            raise refusal(
                f"No Deployment is configured for the workload {workload!r:.100}.",
                f"Add it to [plugin.{_TABLE}.workload].",
            )
        namespace, name = self._places[workload]
        there = self._deployment(namespace, name)
        if there is None:
            raise refusal(f"The cluster has no Deployment {namespace}/{name}.")
        if there.spec.paused or there.spec.replicas < 1:
            what = "paused" if there.spec.paused else "declared with no replica"
            raise refusal(f"{namespace}/{name} is {what}: nothing would be rolled out.")
        mark = None if there.mark == action.action_id else there.mark
        return Prepared(
            RolloutBefore(namespace, name, mark),
            f"replace the pods of {namespace}/{name} by new ones as declared",
            f"give {namespace}/{name} its former template again, which replaces its pods once more",
        )

    def put(self, plan: Plan) -> str:
        """See `ForeignExecutor.put`."""
        before = recipe_of(plan, RolloutBefore)
        action_id = plan.action.action_id
        self._change(before, lambda mark: mark != action_id, action_id, needed=True)
        until = self._clock.now().boot_ns + self._rollout_ns
        while not self.sees(plan):
            if self._clock.now().boot_ns >= until:
                raise not_done(f"the rollout of {before.namespace}/{before.name} is not complete")
            threading.Event().wait(_POLL_S)
        return f"The pods of {before.namespace}/{before.name} are new, as declared, and ready."

    def sees(self, plan: Plan) -> bool:
        """See `ForeignExecutor.sees`: the rollout is complete."""
        before = recipe_of(plan, RolloutBefore)
        there = self._deployment(before.namespace, before.name)
        if there is None or there.mark != plan.action.action_id:
            return False
        status, wanted = there.status, there.spec.replicas
        counts = (status.replicas, status.updated_replicas, status.ready_replicas)
        return (
            status.observed_generation >= there.metadata.generation
            and (*counts, status.available_replicas) == (wanted,) * 4
        )

    def take_back(self, plan: Plan) -> str:
        """See `ForeignExecutor.take_back`; what others changed in the template meanwhile stays."""
        before = recipe_of(plan, RolloutBefore)
        action_id = plan.action.action_id
        self._change(before, lambda mark: mark == action_id, before.mark, needed=False)
        there = self._deployment(before.namespace, before.name)
        if there is not None and there.mark == action_id:
            raise not_done(f"the template of {before.namespace}/{before.name} is not as it was")
        return f"{before.namespace}/{before.name} has its former template."

    def observe(self) -> frozenset[str]:
        """Give the ids in the templates of the Deployments that are configured."""
        marks = {
            there.mark
            for namespace, name in self._places.values()
            if (there := self._deployment(namespace, name)) is not None
        }
        return frozenset(mark for mark in marks if mark is not None and ID.fullmatch(mark))

    def _deployment(self, namespace: str, name: str) -> _Deployment | None:
        return self._cluster.get(_path(namespace, name), _Deployment)

    def _change(
        self,
        before: RolloutBefore,
        wanted: Callable[[str | None], bool],
        mark: str | None,
        *,
        needed: bool,
    ) -> None:
        namespace, name = before.namespace, before.name
        template = {"metadata": {"annotations": {_MARK: mark}}}
        self._cluster.patch(
            _path(namespace, name),
            lambda: self._deployment(namespace, name),
            lambda there: {"spec": {"template": template}} if wanted(there.mark) else None,
            needed=needed,
        )


def _path(namespace: str, name: str) -> str:
    return path("apis", "apps", "v1", "namespaces", namespace, "deployments", name)


def _place(workload: str, where: str) -> tuple[str, str]:
    namespace, slash, name = where.partition("/")
    if not (slash and NAME.fullmatch(namespace) and NAME.fullmatch(name)):
        raise refusal(
            f"{where!r:.100} is no Deployment for the workload {workload}.",
            f"Write namespace/name in [plugin.{_TABLE}.workload].",
        )
    return namespace, name
