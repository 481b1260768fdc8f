"""A double of a Consul agent's service interface: what its documentation says, and no more."""

import json
from urllib.parse import parse_qs, unquote, urlsplit

from tests.integration.doubles.service import Double, RefusedError


class ConsulDouble(Double):
    def __init__(self, token=""):
        super().__init__()
        self.token = token
        self.services = {}
        self.passing = set()

    def answer(self, method, path, headers, body):
        if self.token and headers.get("X-Consul-Token") != self.token:
            raise RefusedError(403, {"error": "Permission denied"})
        parts = urlsplit(path)
        match (method, [unquote(one) for one in parts.path.split("/")[1:]]):
            case ("PUT", ["v1", "agent", "service", "register"]):
                service = json.loads(body)
                self.services[service["ID"]] = service
                # A check with a time to live begins critical.
                self.passing.discard(service["Check"]["CheckID"])
                return None
            case ("PUT", ["v1", "agent", "check", "pass", check]):
                if check not in {one["Check"]["CheckID"] for one in self.services.values()}:
                    raise RefusedError(404, {"error": "Unknown check ID"})
                self.passing.add(check)
                return None
            case ("PUT", ["v1", "agent", "service", "deregister", instance]):
                if self.services.pop(instance, None) is None:
                    raise RefusedError(404, {"error": "Unknown service ID"})
                return None
            case ("GET", ["v1", "health", "service", name]):
                only = parse_qs(parts.query).get("passing") == ["true"]
                return [
                    {
                        "Node": {"Node": "here", "Address": "192.0.2.200"},
                        "Service": {key: one[key] for key in ("ID", "Address", "Port")},
                        "Checks": [],
                    }
                    for one in self.services.values()
                    if one["Name"] == name and (not only or one["Check"]["CheckID"] in self.passing)
                ]
        raise RefusedError(404)

    def lapse(self, instance):
        """Let the time to live of a service pass."""
        self.passing.discard(f"service:{instance}")
