"""Blocks addresses and flows in the kernel's packet filter, in a table of its own.

The table `inet cronos` holds four sets whose elements carry the lease as the kernel's timeout: an
effect ends though every process of ours is dead. Both directions are dropped, in the input,
forward and output hooks, before connection tracking is asked, so that established flows end too.
Commands are built from parsed addresses and numbers, never from text that came from elsewhere.
"""

import ipaddress
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import ClassVar, Final, NamedTuple

import msgspec

from cronos.config import Positive, Section
from cronos.respond.libnftables import Nft, NftError
from cronos.respond.setelements import SetElements
from cronos.types import (
    Ability,
    Action,
    Blast,
    Entity,
    EntityKind,
    Manifest,
    Operation,
    Outcome,
    Plan,
    Reversal,
    Verb,
    action_id,
    flow_entity,
)

_POINT: Final = "nftables"
_TABLE: Final = "inet cronos"
_SETS: Final = {
    "deny4": "ipv4_addr",
    "deny6": "ipv6_addr",
    "flow4": "inet_proto . ipv4_addr . inet_service . ipv4_addr . inet_service",
    "flow6": "inet_proto . ipv6_addr . inet_service . ipv6_addr . inet_service",
}
_RULES: Final = (
    "ip saddr @deny4 drop",
    "ip daddr @deny4 drop",
    "ip6 saddr @deny6 drop",
    "ip6 daddr @deny6 drop",
    "meta l4proto . ip saddr . th sport . ip daddr . th dport @flow4 drop",
    "meta l4proto . ip daddr . th dport . ip saddr . th sport @flow4 drop",
    "meta l4proto . ip6 saddr . th sport . ip6 daddr . th dport @flow6 drop",
    "meta l4proto . ip6 daddr . th dport . ip6 saddr . th sport @flow6 drop",
)
_HOOKS: Final = ("input", "forward", "output")
_PROTOCOLS: Final = {"tcp": 6, "udp": 17}
_NUMBERS: Final = {6: "tcp", 17: "udp", "6": "tcp", "17": "udp", "tcp": "tcp", "udp": "udp"}
_MS_NS: Final = 1_000_000
_TRANSACTION: Final = 2000


class NftablesConfig(Section, frozen=True):
    """Bounds of the sets."""

    max_elements: Positive = 1_048_576
    # Before connection tracking (-200) is too early for some rule sets; -10 precedes filters.
    hook_priority: int = -10


class Element(NamedTuple):
    """One member of one set, its text made of parsed values only."""

    set_name: str
    key: str


class _Member(msgspec.Struct, frozen=True):
    """A set's member as the library lists it: with a timeout it is wrapped in `elem`."""

    concat: tuple[str | int, ...] = ()
    elem: "_Timed | None" = None


class _Timed(msgspec.Struct, frozen=True):
    val: str | _Member


class _Set(msgspec.Struct, frozen=True):
    elem: tuple[str | _Member, ...] = ()


class _Entry(msgspec.Struct, frozen=True):
    set: _Set = _Set()


class _Listing(msgspec.Struct, frozen=True):
    nftables: tuple[_Entry, ...] = ()


_LISTING: Final = msgspec.json.Decoder(_Listing)


