"""What the enforcer asks of every action before it touches the world, whoever sent it.

Agencies parse hostile input, so their word is not enough: protected targets, the budget, the cap
on leases and the fencing epoch are checked here again, from the enforcer's own configuration.
"""

import ipaddress
import os
import re
import socket
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from cronos.config import Policy, Positive, Section
from cronos.errors import InputError
from cronos.types import Action, Entity, EntityKind, action_id

_MAX_ID_CHARS: Final = 256
_MAX_TARGET_CHARS: Final = 1024

# However the list reads: who cuts these off cuts this machine off from itself.
_ALWAYS: Final = ("127.0.0.1", "::1")
_LABEL: Final = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# RFC 1123 section 2.1; a name that ends in digits alone would be an address gone wrong.
_HOST_NAME: Final = re.compile(rf"(?=.{{1,253}}$)(?:{_LABEL}\.)*(?![0-9]+$){_LABEL}")
_USER_NAME: Final = re.compile(r"[\w.-]{1,64}\\[\w.$-]{1,64}|[\w.+-]{1,64}@[\w.-]{1,253}")
_POD_NAME: Final = re.compile(rf"{_LABEL}/(?:{_LABEL}\.)*{_LABEL}")
# Accounts and pods that a system does not run without.
_ALWAYS_USERS: Final = frozenset({"root", "system"})
_ALWAYS_NAMESPACE: Final = "kube-system"
_NO_HOST: Final = "?"  # what has no form that could be compared is protected as a whole

