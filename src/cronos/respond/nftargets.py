"""Targets of the packet filter: which member of which set stands for a target.

Only the canonical spelling of a target counts, since `observe` must find the same action id
again, and since a command is built of what was parsed here and of nothing else. A network lies
in a set of its prefix length: sets of intervals refuse networks that overlap, and would merge
them where told to, and their leases with them.
"""

import hashlib
import ipaddress
import socket
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Final, NamedTuple

from cronos.types import Entity, EntityKind, Verb, flow_entity

_PROTOCOLS: Final = {"tcp": 6, "udp": 17}
_NUMBERS: Final = {6: "tcp", 17: "udp", "6": "tcp", "17": "udp", "tcp": "tcp", "udp": "udp"}
_BITS: Final = {4: 32, 6: 128}
_SEGMENTS: Final = "segments"
# First and last address of each, as numbers.
_SHARED: Final = {
    version: tuple(
        (int(network.network_address), int(network.broadcast_address))
        for network in map(ipaddress.ip_network, texts)
    )
    for version, texts in (
        (4, ("0.0.0.0/32", "224.0.0.0/4", "255.255.255.255/32")),
        (6, ("::/128", "ff00::/8")),
    )
}
_MARK: Final = struct.Struct("=I")

Scalar = str | int


class Element(NamedTuple):
    """One member of one set, its text made of parsed values only."""

    set_name: str
    key: str


@lru_cache(maxsize=4096)
def element_of(target: Entity, verb: Verb = Verb.DENY) -> Element | None:
    """Give the set and member that stand for doing `verb` to `target`, None for what has none."""
    read = _READERS.get((verb, target.kind))
    return read(target.value) if read is not None else None


def packed(element: Element) -> bytes:
    """Give an element's key as the kernel keeps it: each part filled up to four bytes."""
    if element.set_name == _SEGMENTS:
        return _MARK.pack(int(element.key, 16))
    first, *others = element.key.split(" . ")
    if not others:
        return _bytes_of(first)
    return bytes((int(first), 0, 0, 0)) + b"".join(_padded(part) for part in others)


def target_of(set_name: str, value: Scalar | tuple[Scalar, ...]) -> tuple[Verb, Entity] | None:
    """Read back what a set's member stands for; None for a segment, of which it is but a mark."""
    if isinstance(value, tuple):
        return _from_parts(value)
    if set_name.startswith("net"):
        return Verb.DENY, Entity(EntityKind.NETWORK, f"{value}/{set_name.partition('_')[2]}")
    if set_name == _SEGMENTS:
        return None
    verb = Verb.LIMIT if set_name.startswith("limit") else Verb.DENY
    return verb, Entity(EntityKind.ADDRESS, str(value))


def belongs_to_all(text: str) -> bool:
    """Say whether an address or network holds what many need and nobody is.

    Multicast carries IPv6's neighbour discovery and routing, and 255.255.255.255, 0.0.0.0 and ::
    the giving of addresses: who denies these cuts this machine off, not an attacker.
    """
    try:
        # Nearly all are single IPv4 addresses: no need to build objects.
        begin = end = int.from_bytes(socket.inet_pton(socket.AF_INET, text))
        version = 4
    except (OSError, ValueError):
        try:
            network = ipaddress.ip_network(text)
        except ValueError:
            return False
        begin, end = int(network.network_address), int(network.broadcast_address)
        version = network.version
    return any(begin <= last and first <= end for first, last in _SHARED[version])


def segment_mark(name: str) -> int:
    """Give the number that stands for a segment, the same on every start."""
    return int.from_bytes(hashlib.sha256(b"segment" + name.encode()).digest()[:4])


def prefix_set(set_name: str) -> tuple[int, int] | None:
    """Give version and prefix length of a set of networks, None for any other set."""
    version, _, length = set_name.removeprefix("net").partition("_")
    if not set_name.startswith("net") or version not in ("4", "6") or not length.isdigit():
        return None
    return int(version), int(length)


def mask_of(version: int, length: int) -> str:
    """Give the mask that leaves an address's first `length` bits."""
    kind = ipaddress.IPv4Address if version == 4 else ipaddress.IPv6Address
    bits = _BITS[version]
    return str(kind((1 << bits) - (1 << bits - length)))


