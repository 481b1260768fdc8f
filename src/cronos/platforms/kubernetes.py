"""Quarantines pods, cordons machines and deletes pods, by the cluster's own REST interface.

A pod is labelled ``cronos/quarantine=<action id>`` and a NetworkPolicy that allows nothing selects
that label. The marks are the record: they name the action and what was there before, so that the
effect can be found and taken back by whoever comes later.

A NetworkPolicy is a wish. It binds a pod some time after it was accepted, only where the
cluster's network plug-in enforces policies, and not where another policy allows what this one
does not. So an outcome says ``enforced`` only when a probe that reached the pod before reaches it
no more, and ``accepted_unverified`` otherwise, with the reason where one is known.

Source: Kubernetes, network policies (they are additive).
"""

import ipaddress
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, Final

import msgspec

from cronos.config import Section
from cronos.errors import CronosError
from cronos.link.foreign import ForeignExecutor, Prepared, recipe_of, refusal
from cronos.link.openc2target import target_name
from cronos.link.rest import json_body, path
from cronos.platforms.cluster import JSON, NAME, Cluster, ClusterConfig, Conflict, Meta, not_done
from cronos.ports import Egress
from cronos.types import Ability, Action, Blast, EntityKind, Manifest, Plan, Reversal, Verb

_LABEL: Final = "cronos/quarantine"
_CORDON: Final = "cronos/cordon"
_FORMER: Final = "cronos/former"
_POLICIES: Final = ("apis", "networking.k8s.io", "v1")
_UID_MARK: Final = ", uid "
_TRIES: Final = 5
_POLLS: Final = 20
_POLL_S: Final = 0.05
_TABLE: Final = "kubernetes"


class KubernetesConfig(ClusterConfig, frozen=True):
    """Which cluster, by whose right, what is never touched, and how isolation is probed."""

    # Pods in these are never quarantined or deleted.
    protected_namespaces: tuple[str, ...] = ("kube-system",)
    # Run with the pod's address and namespace/name after it; 0 when the pod can be reached,
    # 1 when not; anything else says nothing.
    probe_command: tuple[str, ...] = ()
    # Or a TCP port of the pod, tried from here; 0 for none.
    probe_port: int = 0
    probe_timeout_ms: int = 500


class _PodSpec(msgspec.Struct, frozen=True, rename="camel"):
    host_network: bool = False


class _PodStatus(msgspec.Struct, frozen=True, rename={"pod_ip": "podIP"}):
    pod_ip: str = ""


class _Pod(msgspec.Struct, frozen=True):
    metadata: Meta
    spec: _PodSpec = _PodSpec()
    status: _PodStatus = _PodStatus()


class _NodeSpec(msgspec.Struct, frozen=True):
    unschedulable: bool = False


class _Node(msgspec.Struct, frozen=True):
    metadata: Meta
    spec: _NodeSpec = _NodeSpec()


class _Expression(msgspec.Struct, frozen=True):
    key: str
    operator: str = ""
    values: tuple[str, ...] = ()


class _Selector(msgspec.Struct, frozen=True, rename="camel"):
    match_labels: dict[str, str] = {}
    match_expressions: tuple[_Expression, ...] = ()


class _PolicySpec(msgspec.Struct, frozen=True, rename="camel"):
    pod_selector: _Selector = _Selector()
    ingress: tuple[Any, ...] = ()
    egress: tuple[Any, ...] = ()
    policy_types: tuple[str, ...] = ()


class _Policy(msgspec.Struct, frozen=True):
    metadata: Meta
    spec: _PolicySpec = _PolicySpec()


class _PolicyList(msgspec.Struct, frozen=True):
    items: tuple[_Policy, ...] = ()


class PodBefore(msgspec.Struct, frozen=True):
    """A pod before its quarantine: the label's value, and whether the probe reached it."""

    label: str | None
    reachable: bool | None


class MachineBefore(msgspec.Struct, frozen=True):
    """A machine before it was cordoned."""

    unschedulable: bool


