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

    def answer(self, method, path, headers, body):
        signed = f"{method} {path}\n".encode() + body
        mac = hmac.new(SECRET.encode(), signed, hashlib.sha256).hexdigest()
        if headers.get("X-Cronos-Signature") != f"sha256={mac}":
            raise RefusedError(401)
        if method == "GET":
            return {"in_force": sorted(self.in_force)}
        command = json.loads(body)
        self.commands.append(command)
        if command["action"] == "cancel":
            self.in_force.pop(command["target"]["command"], None)
        else:
            self.in_force[command["command_id"]] = command
        return {"status": 200}
