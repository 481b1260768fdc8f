"""A double of a site's own receiver of OpenC2 commands: it checks signatures and keeps state."""

import hashlib
import hmac
import json

from tests.integration.doubles.service import Double, RefusedError

SECRET = "a-shared-secret-that-no-log-may-show"


class ReceiverDouble(Double):
    def __init__(self):
        super().__init__()
        self.in_force = {}
        self.commands = []
        self.now_ns = lambda: 0  # the receiver's clock; as given, nothing ends by itself

    def expire(self):
        """End what has lasted as long as its command said."""
        self.in_force = {
            name: one
            for name, one in self.in_force.items()
            if not isinstance(one, dict)
            or self.now_ns() < one["time_ns"] + one["args"]["duration"] * 1_000_000
        }

    def answer(self, method, path, headers, body):
        signed = f"{method} {path}\n".encode() + body
        mac = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
        if headers.get("X-Cronos-Signature") != f"sha256={mac}":
            raise RefusedError(401)
        self.expire()
        if method == "GET":
            return {"in_force": sorted(self.in_force)}
        command = json.loads(body)
        self.commands.append(command)
        if command["action"] == "cancel":
            self.in_force.pop(command["target"]["command"], None)
        else:
            self.in_force[command["command_id"]] = command
        self.expire()
        return {"status": 200}
