"""What the enforcer asks of every action before it touches the world, whoever sent it.

Agencies parse hostile input, so their word is not enough: protected targets, the budget, the cap
on leases and the fencing epoch are checked here again, from the enforcer's own configuration.
"""

import ipaddress
import socket
from typing import Final

from cronos.config import Policy, Positive, Section
from cronos.types import Action, Entity, EntityKind, action_id

SECOND_NS: Final = 1_000_000_000
_MINUTE_NS: Final = 60 * SECOND_NS
_MAX_ID_CHARS: Final = 256
_MAX_TARGET_CHARS: Final = 1024

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class EnforcerConfig(Section, frozen=True):
    """What the enforcer holds itself to; the first three repeat `[policy]` and `[lease]`."""

    protected: tuple[str, ...] = Policy().protected
    actions_per_minute: Positive = 2000
    # From its first isolation on, an incident may hold a target no longer than this.
    max_lease_s: Positive = 3600
    # How long that first isolation is remembered, on one boot.
    memory_s: Positive = 86_400
    max_leases: Positive = 100_000
    # An undo that failed is tried again after the first, doubling up to the second.
    retry_first_ms: Positive = 100
    retry_cap_ms: Positive = 5_000
    # How often what should be there is compared with what is.
    reconcile_ms: Positive = 5_000
    max_clients: Positive = 16
    # Stay until the last lease has ended, then leave by itself once no client is connected.
    linger: bool = False


class Budget:
    """Tokens for actions: a minute's worth at most, refilled evenly."""

    def __init__(self, per_minute: int, now_ns: int, spent: int = 0) -> None:
        self._per_minute = per_minute
        self._tokens = float(max(0, per_minute - spent))
        self._at_ns = now_ns

    def take(self, now_ns: int) -> bool:
        """Take one token, or say that none is left."""
        refill = max(0, now_ns - self._at_ns) * self._per_minute / _MINUTE_NS
        self._tokens = min(float(self._per_minute), self._tokens + refill)
        self._at_ns = max(now_ns, self._at_ns)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class Guard:
    """Says why an action must not be carried out, or that nothing speaks against it."""

    def __init__(self, config: EnforcerConfig) -> None:
        self._names: dict[str, str] = {}
        self._networks: list[tuple[Network, str]] = []
        self._ranges: list[tuple[int, int, str]] = []  # IPv4, for the quick way
        for entry in config.protected:
            self._names[entry.casefold()] = entry
            address = _service_address(entry) if ">" not in entry else None
            network = _network(address if address is not None else entry)
            if network is None:
                continue
            self._networks.append((network, entry))
            if network.version == 4:
                first, last = network.network_address, network.broadcast_address
                self._ranges.append((int(first), int(last), entry))

    def objection(self, action: Action) -> str | None:
        """Give a sentence on what forbids the action, or None."""
        if not _printable(action.incident_id, _MAX_ID_CHARS) or not _printable(
            action.target.value, _MAX_TARGET_CHARS
        ):
            return "The action names something too long or not printable."
        named = action_id(action.enforcement_point, action.verb, action.target)
        if action.action_id != named:
            return "The action's id does not belong to its enforcement point, verb and target."
        if action.lease_ns <= 0:
            return "The action asks for a lease that has ended already."
        entry = self.protects(action.target)
        if entry is not None:
            return f"{action.target.value} is protected by the entry {entry}."
        return None

    def protects(self, target: Entity) -> str | None:
        """Give the protected entry that the target names or contains; "?" for what has no form.

        Of a flow only the client counts, since it is the one cut off: that someone's single
        connection to a protected server ends is what protects the server.
        """
        whole = self._names.get(target.value.casefold())
        if whole is not None or target.kind in (EntityKind.USER, EntityKind.WORKLOAD):
            return whole
        host = _host_of(target)
        if target.kind in (EntityKind.HOST, EntityKind.PROCESS):
            return self._names.get(host.casefold()) or self._covering(host, strict=False)
        return self._covering(host, strict=True)

    def _covering(self, text: str, *, strict: bool) -> str | None:
        number = _ipv4(text)
        if number is not None:  # as nearly all are: no need to build objects
            return next((e for first, last, e in self._ranges if first <= number <= last), None)
        network = _network(text)
        if network is None:
            return "?" if strict else None
        for guarded, entry in self._networks:
            if guarded.version == network.version and guarded.overlaps(network):
                return entry
        return None


def flow_client(flow: str) -> str | None:
    """Give the client's address of ``tcp/192.0.2.7:40312>198.51.100.2:502``, or None."""
    client, arrow, _ = flow.partition(">")
    return _service_address(client) if arrow else None


def _host_of(target: Entity) -> str:
    """Give the address or host that a target names first, empty when it has no such form."""
    match target.kind:
        case EntityKind.FLOW:
            return flow_client(target.value) or ""
        case EntityKind.SERVICE:
            return _service_address(target.value) or ""
        case EntityKind.PROCESS:
            return target.value.partition("/")[0]
        case _:
            return target.value


def _service_address(service: str) -> str | None:
    """Give the address of ``tcp/198.51.100.2:502``; IPv6 addresses stand without brackets."""
    protocol, slash, endpoint = service.partition("/")
    address, colon, port = endpoint.rpartition(":")
    if not (slash and colon and protocol.isalpha() and port.isdigit()):
        return None
    return address.strip("[]")


def _ipv4(text: str) -> int | None:
    try:
        return int.from_bytes(socket.inet_pton(socket.AF_INET, text))
    except (OSError, ValueError):  # a zero byte within is a ValueError
        return None


def _network(text: str) -> Network | None:
    """Read an address or a network; IPv4 inside IPv6 is that IPv4, or it would slip through."""
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return None
    if isinstance(network, ipaddress.IPv6Network):
        mapped = network.network_address.ipv4_mapped
        if mapped is not None and network.prefixlen >= 96:
            return ipaddress.ip_network(f"{mapped}/{network.prefixlen - 96}", strict=False)
    return network


def _printable(text: str, limit: int) -> bool:
    return 0 < len(text) <= limit and text.isprintable()