# What separates names in a session or a credential: whatever no name holds.
_PARTS: Final = re.compile(r"[^\w.$-]+")
_ADDRESSES: Final = re.compile(r"[^\w.:]+")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class EnforcerConfig(Section, frozen=True):
    """What the enforcer holds itself to; much repeats `[policy]` and `[lease]`."""

    protected: tuple[str, ...] = Policy().protected
    # Networks by the name that an action may give them; another name is refused.
    segments: dict[str, tuple[str, ...]] = msgspec.field(default_factory=dict[str, tuple[str, ...]])
    actions_per_minute: Positive = 2000
    # The same for each blast class, of what takes away more than one address or session.
    blast_per_minute: dict[str, Positive] = msgspec.field(
        default_factory=lambda: dict(Policy().blast_per_minute)
    )
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

    def __post_init__(self) -> None:
        """Keep the budgets that are not named, as `[policy]` does."""
        every = Policy(blast_per_minute=self.blast_per_minute).blast_per_minute
        msgspec.structs.force_setattr(self, "blast_per_minute", every)


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
        self._users: dict[str, str] = {}  # by the name without its domain
        self._shorts: dict[str, str] = {}  # hosts by their name without its domain
        self._listed: list[tuple[Network, str]] = []
        self._own = own
        self._own_now: dict[str, str] | None = None
        self._networks: list[tuple[Network, str]] = []
        self._ranges: list[tuple[int, int, str]] = []  # IPv4, for the quick way
        for entry in (*config.protected, *_ALWAYS):
            network = protected_network(entry)
            self._names[entry.casefold()] = self._names[_entry_host(entry).casefold()] = entry
            self._users.setdefault(_account(entry), entry)
            if network is not None:
                self._listed.append((network, entry))
            elif "." in entry:
                self._shorts.setdefault(entry.partition(".")[0].casefold(), entry)
        self._segments = {
            name.casefold(): [_segment_network(name, text) for text in texts]
            for name, texts in config.segments.items()
        }
        host = socket.gethostname().casefold()
        self._own_hosts = frozenset({host, host.partition(".")[0], "localhost"})
        self._own_pids = frozenset({os.getpid(), os.getppid()})
        self._ways: dict[EntityKind, Callable[[str], str | None]] = {
            EntityKind.WORKLOAD: lambda _name: None,
            EntityKind.USER: self._account,
            EntityKind.SESSION: self._part,
            EntityKind.CREDENTIAL: self._part,
            EntityKind.POD: self._pod,
            EntityKind.PROCESS: self._process,
            EntityKind.HOST: self._host,
            EntityKind.MACHINE: self._host,
            EntityKind.SEGMENT: self._segment,
        }
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
        if whole is not None:
            return whole
        way = self._ways.get(target.kind)
        return way(target.value) if way else self._covering(_host_of(target), strict=True)

    def _account(self, user: str) -> str | None:
        """Find a user: where the domains cannot be compared, the name alone decides."""
        name = _account(user)
        if name in _ALWAYS_USERS:
            return f"{name}, an account that no system runs without"
        everywhere = self._names.get(name)
        if everywhere is not None:
            return everywhere
        entry = self._users.get(name)
        if entry is None or ("\\" in user and "\\" in entry) or ("@" in user and "@" in entry):
            return None  # nobody of that name, or of another domain
        return entry

    def _part(self, text: str) -> str | None:
        """Find a protected name anywhere within what a system composed of names."""
        for part in dict.fromkeys((*_PARTS.split(text), *_ADDRESSES.split(text))):
            found = self._names.get(part.casefold()) or self._covering(part, strict=False)
            if found is None and part:
                found = self._account(part)
            if found is not None:
                return found
        return None

    def _pod(self, pod: str) -> str | None:
        namespace, slash, name = pod.partition("/")
        if not (namespace and slash and name):
            return _NO_HOST
        if namespace == _ALWAYS_NAMESPACE:
            return f"{namespace}, which no cluster runs without"
        return self._names.get(namespace.casefold()) or self._names.get(name.casefold())

    def _process(self, process: str) -> str | None:
        host, slash, number = process.partition("/")
        if not (host and slash and number.isascii() and number.isdecimal() and len(number) <= 10):
            return _NO_HOST
        if int(number) <= 1:
            return "the first process, without which a machine ends"
        own = host.casefold() in self._own_hosts or host in (self._own_now or ())
        if own and int(number) in self._own_pids:
            return "the enforcer itself"
        return self._names.get(host.casefold()) or self._host_of_site(host)

    def _host(self, host: str) -> str | None:
        if host.casefold() in self._own_hosts:
            return f"{host}, this machine"
        return self._host_of_site(host)

    def _host_of_site(self, host: str) -> str | None:
        """Find a host: where either side leaves the domain out, the name alone decides."""
        short = host.partition(".")[0].casefold()
        whole = "." in host
        return (
            self._names.get(short)
            or (None if whole else self._shorts.get(short))
            or self._covering(host, strict=False)
        )

    def _segment(self, name: str) -> str | None:
        networks = self._segments.get(name.casefold())
        if networks is None:
            return _NO_HOST
        return next((found for one in networks if (found := self._overlapping(one))), None)

    def _covering(self, text: str, *, strict: bool) -> str | None:
        number = _ipv4(text)
        if number is not None:  # as nearly all are: no need to build objects
            return next((e for first, last, e in self._ranges if first <= number <= last), None)
        network = _network(text)
        if network is None:
            return _NO_HOST if strict else None
        return self._overlapping(network)

    def _overlapping(self, network: Network) -> str | None:
        for guarded, entry in self._networks:
            if guarded.version == network.version and guarded.overlaps(network):
                return entry
        return None


def protected_network(entry: str) -> Network | None:
    r"""Read an entry of a protected list: the network it names, or None for a host or user.

    An entry is an address, a network, a service (``198.51.100.2:502``, ``[2001:db8::2]:502``,
    ``tcp/198.51.100.2:502``), which stands for its whole address, a host name (RFC 1123), a
    user (``CORP\admin``, ``admin@corp.example``), or a pod (``payments/gateway``).

    Raises:
        InputError: it is none of these.
    """
    host = _entry_host(entry)
    network = _network(host)
    if network is not None and "%" not in entry:
        return network
    if any(form.fullmatch(entry) for form in (_USER_NAME, _POD_NAME)) or _HOST_NAME.fullmatch(host):
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


def _account(user: str) -> str:
    r"""Give a user's name without its domain, folded: ``admin`` of ``CORP\Admin``."""
    return user.rpartition("\\")[2].partition("@")[0].casefold()


def _segment_network(name: str, text: str) -> Network:
    network = _network(text)
    if network is None:
        raise InputError(
            "respond.segment_unknown",
            f"The segment {name!r:.70} holds {text!r:.60}, which is no network.",
            "Write networks such as 10.1.3.0/24 under [segments].",
        )
    return network


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