class NftablesExecutor:
    """Denies addresses and TCP or UDP flows; one batch is one transaction.

    Raises:
        InputError: libnftables is not installed.
        DeniedError: this process may not change the packet filter.
    """

    manifest = Manifest(
        _POINT,
        "Drops the packets of an address or a flow in this machine's kernel",
        abilities=(
            Ability(
                Verb.DENY,
                EntityKind.ADDRESS,
                "ipv4_net",
                "D3-NTF",
                Reversal.KERNEL,
                Blast.NARROW,
                50,
                risk=0.40,
                efficacy=0.95,
                disruption=0.20,
            ),
            Ability(
                Verb.DENY,
                EntityKind.FLOW,
                "ipv4_connection",
                "D3-NTF",
                Reversal.KERNEL,
                Blast.NARROW,
                50,
                risk=0.30,
                efficacy=0.50,
                disruption=0.05,
            ),
        ),
    )
    config_type: ClassVar[type[Section]] = NftablesConfig

    def __init__(self, config: NftablesConfig) -> None:
        self._config = config
        self._nft = Nft()
        self._set_up()
        self._elements = SetElements(_TABLE.partition(" ")[2])

    def plan(self, actions: Sequence[Action]) -> Sequence[Plan | Outcome]:
        """Find the set and the element of each target; see `Executor.plan`."""
        return [_plan(action) for action in actions]

    def apply(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """Add all elements in one transaction; see `Executor.apply`."""
        return self._transact(plans, _added, Operation.APPLY)

    def verify(self, plans: Sequence[Plan]) -> Sequence[bool]:
        """Ask the kernel for exactly these elements; see `Executor.verify`."""
        elements = [element_of(plan.action.target) for plan in plans]
        asked: dict[str, dict[bytes, Element]] = {}
        for element in elements:
            if element is not None:
                asked.setdefault(element.set_name, {})[_packed(element)] = element
        try:
            there = {
                (name, key)
                for name, keys in asked.items()
                for key in self._elements.held(name, list(keys))
            }
        except OSError:
            return [False] * len(elements)  # not seen is not verified
        return [one is not None and (one.set_name, _packed(one)) in there for one in elements]

    def renew(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """Begin the timeouts anew, without a gap; see `Executor.renew`."""
        return self._transact(plans, _renewed, Operation.RENEW)

    def undo(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """Delete the elements; one that is absent already is deleted; see `Executor.undo`."""
        return self._transact(plans, _deleted, Operation.UNDO)

    def observe(self) -> frozenset[str]:
        """List the sets and name what is in them; see `Executor.observe`."""
        found: set[str] = set()
        for name in _SETS:
            try:
                listing = self._nft.run(f"list set {_TABLE} {name}")
            except NftError:
                continue  # the table is gone, and every effect with it
            found.update(action_id(_POINT, Verb.DENY, target) for target in _targets(listing))
        return frozenset(found)

    def close(self) -> None:
        """Free the library's context and the socket; the table stays, with its leases."""
        self._nft.close()
        self._elements.close()

    def _set_up(self) -> None:
        """Make table, sets and rules, keeping elements that an earlier process added."""
        size = self._config.max_elements
        lines = [f"add table {_TABLE}"]
        lines += [
            f"add set {_TABLE} {name} {{ type {kind}; flags timeout; size {size}; }}"
            for name, kind in _SETS.items()
        ]
        for hook in _HOOKS:
            priority = self._config.hook_priority
            lines.append(
                f"add chain {_TABLE} {hook} "
                f"{{ type filter hook {hook} priority {priority}; policy accept; }}"
            )
            lines.append(f"flush chain {_TABLE} {hook}")
            lines += [f"add rule {_TABLE} {hook} {rule}" for rule in _RULES]
        self._nft.run("\n".join(lines))

    def _transact(
        self, plans: Sequence[Plan], commands: Callable[[Sequence[Plan]], str], operation: Operation
    ) -> Sequence[Outcome]:
        """Run one transaction per `_TRANSACTION` plans: netlink bounds the length of a message."""
        outcomes: list[Outcome] = []
        for at in range(0, len(plans), _TRANSACTION):
            part = plans[at : at + _TRANSACTION]
            why = self._refusal(commands(part))
            outcomes += [
                _said(plan, operation, why or _done(plan, operation), ok=why is None)
                for plan in part
            ]
        return outcomes

    def _refusal(self, commands: str) -> str | None:
        """Run commands; where the table was removed, make it again and try once more."""
        try:
            try:
                self._nft.run(commands)
            except NftError:
                self._set_up()
                self._nft.run(commands)
        except NftError as error:
            return str(error)
        return None


@lru_cache(maxsize=4096)
def element_of(target: Entity) -> Element | None:
    """Give the set and member of an address or flow, None for anything else.

    Only the canonical spelling counts: `observe` must find the same action id again.
    """
    if target.kind is EntityKind.ADDRESS:
        version = _version(target.value)
        return Element(f"deny{version}", target.value) if version else None
    if target.kind is not EntityKind.FLOW:
        return None
    protocol, _, rest = target.value.partition("/")
    client_text, _, server_text = rest.partition(">")
    client, server = _endpoint(client_text), _endpoint(server_text)
    if protocol not in _PROTOCOLS or client is None or server is None:
        return None
    version = _version(client[0])
    if version != _version(server[0]) or flow_entity(protocol, *client, *server) != target:
        return None
    key = f"{_PROTOCOLS[protocol]} . {client[0]} . {client[1]} . {server[0]} . {server[1]}"
    return Element(f"flow{version}", key)


def _packed(element: Element) -> bytes:
    """Give an element's key as the kernel keeps it: each part filled up to four bytes."""
    if element.set_name.startswith("deny"):
        return ipaddress.ip_address(element.key).packed
    protocol, client, client_port, server, port = element.key.split(" . ")
    return b"".join(
        (
            bytes((int(protocol), 0, 0, 0)),
            ipaddress.ip_address(client).packed,
            int(client_port).to_bytes(2, "big") + b"\0\0",
            ipaddress.ip_address(server).packed,
            int(port).to_bytes(2, "big") + b"\0\0",
        )
    )


def _plan(action: Action) -> Plan | Outcome:
    element = element_of(action.target)
    if element is None or action.verb is not Verb.DENY:
        return Outcome(
            action.action_id,
            action.incident_id,
            Operation.APPLY,
            ok=False,
            verified=False,
            detail=f"nftables cannot {action.verb} {action.target.kind} {action.target.value}: it "
            "denies addresses and TCP or UDP flows, in canonical spelling.",
        )
    recipe = msgspec.json.encode({"table": _TABLE, "set": element.set_name, "element": element.key})
    return Plan(
        action,
        recipe,
        f"drop all packets of {action.target.value} in table {_TABLE}",
        f"nft delete element {_TABLE} {element.set_name} {{ {element.key} }}",
        kernel_timeout=True,
    )


def _added(plans: Sequence[Plan]) -> str:
    return "".join(
        f"add element {_TABLE} {name} {{ {', '.join(members)} }}\n"
        for name, members in _by_set(plans, timed=True).items()
    )


def _deleted(plans: Sequence[Plan]) -> str:
    """Add, then delete: so the deletion succeeds whether or not the element was there."""
    return "".join(
        f"{verb} element {_TABLE} {name} {{ {', '.join(members)} }}\n"
        for name, members in _by_set(plans, timed=False).items()
        for verb in ("add", "delete")
    )


def _renewed(plans: Sequence[Plan]) -> str:
    """Delete and add within one transaction: older kernels keep a present element's timeout."""
    return _deleted(plans) + _added(plans)


def _by_set(plans: Iterable[Plan], *, timed: bool) -> dict[str, list[str]]:
    """Give the members of each set, each once: the last plan's lease counts."""
    members: dict[str, dict[str, str]] = {}
    for plan in plans:
        element = element_of(plan.action.target)
        if element is not None:
            lease_ms = max(1, -(-plan.action.lease_ns // _MS_NS))
            text = f"{element.key} timeout {lease_ms}ms" if timed else element.key
            members.setdefault(element.set_name, {})[element.key] = text
    return {name: list(texts.values()) for name, texts in members.items()}


def _targets(listing: str) -> Iterator[Entity]:
    """Read the targets out of the JSON that the library gives for one set."""
    for entry in _LISTING.decode(listing).nftables:
        for member in entry.set.elem:
            value = member
            if isinstance(value, _Member) and value.elem is not None:
                value = value.elem.val
            if isinstance(value, str):
                yield Entity(EntityKind.ADDRESS, value)
            elif len(value.concat) == 5:
                number, client, client_port, server, port = value.concat
                protocol = _NUMBERS.get(number, "other")
                yield flow_entity(protocol, str(client), int(client_port), str(server), int(port))


def _version(text: str) -> int:
    """Give 4 or 6 for an address in canonical spelling that a packet can carry, else 0."""
    try:
        packed = socket.inet_pton(socket.AF_INET, text)
    except (OSError, ValueError):
        return _version_6(text)
    return 4 if socket.inet_ntop(socket.AF_INET, packed) == text else 0


def _version_6(text: str) -> int:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return 0
    travels = not address.scope_id and address.ipv4_mapped is None
    return 6 if travels and str(address) == text else 0


def _endpoint(text: str) -> tuple[str, int] | None:
    host, _, port = text.rpartition(":")
    if not _version(host) or not port.isascii() or not port.isdigit() or len(port) > 5:
        return None
    return (host, int(port)) if int(port) <= 65535 else None


def _done(plan: Plan, operation: Operation) -> str:
    if operation is Operation.UNDO:
        return f"{plan.action.target.value} passes again."
    return f"{plan.action.target.value} is dropped for {plan.action.lease_ns / 1e9:.1f} s."


def _said(plan: Plan, operation: Operation, detail: str, *, ok: bool) -> Outcome:
    return Outcome(
        plan.action.action_id,
        plan.action.incident_id,
        operation,
        ok=ok,
        verified=False,
        detail=detail,
        undo=plan.undo_summary,
    )
