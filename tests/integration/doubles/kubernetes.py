"""A double of a Kubernetes API server: pods, nodes, policies and deployments, as documented.

It knows bearer tokens, resource versions with 409, merge patches (RFC 7396), preconditions of
deletion, label selectors of the form "key exists", paging by `limit` and `continue`, and 404.
It enforces no policy by itself: `enforces` says whether a quarantined pod's port still answers.
"""

import copy
import itertools
import json
import re
import socket
from urllib.parse import parse_qs, urlsplit

from tests.integration.doubles.service import Double, RefusedError

TOKEN = "a-service-account-token-that-no-log-may-show"


class KubernetesDouble(Double):
    def __init__(self):
        super().__init__()
        self.objects = {}  # (kind, namespace, name) -> object
        self.versions = itertools.count(100)
        self.uids = itertools.count(1)
        self.enforces = False
        self.listener = None
        self.rolls = True

    # --- the world -----------------------------------------------------------------------------

    def add_pod(self, name, namespace="shop", labels=None, ip="", **spec):
        return self._store("pods", namespace, name, labels, spec, {"podIP": ip})

    def add_node(self, name, **spec):
        return self._store("nodes", "", name, None, spec, {})

    def add_deployment(self, name, namespace="shop", replicas=2, **more):
        """Declare a workload; `rolls` says whether its controller replaces pods."""
        template = {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"image": "i:1"}]},
        }
        spec = {"replicas": replicas, "template": template, **more}
        made = self._store("deployments", namespace, name, None, spec, {})
        made["metadata"]["generation"] = 1
        self._roll(made)
        return made

    def add_policy(self, name, spec, namespace="shop"):
        return self._store("networkpolicies", namespace, name, None, spec, None)

    def state(self):
        """Give all that is there but what changes with each write."""
        world = copy.deepcopy(self.objects)
        for one in world.values():
            del one["metadata"]["resourceVersion"]
            one["metadata"].pop("generation", None)
            one.get("status", {}).pop("observedGeneration", None)
        return world

    def _store(self, kind, namespace, name, labels, spec, status):
        meta = {"name": name, "namespace": namespace, "uid": f"uid-{next(self.uids)}"}
        meta["resourceVersion"] = str(next(self.versions))
        if labels:
            meta["labels"] = dict(labels)
        made = {"metadata": meta, "spec": spec}
        if status is not None:
            made["status"] = status
        self.objects[kind, namespace, name] = made
        return made

    # --- the interface ---

    def answer(self, method, path, headers, body):  # noqa: C901 - a router
        if headers.get("Authorization") != f"Bearer {TOKEN}":
            raise RefusedError(401, {"kind": "Status", "reason": "Unauthorized", "code": 401})
        parts = urlsplit(path)
        found = re.fullmatch(
            r"/(?:api/v1|apis/networking\.k8s\.io/v1|apis/apps/v1)(?:/namespaces/([^/]+))?"
            r"/(pods|nodes|networkpolicies|deployments)(?:/([^/]+))?",
            parts.path,
        )
        if found is None:
            raise RefusedError(404)
        namespace, kind, name = found[1] or "", found[2], found[3]
        if name is None and method == "GET":
            return self._listed(kind, namespace, parse_qs(parts.query))
        if name is None and method == "POST":
            return self._created(kind, namespace, json.loads(body))
        key = (kind, namespace, name)
        if key not in self.objects:
            raise RefusedError(404, {"kind": "Status", "reason": "NotFound", "code": 404})
        if method == "GET":
            return self.objects[key]
        if method == "PATCH":
            assert headers["Content-Type"] == "application/merge-patch+json"
            return self._patched(key, json.loads(body))
        if method == "DELETE":
            return self._deleted(key, json.loads(body or b"{}"))
        raise RefusedError(405)

    def _listed(self, kind, namespace, query):
        label = query.get("labelSelector", [""])[0]
        items = [
            one
            for (its_kind, its_namespace, _), one in sorted(self.objects.items())
            if its_kind == kind and namespace in ("", its_namespace)
            if not label or label in one["metadata"].get("labels", {})
        ]
        limit = int(query.get("limit", ["500"])[0])
        start = int(query.get("continue", ["0"])[0] or 0)
        more = {"continue": str(start + limit)} if len(items) > start + limit else {}
        return {"items": items[start : start + limit], "metadata": more}

    def _created(self, kind, namespace, given):
        name = given["metadata"]["name"]
        if (kind, namespace, name) in self.objects:
            raise RefusedError(409, {"reason": "AlreadyExists"})
        labels = given["metadata"].get("labels")
        return self._store(kind, namespace, name, labels, given["spec"], None)

    def _patched(self, key, patch):
        there = self.objects[key]
        version = patch.get("metadata", {}).pop("resourceVersion", None)
        if version is not None and version != there["metadata"]["resourceVersion"]:
            raise RefusedError(409, {"reason": "Conflict"})
        _merge(there, patch)
        for name in ("labels", "annotations"):
            if not there["metadata"].get(name):
                there["metadata"].pop(name, None)
        there["metadata"]["resourceVersion"] = str(next(self.versions))
        if key[0] == "deployments":
            there["metadata"]["generation"] += 1
            template = there["spec"]["template"]["metadata"]
            if not template.get("annotations"):
                template.pop("annotations", None)
            self._roll(there)
        self._enforce()
        return there

    def _roll(self, deployment):
        """Do as the controller of Deployments: all pods are made anew, and ready at once."""
        if self.rolls:
            wanted = deployment["spec"]["replicas"]
            deployment["status"] = {
                "observedGeneration": deployment["metadata"]["generation"],
                "replicas": wanted, "updatedReplicas": wanted,
                "readyReplicas": wanted, "availableReplicas": wanted,
            }  # fmt: skip

    def _deleted(self, key, options):
        uid = options.get("preconditions", {}).get("uid")
        if uid is not None and uid != self.objects[key]["metadata"]["uid"]:
            raise RefusedError(409, {"reason": "Conflict"})
        del self.objects[key]
        self._enforce()
        return {"kind": "Status", "status": "Success"}

    # --- a port of a pod, for probes ---

    def open_port(self):
        """Listen as the pod would; gives the port. A quarantine that is enforced closes it."""
        self.listener = socket.create_server(("127.0.0.1", 0))
        return self.listener.getsockname()[1]

    def _enforce(self):
        marked = any("cronos/quarantine" in o["metadata"].get("labels", {})
                     for (kind, _, _), o in self.objects.items() if kind == "pods")  # fmt: skip
        if self.enforces and marked and self.listener is not None:
            self.listener.close()


def _merge(target, patch):
    """RFC 7396."""
    for name, value in patch.items():
        if value is None:
            target.pop(name, None)
        elif isinstance(value, dict):
            _merge(target.setdefault(name, {}), value)
        else:
            target[name] = value
