"""A double of RabbitMQ's management interface, for the answers that the real one does not give.

The real broker, where it is installed, runs the same stories in the integration tests.
"""

import base64
import copy
import json
import re
from urllib.parse import unquote

from tests.integration.doubles.service import Double, RefusedError

PASSWORD = "a-password-that-no-log-may-show"


class RabbitmqDouble(Double):
    def __init__(self):
        super().__init__()
        self.users = {"cronos"}
        self.vhosts = {"/"}
        self.held = {("/", "cronos"): (".*", ".*", ".*")}
        self.connections = {}  # name -> user

    def add_user(self, name, **vhosts):
        self.users.add(name)
        for vhost, given in vhosts.items():
            self.vhosts.add(vhost)
            self.held[vhost, name] = tuple(given)
        self.connections[f"{name} -> broker"] = name

    def state(self):
        return copy.deepcopy(self.held)

    def answer(self, method, path, headers, body):  # noqa: C901, PLR0911 - a router
        expected = base64.b64encode(f"cronos:{PASSWORD}".encode()).decode()
        if headers.get("Authorization") != f"Basic {expected}":
            raise RefusedError(401, {"error": "not_authorized", "reason": "Login failed"})
        parts = [unquote(part) for part in path.removeprefix("/api/").split("/")]
        if parts == ["users"]:
            return [{"name": name} for name in sorted(self.users)]
        if parts == ["vhosts"]:
            return [{"name": name} for name in sorted(self.vhosts)]
        if parts == ["permissions"]:
            return self._listed(lambda _: True)
        if re.fullmatch(r"/api/users/[^/]+/permissions", path):
            if parts[1] not in self.users:
                raise RefusedError(404, {"error": "Object Not Found"})
            return self._listed(lambda user: user == parts[1])
        if parts[:2] == ["connections", "username"]:
            if method == "DELETE":
                kept = {n: u for n, u in self.connections.items() if u != parts[2]}
                self.connections = kept
                return None
            return [{"name": n, "user": u} for n, u in self.connections.items() if u == parts[2]]
        if parts[0] == "permissions" and len(parts) == 3:
            return self._permission(method, parts[1], parts[2], body)
        raise RefusedError(404)

    def _permission(self, method, vhost, user, body):
        if vhost not in self.vhosts or user not in self.users:
            raise RefusedError(404)
        if method == "DELETE":
            if self.held.pop((vhost, user), None) is None:
                raise RefusedError(404)
            return
        given = json.loads(body)
        self.held[vhost, user] = (given["configure"], given["write"], given["read"])
        return

    def _listed(self, wanted):
        return [
            {"user": user, "vhost": vhost, "configure": c, "write": w, "read": r}
            for (vhost, user), (c, w, r) in sorted(self.held.items())
            if wanted(user)
        ]
