"""Finds peers in Consul: each node is a service instance with a check that it has to renew.

Source: Consul HTTP API (agent/service/register, agent/check/pass, health/service,
agent/service/deregister).
"""

from typing import Final

import msgspec

from cronos.config import Positive
from cronos.errors import CronosError
from cronos.link.rest import Answer, ForeignConfig, RestClient, json_body, path, private_text
from cronos.mesh.seeds import MAX_FOUND, sound_seeds, spell_seed
from cronos.mesh.udp import split
from cronos.ports import Egress
from cronos.types import Manifest, Peer

_TABLE: Final = "consul"


class ConsulConfig(ForeignConfig, frozen=True):
    """Which Consul agent, and the name of the service."""

    service: str = "cronos"
    # How long an entry passes for healthy after its last renewal.
    ttl_s: Positive = 30
    # After which Consul drops an entry for good; it takes no less than a minute.
    drop_after_s: Positive = 300
    token_file: str = ""


class _Service(msgspec.Struct, frozen=True):
    ID: str = ""
    Address: str = ""
    Port: int = 0


class _Node(msgspec.Struct, frozen=True):
    Address: str = ""


class _Entry(msgspec.Struct, frozen=True):
    Service: _Service
    Node: _Node = _Node()


class ConsulRegistry:
    """The port `Registry` over a Consul agent.

    Raises:
        InputError: the address cannot be used.
        DeniedError: it would leave this machine unencrypted.
    """

    manifest = Manifest("consul", "Finds peers in Consul")
    config_type = ConsulConfig

    def __init__(self, config: ConsulConfig, egress: Egress) -> None:
        self._config = config
        self._client = RestClient(config, egress, _TABLE)
        self._entered = ""

    def enter(self, me: Peer) -> None:
        """Register this node, or renew its check; see `Registry.enter`."""
        if self._entered != spell_seed(me) or not self._renewed(me.instance):
            self._register(me)
        self._entered = spell_seed(me)

    def found(self) -> tuple[str, ...]:
        """Give the instances whose checks pass; see `Registry.found`."""
        config = self._config
        where = path("v1", "health", "service", config.service, query={"passing": "true"})
        answer = self._client.call("GET", where, self._headers())
        self._client.raise_for(answer)
        entries = self._client.decoded(answer, tuple[_Entry, ...])
        return sound_seeds([_seed_of(one) for one in entries[:MAX_FOUND]])

    def withdraw(self, me: Peer) -> None:
        """Take this node out; see `Registry.withdraw`."""
        self._entered = ""
        answer = self._put("v1", "agent", "service", "deregister", me.instance)
        if answer.status != 404:
            self._client.raise_for(answer)

    def _register(self, me: Peer) -> None:
        config = self._config
        host, port = split(me.address) or ("", 0)
        check = {
            "CheckID": f"service:{me.instance}",
            "TTL": f"{config.ttl_s}s",
            "DeregisterCriticalServiceAfter": f"{config.drop_after_s}s",
        }
        body = {
            "ID": me.instance,
            "Name": config.service,
            "Address": host,
            "Port": port,
            "Check": check,
        }
        self._client.raise_for(self._put("v1", "agent", "service", "register", body=body))
        if not self._renewed(me.instance):
            raise CronosError(
                "mesh.registry_forgets",
                f"Consul has no check for {me.instance}, which was entered just now.",
                "Ask the agent that is on this machine: another's forgets what it did not enter.",
                "peer",
            )

    def _renewed(self, instance: str) -> bool:
        """Pass the check; False where the agent has none."""
        answer = self._put("v1", "agent", "check", "pass", f"service:{instance}")
        # An agent of before 1.17 says 500 where a later one says 404.
        if answer.status in (404, 500):
            return False
        self._client.raise_for(answer)
        return True

    def _put(self, *segments: str, body: object = None) -> Answer:
        data = json_body(body) if body is not None else b""
        return self._client.call("PUT", path(*segments), self._headers(), data)

    def _headers(self) -> dict[str, str]:
        headers = {"Content-Type": "application/json"}
        if self._config.token_file:
            headers["X-Consul-Token"] = private_text(self._config.token_file, "token_file", _TABLE)
        return headers


def _seed_of(entry: _Entry) -> str:
    host = entry.Service.Address or entry.Node.Address
    shown = f"[{host}]" if ":" in host else host
    return f"{entry.Service.ID}@{shown}:{entry.Service.Port}"