_CAN: Final = (
    (Verb.CONTAIN, EntityKind.POD, "D3-NI", Reversal.LEASED, Blast.NARROW),
    (Verb.CONTAIN, EntityKind.MACHINE, "D3-EI", Reversal.LEASED, Blast.HOST),
    (Verb.DELETE, EntityKind.POD, "D3-PE", Reversal.NONE, Blast.NARROW),
)


class KubernetesExecutor(ForeignExecutor):
    """Acts in one cluster.

    Raises:
        InputError: an address, a file or a probe cannot be used.
        DeniedError: others may read the token.
    """

    manifest = Manifest(
        "kubernetes",
        "Quarantines pods, cordons machines and deletes pods of a Kubernetes cluster",
        abilities=tuple(
            Ability(verb, kind, target_name(kind), d3fend, reversal, blast, 3_000)
            for verb, kind, d3fend, reversal, blast in _CAN
        ),
    )
    config_type: ClassVar[type[Section]] = KubernetesConfig

    def __init__(self, config: KubernetesConfig, egress: Egress) -> None:
        super().__init__(config.at_once)
        self._config = config
        self._egress = egress
        self._cluster = Cluster(config, egress, _TABLE)

    # --- the port, one action at a time ------------------------------------------------------

    def prepare(self, action: Action) -> Prepared:
        """See `ForeignExecutor.prepare`."""
        if action.target.kind is EntityKind.MACHINE:
            node = self._node(action.target.value)
            if node is None:
                raise refusal(f"The cluster has no machine {action.target.value!r:.100}.")
            return Prepared(
                MachineBefore(_was_unschedulable(node, action.action_id)),
                f"cordon the machine {node.metadata.name}",
                f"uncordon the machine {node.metadata.name}",
            )
        namespace, name = self._unprotected(action)
        pod = self._pod(namespace, name)
        if action.verb is Verb.DELETE:
            # Without a recipe this is what tells the pod from the one that takes its name after.
            uid = "none: it is gone" if pod is None else pod.metadata.uid
            return Prepared(None, f"delete the pod {namespace}/{name}{_UID_MARK}{uid}", "")
        if pod is None:
            raise refusal(f"The cluster has no pod {namespace}/{name}.")
        if pod.spec.host_network:
            raise refusal(
                f"{namespace}/{name} uses its machine's network: no NetworkPolicy binds it.",
                "Contain the machine instead.",
            )
        label = pod.metadata.labels.get(_LABEL)
        former = None if label == action.action_id else label
        reachable = True if label == action.action_id else self._reaches(pod)
        return Prepared(
            PodBefore(former, reachable),
            f"quarantine the pod {namespace}/{name}",
            f"end the quarantine of the pod {namespace}/{name}",
        )

    def put(self, plan: Plan) -> str:
        """See `ForeignExecutor.put`."""
        action = plan.action
        if action.target.kind is EntityKind.MACHINE:
            before = recipe_of(plan, MachineBefore)
            self._patch_node(action.target.value, lambda node: _cordon(node, action, before))
            return f"The machine {action.target.value} takes no new pods."
        namespace, name = self._unprotected(action)
        if action.verb is Verb.DELETE:
            return self._delete_pod(plan, namespace, name)
        former = recipe_of(plan, PodBefore)
        self._patch_pod(namespace, name, lambda pod: _relabel(pod, action.action_id))
        self._write_policy(namespace, action.action_id)
        word, why = self._enforcement(namespace, name, former)
        return f"{namespace}/{name} is in quarantine: {word}{f' ({why})' if why else ''}."

    def sees(self, plan: Plan) -> bool:
        """See `ForeignExecutor.sees`; with a probe, it decides."""
        action = plan.action
        if action.target.kind is EntityKind.MACHINE:
            node = self._node(action.target.value)
            if node is None or node.metadata.labels.get(_CORDON) != action.action_id:
                return False
            return node.spec.unschedulable
        namespace, name = self._named(action)
        pod = self._pod(namespace, name)
        if action.verb is Verb.DELETE:
            return pod is None or pod.metadata.uid != _uid_of(plan)
        if pod is None or pod.metadata.labels.get(_LABEL) != action.action_id:
            return False
        policy = self._policy(namespace, action.action_id)
        if policy is None or not _denies_all(policy, action.action_id):
            return False
        was = recipe_of(plan, PodBefore).reachable
        return was is not True or self._reaches(pod) is not True

    def take_back(self, plan: Plan) -> str:
        """See `ForeignExecutor.take_back`."""
        action = plan.action
        if action.target.kind is EntityKind.MACHINE:
            before = recipe_of(plan, MachineBefore)
            self._patch_node(
                action.target.value, lambda node: _uncordon(node, action, before), needed=False
            )
            return f"The machine {action.target.value} is as it was."
        namespace, name = self._named(action)
        former = recipe_of(plan, PodBefore).label
        self._cluster.unless_gone("DELETE", _policy_path(namespace, action.action_id))
        self._patch_pod(
            namespace, name, lambda pod: _unlabel(pod, action.action_id, former), needed=False
        )
        if self._policy(namespace, action.action_id) is not None:
            raise not_done(f"the NetworkPolicy cronos-{action.action_id} is still there")
        return f"{namespace}/{name} is out of quarantine."

    def observe(self) -> frozenset[str]:
        """Give the ids in the marks of pods, policies and machines, whatever set them."""
        policies = path(*_POLICIES, "networkpolicies")
        marks = self._cluster.marks(path("api", "v1", "pods"), _LABEL) | self._cluster.marks(
            policies, _LABEL
        )
        return frozenset(marks | self._cluster.marks(path("api", "v1", "nodes"), _CORDON))

    # --- pods --------------------------------------------------------------------------------

    def _named(self, action: Action) -> tuple[str, str]:
        namespace, slash, name = action.target.value.partition("/")
        if not (slash and NAME.fullmatch(namespace) and NAME.fullmatch(name)):
            raise refusal(f"{action.target.value!r:.100} is no pod: namespace/name.")
        return namespace, name

    def _unprotected(self, action: Action) -> tuple[str, str]:
        """Give the names; what is protected by now can still be taken back and looked at."""
        namespace, name = self._named(action)
        if namespace in self._config.protected_namespaces:
            raise refusal(f"The namespace {namespace} is protected.")
        return namespace, name

    def _pod(self, namespace: str, name: str) -> _Pod | None:
        return self._cluster.get(_pod_path(namespace, name), _Pod)

    def _policy(self, namespace: str, action_id: str) -> _Policy | None:
        return self._cluster.get(_policy_path(namespace, action_id), _Policy)

    def _patch_pod(
        self,
        namespace: str,
        name: str,
        change: Callable[[_Pod], dict[str, Any] | None],
        *,
        needed: bool = True,
    ) -> None:
        where = _pod_path(namespace, name)
        self._cluster.patch(where, lambda: self._pod(namespace, name), change, needed=needed)

    def _write_policy(self, namespace: str, action_id: str) -> None:
        """Make the policy, or make it again what it should be."""
        wanted = {
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": {
                "name": f"cronos-{action_id}",
                "namespace": namespace,
                "labels": {_LABEL: action_id},
            },
            "spec": _deny_all(action_id),
        }
        for _ in range(_TRIES):
            there = self._policy(namespace, action_id)
            if there is not None and _denies_all(there, action_id):
                return
            if there is not None:
                self._cluster.unless_gone("DELETE", _policy_path(namespace, action_id))
            where = path(*_POLICIES, "namespaces", namespace, "networkpolicies")
            with Conflict() as conflict:
                self._cluster.ask("POST", where, json_body(wanted), JSON)
            if not conflict.met:
                return
        raise not_done("the NetworkPolicy is changed by others at every attempt")

    def _enforcement(self, namespace: str, name: str, before: PodBefore) -> tuple[str, str]:
        """Say whether the quarantine is known to hold, and if not, why that is not known."""
        pod = self._pod(namespace, name)
        if pod is None:
            return "accepted_unverified", "the pod is gone"
        try:
            others = self._allowing(namespace, pod)
        except CronosError:  # more than an answer holds: whoever may write policies decides that
            others = "policies that cannot be listed"
        if before.reachable is True:
            now = self._until_cut_off(pod)
            if now is True:
                raise not_done("the probe still reaches it: the cluster does not enforce policies")
            if now is False:
                return "enforced", f"but {others} may allow traffic" if others else ""
        if others:
            return "accepted_unverified", f"{others} may allow its traffic all the same"
        if before.reachable is False:
            return "accepted_unverified", "the probe did not reach it before either"
        return "accepted_unverified", "no probe says that the cluster enforces it"

    def _until_cut_off(self, pod: _Pod) -> bool | None:
        """Probe until the pod is not reached any more, for a second."""
        for _ in range(_POLLS):
            reached = self._reaches(pod)
            if reached is not True:
                return reached
            threading.Event().wait(_POLL_S)
        return True

    def _allowing(self, namespace: str, pod: _Pod) -> str:
        """Name the policies that select the pod and allow something: policies add up."""
        where = path(*_POLICIES, "namespaces", namespace, "networkpolicies")
        listed = self._cluster.get(where, _PolicyList) or _PolicyList()
        names = [
            policy.metadata.name
            for policy in listed.items
            if (policy.spec.ingress or policy.spec.egress)
            and _selects(policy.spec.pod_selector, pod.metadata.labels)
        ]
        return ", ".join(sorted(names)[:5])

    def _delete_pod(self, plan: Plan, namespace: str, name: str) -> str:
        uid = _uid_of(plan)
        body = json_body(
            {
                "apiVersion": "v1",
                "kind": "DeleteOptions",
                "gracePeriodSeconds": 0,
                "preconditions": {"uid": uid},
            }
        )
        pod = self._pod(namespace, name)
        if pod is None or pod.metadata.uid != uid:
            return f"{namespace}/{name} of that uid is gone."
        with Conflict():  # another pod has its name by now: ours is gone
            self._cluster.unless_gone("DELETE", _pod_path(namespace, name), body)
        for _ in range(_POLLS):
            if self.sees(plan):
                return f"{namespace}/{name} was deleted."
            threading.Event().wait(_POLL_S)
        raise not_done(f"{namespace}/{name} is still there")

    def _reaches(self, pod: _Pod) -> bool | None:
        """Probe a pod: whether it can be reached, or None where nothing says."""
        address = pod.status.pod_ip
        if not _is_address(address):
            return None
        if self._config.probe_command:
            return self._command_reaches(pod)
        if not self._config.probe_port:
            return None
        self._egress.permit(address, self._config.probe_port, "kubernetes probe")
        timeout_s = self._config.probe_timeout_ms / 1000
        try:
            socket.create_connection((address, self._config.probe_port), timeout_s).close()
        except (OSError, ValueError):
            return False
        return True

    def _command_reaches(self, pod: _Pod) -> bool | None:
        meta = pod.metadata
        argv = (*self._config.probe_command, pod.status.pod_ip, f"{meta.namespace}/{meta.name}")
        try:
            done = subprocess.run(  # noqa: S603 - a list of arguments, no shell
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                timeout=self._config.probe_timeout_ms / 1000,
                check=False,
            )
        except (OSError, ValueError, subprocess.TimeoutExpired):
            return None
        return {0: True, 1: False}.get(done.returncode)

    # --- machines ----------------------------------------------------------------------------

    def _node(self, name: str) -> _Node | None:
        if not NAME.fullmatch(name):
            raise refusal(f"{name!r:.100} is no name of a machine.")
        return self._cluster.get(path("api", "v1", "nodes", name), _Node)

    def _patch_node(
        self,
        name: str,
        change: Callable[[_Node], dict[str, Any] | None],
        *,
        needed: bool = True,
    ) -> None:
        where = path("api", "v1", "nodes", name)
        self._cluster.patch(where, lambda: self._node(name), change, needed=needed)


