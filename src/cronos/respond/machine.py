"""This machine's own addresses, its gateways and its resolvers: what it must never cut itself off.

Read from the kernel's tables under /proc (Linux) and from resolv.conf. What is not there or
cannot be read adds nothing: a machine without IPv6 has no table of it.
"""

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Final

# A table longer than this is a router's; its own addresses stand in the other tables.
_MAX_BYTES: Final = 16 << 20
_MAX_ADDRESSES: Final = 10_000
_RESOLV_CONF: Final = Path("/etc/resolv.conf")
_NET: Final = Path("/proc/self/net")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def own_addresses(net: Path = _NET, resolv_conf: Path = _RESOLV_CONF) -> dict[str, str]:
    """Give each address this machine cannot do without, and what it is to it.

    Of the loopback network only 127.0.0.1 and ::1 count, and resolvers in it.
    """
    found: dict[str, str] = {}
    for address, what in _found(net, resolv_conf):
        if len(found) >= _MAX_ADDRESSES:
            break
        if not address.is_unspecified:
            found.setdefault(str(address), what)
    return found


def _found(net: Path, resolv_conf: Path) -> Iterator[tuple[Address, str]]:
    for address in _local_v4(_lines(net / "fib_trie")):
        if not address.is_loopback:
            yield address, "an address of this machine"
    for number in _numbers(net / "if_inet6", 0, 32):
        yield ipaddress.IPv6Address(number), "an address of this machine"
    for number in _numbers(net / "route", 2, 8):
        # Written in the byte order of the machine: little-endian wherever this runs.
        yield ipaddress.IPv4Address(number.to_bytes(4, "little")), "a gateway of this machine"
    for number in _numbers(net / "ipv6_route", 4, 32):
        yield ipaddress.IPv6Address(number), "a gateway of this machine"
    for resolver in _resolvers(_lines(resolv_conf)):
        yield resolver, "a resolver of this machine"


def _resolvers(lines: list[list[str]]) -> Iterator[Address]:
    for fields in lines:
        if len(fields) > 1 and fields[0] == "nameserver":
            try:
                yield ipaddress.ip_address(fields[1].partition("%")[0])
            except ValueError:
                continue


def _local_v4(lines: list[list[str]]) -> Iterator[ipaddress.IPv4Address]:
    """Find what /proc/net/fib_trie calls ``/32 host LOCAL`` below ``|-- 192.0.2.2``."""
    leaf = ""
    for fields in lines:
        if len(fields) == 2 and fields[0] == "|--":
            leaf = fields[1]
        elif fields == ["/32", "host", "LOCAL"]:
            try:
                yield ipaddress.IPv4Address(leaf)
            except ValueError:
                continue


def _numbers(path: Path, place: int, digits: int) -> Iterator[int]:
    """Read one column of hex numbers, all of one length."""
    for fields in _lines(path):
        if len(fields) > place and len(fields[place]) == digits:
            try:
                yield int(fields[place], 16)
            except ValueError:
                continue


def _lines(path: Path) -> list[list[str]]:
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_BYTES).decode("ascii", "replace")
    except OSError:
        return []
    return [line.split() for line in text.splitlines()]
