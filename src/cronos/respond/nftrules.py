"""The table of the packet filter: its sets, its rules, and the commands that make them.

    input, forward, output ─▶ address, flow, service and rate, one lookup each
                           ├▶ chain `networks`: for each prefix length in use, one set and a mask
                           └▶ chain `segments`: what enters or leaves a segment that is cut off

Our chains come before those that accept what is established, and a drop is final whoever else
accepts, so that established flows end too. A rule of
`segments` looks whether the segment's mark is in the set `segments`, whose elements time out like
all others: it makes the mark out of the packet's by masking all of it away, and changes no packet.
"""

import ipaddress
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

from cronos.errors import InputError
from cronos.respond.nftargets import mask_of, prefix_set, segment_mark

TABLE: Final = "inet cronos"
SETS: Final = {
    "deny4": "ipv4_addr",
    "deny6": "ipv6_addr",
    "flow4": "inet_proto . ipv4_addr . inet_service . ipv4_addr . inet_service",
    "flow6": "inet_proto . ipv6_addr . inet_service . ipv6_addr . inet_service",
    "service4": "inet_proto . ipv4_addr . inet_service",
    "service6": "inet_proto . ipv6_addr . inet_service",
    "limit4": "ipv4_addr",
    "limit6": "ipv6_addr",
    "segments": "mark",
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
    "meta l4proto . ip daddr . th dport @service4 drop",
    "meta l4proto . ip saddr . th sport @service4 drop",
    "meta l4proto . ip6 daddr . th dport @service6 drop",
    "meta l4proto . ip6 saddr . th sport @service6 drop",
    "jump networks",
    "jump segments",
    # Last, so that what is dropped anyway does not use up what an address may send.
    "ip saddr @limit4 drop",
    "ip daddr @limit4 drop",
    "ip6 saddr @limit6 drop",
    "ip6 daddr @limit6 drop",
)
_HOOKS: Final = ("input", "forward", "output")
_MAX_SEGMENTS: Final = 256
_MAX_NETWORKS: Final = 1024

Segments = Mapping[str, tuple[str, ...]]


class Segment:
    """A named part of the plant's network: where it is, and what stands for it in the filter.

    Raises:
        InputError: one of its networks is none, or it has none or too many.
    """

    def __init__(self, name: str, networks: Iterable[str]) -> None:
        self.name = name
        self.mark = segment_mark(name)
        self.members: dict[int, list[str]] = {}
        given = list(networks)
        if not 0 < len(given) <= _MAX_NETWORKS or not name.isprintable():
            raise _invalid(f"The segment {name!r:.80} has {len(given)} networks.")
        try:
            parsed = [ipaddress.ip_network(text) for text in given]
        except ValueError as error:
            raise _invalid(f"The segment {name!r:.80} names no network: {error}.") from error
        # Intervals of one set may not overlap.
        fours = [one for one in parsed if isinstance(one, ipaddress.IPv4Network)]
        sixes = [one for one in parsed if isinstance(one, ipaddress.IPv6Network)]
        if fours:
            self.members[4] = [str(one) for one in ipaddress.collapse_addresses(fours)]
        if sixes:
            self.members[6] = [str(one) for one in ipaddress.collapse_addresses(sixes)]

    def commands(self) -> Iterator[str]:
        """Give the commands that make its sets anew and add its rules."""
        mark = f"meta mark & 0x0 | 0x{self.mark:08x} @segments"
        for version, networks in self.members.items():
            name, ip = f"segment{version}_{self.mark:08x}", "ip" if version == 4 else "ip6"
            kind = f"ipv{version}_addr"
            yield f"add set {TABLE} {name} {{ type {kind}; flags interval; }}"
            yield f"flush set {TABLE} {name}"
            yield f"add element {TABLE} {name} {{ {', '.join(networks)} }}"
            for one, other in (("saddr", "daddr"), ("daddr", "saddr")):
                rule = f"{mark} {ip} {one} @{name} {ip} {other} != @{name} drop"
                yield f"add rule {TABLE} segments {rule}"


def segments_of(table: Segments) -> dict[int, Segment]:
    """Read the table of segments, by the mark of each.

    Raises:
        InputError: a segment is not understood, or there are too many.
    """
    if len(table) > _MAX_SEGMENTS:
        raise _invalid(f"There are {len(table)} segments, more than {_MAX_SEGMENTS}.")
    read = [Segment(name, networks) for name, networks in table.items()]
    marked = {segment.mark: segment for segment in read}
    if len(marked) < len(read):
        raise _invalid("Two segments share a mark.")
    return marked


def skeleton(max_elements: int, priority: int) -> Iterator[str]:
    """Give the commands that make table, sets and base chains, keeping elements that are there."""
    yield f"add table {TABLE}"
    for name, kind in SETS.items():
        flags = "dynamic, timeout" if name.startswith("limit") else "timeout"
        yield f"add set {TABLE} {name} {{ type {kind}; flags {flags}; size {max_elements}; }}"
    for chain in ("networks", "segments"):
        yield f"add chain {TABLE} {chain}"
        yield f"flush chain {TABLE} {chain}"
    for hook in _HOOKS:
        yield (
            f"add chain {TABLE} {hook} "
            f"{{ type filter hook {hook} priority {priority}; policy accept; }}"
        )
        yield f"flush chain {TABLE} {hook}"
        for rule in _RULES:
            yield f"add rule {TABLE} {hook} {rule}"


def prefix_commands(set_name: str, max_elements: int) -> Iterator[str]:
    """Give the commands that make the set of one prefix length and add its rules."""
    found = prefix_set(set_name)
    if found is None:
        return
    version, length = found
    ip, mask = "ip" if version == 4 else "ip6", mask_of(version, length)
    kind = f"ipv{version}_addr"
    yield f"add set {TABLE} {set_name} {{ type {kind}; flags timeout; size {max_elements}; }}"
    for side in ("saddr", "daddr"):
        yield f"add rule {TABLE} networks {ip} {side} & {mask} @{set_name} drop"


def is_segment_set(set_name: str) -> bool:
    """Say whether a set holds the networks of a segment."""
    return set_name.startswith(("segment4_", "segment6_"))


def _invalid(what: str) -> InputError:
    return InputError(
        "respond.segment_invalid",
        what,
        'Write [segments] as lists of networks: cell-3 = ["10.1.3.0/24"].',
    )