def _pod_path(namespace: str, name: str) -> str:
    return path("api", "v1", "namespaces", namespace, "pods", name)


def _policy_path(namespace: str, action_id: str) -> str:
    return path(*_POLICIES, "namespaces", namespace, "networkpolicies", f"cronos-{action_id}")


def _deny_all(action_id: str) -> dict[str, Any]:
    return {
        "podSelector": {"matchLabels": {_LABEL: action_id}},
        "policyTypes": ["Ingress", "Egress"],
    }


def _denies_all(policy: _Policy, action_id: str) -> bool:
    spec = policy.spec
    return (
        spec.pod_selector == _Selector({_LABEL: action_id})
        and set(spec.policy_types) == {"Ingress", "Egress"}
        and not spec.ingress
        and not spec.egress
    )


def _selects(selector: _Selector, labels: Mapping[str, str]) -> bool:
    """Say whether a selector may mean a pod; an operator that is not known may mean any."""
    if any(labels.get(key) != value for key, value in selector.match_labels.items()):
        return False
    return all(_holds(one, labels) for one in selector.match_expressions)


def _holds(expression: _Expression, labels: Mapping[str, str]) -> bool:
    value = labels.get(expression.key)
    match expression.operator:
        case "In":
            return value in expression.values
        case "NotIn":
            return value not in expression.values
        case "Exists":
            return value is not None
        case "DoesNotExist":
            return value is None
        case _:
            return True