def version_of(text: str) -> int:
    """Give 4 or 6 for an address in canonical spelling that a packet can carry, else 0."""
    try:
        address = socket.inet_pton(socket.AF_INET, text)
    except (OSError, ValueError):
        return _version_6(text)
    return 4 if socket.inet_ntop(socket.AF_INET, address) == text else 0


def _version_6(text: str) -> int:
    try:
        address = ipaddress.IPv6Address(text)
    except ValueError:
        return 0
    travels = not address.scope_id and address.ipv4_mapped is None
    return 6 if travels and str(address) == text else 0


def _address(text: str, prefix: str) -> Element | None:
    version = version_of(text)
    return Element(f"{prefix}{version}", text) if version else None


def _segment(text: str) -> Element:
    return Element(_SEGMENTS, f"0x{segment_mark(text):08x}")


def _flow(text: str) -> Element | None:
    protocol, _, rest = text.partition("/")
    client_text, _, server_text = rest.partition(">")
    client, server = _endpoint(client_text), _endpoint(server_text)
    if protocol not in _PROTOCOLS or client is None or server is None:
        return None
    version = version_of(client[0])
    if version != version_of(server[0]) or flow_entity(protocol, *client, *server).value != text:
        return None
    key = f"{_PROTOCOLS[protocol]} . {client[0]} . {client[1]} . {server[0]} . {server[1]}"
    return Element(f"flow{version}", key)


def _service(text: str) -> Element | None:
    protocol, _, rest = text.partition("/")
    server = _endpoint(rest)
    if protocol not in _PROTOCOLS or server is None:
        return None
    if text != f"{protocol}/{server[0]}:{server[1]}":
        return None
    return Element(
        f"service{version_of(server[0])}", f"{_PROTOCOLS[protocol]} . {server[0]} . {server[1]}"
    )


def _network(text: str) -> Element | None:
    address, slash, length = text.partition("/")
    version = version_of(address)
    # `/0` is everything, this machine's own connections included: nothing that is isolated.
    if not slash or not version or not length.isascii() or not length.isdigit():
        return None
    try:
        network = ipaddress.ip_network(text)
    except ValueError:
        return None
    if not network.prefixlen or str(network) != text:
        return None
    return Element(f"net{version}_{network.prefixlen}", address)


def _endpoint(text: str) -> tuple[str, int] | None:
    host, _, port = text.rpartition(":")
    if not version_of(host) or not port.isascii() or not port.isdigit() or len(port) > 5:
        return None
    return (host, int(port)) if int(port) <= 65535 else None


def _padded(part: str) -> bytes:
    if part.isdigit():
        return int(part).to_bytes(2, "big") + b"\0\0"
    return _bytes_of(part)


def _bytes_of(address: str) -> bytes:
    return socket.inet_pton(socket.AF_INET6 if ":" in address else socket.AF_INET, address)


def _from_parts(parts: tuple[Scalar, ...]) -> tuple[Verb, Entity] | None:
    protocol = _NUMBERS.get(parts[0], "other") if parts else "other"
    if len(parts) == 3:
        server, port = parts[1:]
        return Verb.DENY, Entity(EntityKind.SERVICE, f"{protocol}/{server}:{port}")
    if len(parts) == 5:
        client, client_port, server, port = parts[1:]
        flow = flow_entity(protocol, str(client), int(client_port), str(server), int(port))
        return Verb.DENY, flow
    return None


_READERS: Final[dict[tuple[Verb, EntityKind], Callable[[str], Element | None]]] = {
    (Verb.DENY, EntityKind.ADDRESS): lambda text: _address(text, "deny"),
    (Verb.LIMIT, EntityKind.ADDRESS): lambda text: _address(text, "limit"),
    (Verb.DENY, EntityKind.FLOW): _flow,
    (Verb.DENY, EntityKind.SERVICE): _service,
    (Verb.DENY, EntityKind.NETWORK): _network,
    (Verb.DENY, EntityKind.SEGMENT): _segment,
}
