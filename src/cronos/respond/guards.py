"""What the enforcer asks of every action before it touches the world, whoever sent it.

Agencies parse hostile input, so their word is not enough: protected targets, the budget, the cap
on leases and the fencing epoch are checked here again, from the enforcer's own configuration.
"""

import ipaddress
import re
import socket
import threading
from collections.abc import Callable, Mapping
from typing import Final

from cronos.config import Policy, Positive, Section
from cronos.errors import InputError
from cronos.types import Action, Entity, EntityKind, action_id

SECOND_NS: Final = 1_000_000_000
_MINUTE_NS: Final = 60 * SECOND_NS
_MAX_ID_CHARS: Final = 256
_MAX_TARGET_CHARS: Final = 1024

# However the list reads: who cuts these off cuts this machine off from itself.
_ALWAYS: Final = ("127.0.0.1", "::1")
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# RFC 1123 section 2.1; a name that ends in digits alone would be an address gone wrong.
_HOST_NAME: Final = re.compile(rf"(?=.{{1,253}}$)(?:{_LABEL}\.)*(?![0-9]+$){_LABEL}")
_USER_NAME: Final = re.compile(r"[\w.-]{1,64}\\[\w.$-]{1,64}|[\w.+-]{1,64}@[\w.-]{1,253}")

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
    """Tokens for actions: a minute's worth at most, refilled evenly; for any thread."""

    def __init__(self, per_minute: int, now_ns: int, spent: int = 0) -> None:
        self._per_minute = per_minute
        self._tokens = float(max(0, per_minute - spent))
        self._at_ns = now_ns
        self._lock = threading.Lock()

    def take(self, now_ns: int) -> bool:
        """Take one token, or say that none is left."""
        with self._lock:
            refill = max(0, now_ns - self._at_ns) * self._per_minute / _MINUTE_NS
            self._tokens = min(float(self._per_minute), self._tokens + refill)
            self._at_ns = max(now_ns, self._at_ns)
            if self._tokens < 1:
                return False
            self._tokens -= 1
            return True

    def spend(self, tokens: int) -> None:
        """Take tokens that were spent before, as far as there are any."""
        with self._lock:
            self._tokens = max(0.0, self._tokens - tokens)


class Guard:
    """Says why an action must not be carried out, or that nothing speaks against it.

    Args:
        config: whose `protected` is added to what is always protected.
        own: gives this machine's own addresses, and what each is to it; asked now and at each
            `refresh`.

    Raises:
        InputError: an entry of `protected` is not understood: it would protect nothing.
    """

    def __init__(
        self, config: EnforcerConfig, own: Callable[[], Mapping[str, str]] = dict[str, str]
    ) -> None:
        self._names: dict[str, str] = {}
        self._listed: list[tuple[Network, str]] = []
        self._own = own
        self._own_now: dict[str, str] | None = None
        self._networks: list[tuple[Network, str]] = []
        self._ranges: list[tuple[int, int, str]] = []  # IPv4, for the quick way
        for entry in (*config.protected, *_ALWAYS):
            network = protected_network(entry)
            self._names[entry.casefold()] = self._names[_entry_host(entry).casefold()] = entry
            if network is not None:
                self._listed.append((network, entry))
        self.refresh()

    def refresh(self) -> bool:
        """Ask for this machine's own addresses again; say whether they have changed."""
        own = dict(self._own())
        if own == self._own_now:
            return False
        self._own_now = own
        found = [(_network(address), f"{address}, {what}") for address, what in own.items()]
        self._networks = self._listed + [(net, text) for net, text in found if net is not None]
        self._ranges = [
            (int(network.network_address), int(network.broadcast_address), entry)
            for network, entry in self._networks
            if network.version == 4
        ]
        return True

    def objection(self, action: Action) -> str | None:
        """Give a sentence on what forbids the action, or None."""
        why = self.malformed(action)
        if why is not None:
            return why
        if action.lease_ns <= 0:
            return "The action asks for a lease that has ended already."
        entry = self.protects(action.target)
        if entry is not None:
            return f"{action.target.value} is protected by the entry {entry}."
        return None

    def malformed(self, action: Action) -> str | None:
        """Give a sentence on why nothing may be done in this action's name, not even undone."""
        if not _printable(action.incident_id, _MAX_ID_CHARS) or not _printable(
            action.target.value, _MAX_TARGET_CHARS
        ):
            return "The action names something too long or not printable."
        named = action_id(action.enforcement_point, action.verb, action.target)
        if action.action_id != named:
            return "The action's id does not belong to its enforcement point, verb and target."
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


def protected_network(entry: str) -> Network | None:
    r"""Read an entry of a protected list: the network it names, or None for a host or user.

    An entry is an address, a network, a service (``198.51.100.2:502``, ``[2001:db8::2]:502``,
    ``tcp/198.51.100.2:502``), which stands for its whole address, a host name (RFC 1123), or a
    user (``CORP\admin``, ``admin@corp.example``).

    Raises:
        InputError: it is none of these.
    """
    host = _entry_host(entry)
    network = _network(host)
    if network is not None and "%" not in entry:
        return network
    if _HOST_NAME.fullmatch(host) or _USER_NAME.fullmatch(entry):
        return None
    raise InputError(
        "respond.protected_unknown",
        f"The protected entry {entry!r:.100} is not understood and would protect nothing.",
        "Write an address, a network such as 10.0.0.8/29 (a range as several), a service such as "
        "10.0.0.5:502 or [2001:db8::5]:502, or a host name.",
    )


def _entry_host(entry: str) -> str:
    """Give the address or host of a service, or the entry as it is."""
    if _network(entry) is not None:
        return entry
    return _service_address(entry if "/" in entry else f"any/{entry}") or entry


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