def _relabel(pod: _Pod, action_id: str) -> dict[str, Any] | None:
    if pod.metadata.labels.get(_LABEL) == action_id:
        return None
    return {"metadata": {"labels": {_LABEL: action_id}}}


def _unlabel(pod: _Pod, action_id: str, former: str | None) -> dict[str, Any] | None:
    if pod.metadata.labels.get(_LABEL) != action_id:
        return None  # not ours, or not any more
    return {"metadata": {"labels": {_LABEL: former}}}


def _was_unschedulable(node: _Node, action_id: str) -> bool:
    """Say what the machine was before this action, which may be in force already."""
    if node.metadata.labels.get(_CORDON) == action_id:
        return node.metadata.annotations.get(_FORMER) == "true"
    return node.spec.unschedulable


def _cordon(node: _Node, action: Action, before: MachineBefore) -> dict[str, Any] | None:
    if node.metadata.labels.get(_CORDON) == action.action_id and node.spec.unschedulable:
        return None
    ours = node.metadata.labels.get(_CORDON) == action.action_id
    # Somebody may have cordoned it between the plan and its turn.
    there = node.metadata.annotations.get(_FORMER) == "true" if ours else node.spec.unschedulable
    former = "true" if before.unschedulable or there else "false"
    return {
        "metadata": {
            "labels": {_CORDON: action.action_id},
            "annotations": {_FORMER: former},
        },
        "spec": {"unschedulable": True},
    }


def _uncordon(node: _Node, action: Action, before: MachineBefore) -> dict[str, Any] | None:
    if node.metadata.labels.get(_CORDON) != action.action_id:
        return None
    was = before.unschedulable or node.metadata.annotations.get(_FORMER) == "true"
    return {
        "metadata": {"labels": {_CORDON: None}, "annotations": {_FORMER: None}},
        "spec": {"unschedulable": True if was else None},
    }


def _is_address(text: str) -> bool:
    """Say whether the cluster told a number: it becomes an argument of a command."""
    try:
        return not ipaddress.ip_address(text).is_unspecified and "%" not in text
    except ValueError:
        return False


def _uid_of(plan: Plan) -> str:
    return plan.summary.rpartition(_UID_MARK)[2]
