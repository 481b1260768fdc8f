"""Packets: find the transport layer in a captured frame.

`decode` gives a plain tuple: one is made for every packet of a capture, and a named class costs
three times as much. Ethernet with IPv4 without options, or IPv6 without extension headers, is
read here by one `struct` call. Everything else goes through dpkt, which takes some ten times as
long; `bench/bench_capture.py` prints both. Checksums are not verified: network cards compute
them after the capture point, so that correct packets look wrong.
"""

import struct
from collections.abc import Callable
from socket import AF_INET6, inet_ntoa, inet_ntop
from typing import Any, Final, TypeAlias, cast

import dpkt  # pyright: ignore[reportMissingTypeStubs] - it has none; typed by the casts below

from cronos.link.fragments import Fragments

ICMP, TCP, UDP, ICMPV6 = 1, 6, 17, 58
FIN, SYN, RST, ACK = 0x01, 0x02, 0x04, 0x10

# protocol, key, seq, ack, flags, payload bytes on the wire, payload as captured.
# The key is source, destination, source port, destination port as they stand in the packet:
# 12 bytes for IPv4, 36 for IPv6; ICMP has the two addresses alone.
Transport: TypeAlias = tuple[int, bytes, int, int, int, int, bytes]

_ETHERNET, _NULL, _RAW, _LOOP, _SLL, _SLL2 = 1, 0, 101, 108, 113, 276
_RAW_LINKS: Final = (_RAW, 12, 14, 228, 229)
_IPV4, _IPV6 = 0x0800, 0x86DD
# Where a link type keeps its EtherType, and where the payload begins.
_ETHERTYPE_AT: Final = {_ETHERNET: (12, 14), _SLL: (14, 16), _SLL2: (0, 20)}
_VLAN_TYPES: Final = (0x8100, 0x88A8, 0x9100, 0x9200)
_MPLS_TYPES: Final = (0x8847, 0x8848)
_PPPOE: Final = 0x8864
_MAPPED: Final = bytes(10) + b"\xff\xff"
_MAX_TAGS: Final = 8  # VLAN tags or MPLS labels before a frame is given up

_ETHERTYPE: Final = struct.Struct("!12xH")
_FIXED_V4: Final = struct.Struct("!BxH2xHxB2x12sIIBB")
_FIXED_V6: Final = struct.Struct("!I HBx 36sIIBB")

# dpkt has no types: these are its parsers, seen from here. What they raise is in _MALFORMED.
_Layer: TypeAlias = Any
_parse_ip4 = cast("Callable[[bytes], _Layer]", dpkt.ip.IP)
_parse_ip6 = cast("Callable[[bytes], _Layer]", dpkt.ip6.IP6)
_parse_tcp = cast("Callable[[bytes], _Layer]", dpkt.tcp.TCP)
_parse_udp = cast("Callable[[bytes], _Layer]", dpkt.udp.UDP)
_DPKT_ERROR = cast("type[Exception]", dpkt.Error)
_MALFORMED: Final = (
    _DPKT_ERROR,
    struct.error,
    LookupError,
    ValueError,
    AttributeError,
    TypeError,
    NotImplementedError,  # dpkt on IPv6 ESP
)


class PacketDecoder:
    """Decodes the packets of one capture; keeps IP fragments until they are whole, bounded.

    `unread` counts packets that carry IP but no readable transport; `other` those without IP.
    """

    def __init__(self) -> None:
        self._fragments = Fragments()
        self.unread = 0
        self.other = 0

    @property
    def fragments_dropped(self) -> int:
        """How many fragmented datagrams were given up."""
        return self._fragments.dropped

    def decode(self, buffer: bytes, start: int, end: int, link: int) -> Transport | None:
        """Give the transport layer of the frame at ``buffer[start:end]``, or None."""
        if link == _ETHERNET and end - start >= 48:
            (ethertype,) = _ETHERTYPE.unpack_from(buffer, start)
            at = start + 14
            if ethertype == _IPV4:
                found = _fast_v4(buffer, at, end)
            elif ethertype == _IPV6:
                found = _fast_v6(buffer, at, end)
            else:
                found = None
            if found:
                return found
        try:
            version, at = _network(buffer, start, end, link)
            if version == 4:
                return self._general_v4(buffer[at:end])
            if version == 6:
                return self._general_v6(buffer[at:end])
        except _MALFORMED:
            self.unread += 1
            return None
        self.other += 1
        return None

    def _general_v4(self, packet: bytes) -> Transport | None:
        ip = _parse_ip4(packet)
        header = (ip._v_hl & 15) * 4  # noqa: SLF001 - the field's public name in dpkt
        whole = ip.len or len(packet)
        payload = packet[header:whole]
        ends = bytes(ip.src) + bytes(ip.dst)
        offset = (ip._flags_offset & 0x1FFF) * 8  # noqa: SLF001
        more = bool(ip._flags_offset & 0x2000)  # noqa: SLF001
        if offset or more:
            key = ends + bytes((ip.p,)) + ip.id.to_bytes(2, "big")
            joined = self._fragments.add(key, offset, payload, more)
            return self._transport(ip.p, ends, joined, len(joined)) if joined else None
        return self._transport(ip.p, ends, payload, whole - header)

    def _general_v6(self, packet: bytes) -> Transport | None:
        ip = _parse_ip6(packet)
        headers: list[_Layer] = ip.all_extension_headers
        header = 40 + sum(int(extension.length) for extension in headers)
        whole = 40 + ip.plen if ip.plen else len(packet)
        payload = packet[header:whole]
        ends = bytes(ip.src) + bytes(ip.dst)
        for extension in headers:
            if extension.__class__.__name__ == "IP6FragmentHeader" and (
                extension.frag_off or extension.m_flag
            ):
                key = ends + bytes((ip.p,)) + extension.id.to_bytes(4, "big")
                offset = int(extension.frag_off) * 8
                joined = self._fragments.add(key, offset, payload, bool(extension.m_flag))
                return self._transport(ip.p, ends, joined, len(joined)) if joined else None
        return self._transport(ip.p, ends, payload, whole - header)

    def _transport(self, protocol: int, ends: bytes, data: bytes, length: int) -> Transport | None:
        if protocol == TCP:
            tcp = _parse_tcp(data)
            header = (data[12] >> 4) * 4
            flags = int(tcp.flags) & 0xFF
            length = max(length - header, 0)
            return TCP, ends + data[:4], tcp.seq, tcp.ack, flags, length, data[header:]
        if protocol == UDP:
            udp = _parse_udp(data)
            return UDP, ends + data[:4], 0, 0, 0, max(length - 8, 0), data[8 : udp.ulen or None]
        if protocol in (ICMP, ICMPV6):
            return protocol, ends, 0, 0, 0, length, data
        self.unread += 1
        return None


def _fast_v4(buffer: bytes, at: int, end: int) -> Transport | None:
    version, total, fragment, protocol, key, seq, ack, offset, flags = _FIXED_V4.unpack_from(
        buffer, at
    )
    if version != 0x45 or fragment & 0x3FFF or total < 40:
        return None
    stop = at + total
    if protocol == TCP:
        begin = at + 20 + (offset >> 4) * 4
        if offset >= 0x50 and begin <= stop:
            payload = buffer[begin : min(stop, end)]
            return TCP, key, seq, ack, flags, stop - begin, payload
    elif protocol == UDP:
        return UDP, key, 0, 0, 0, total - 28, buffer[at + 28 : min(stop, end)]
    return None


def _fast_v6(buffer: bytes, at: int, end: int) -> Transport | None:
    if end - at < _FIXED_V6.size:
        return None
    version, total, protocol, key, seq, ack, offset, flags = _FIXED_V6.unpack_from(buffer, at)
    if version >> 28 != 6 or total < 20:
        return None
    stop = at + 40 + total
    if protocol == TCP:
        begin = at + 40 + (offset >> 4) * 4
        if offset >= 0x50 and begin <= stop:
            payload = buffer[begin : min(stop, end)]
            return TCP, key, seq, ack, flags, stop - begin, payload
    elif protocol == UDP:
        return UDP, key, 0, 0, 0, total - 8, buffer[at + 48 : min(stop, end)]
    return None


def _network(buffer: bytes, start: int, end: int, link: int) -> tuple[int, int]:
    """Find the network layer: IP version (0: no IP) and where it begins.

    Raises:
        LookupError: the frame ends within its link header.
    """
    if end <= start:
        return 0, start
    if link in _ETHERTYPE_AT:
        type_at, payload_at = _ETHERTYPE_AT[link]
        return _tagged(_word(buffer, start + type_at, end), buffer, start + payload_at, end)
    if link in _RAW_LINKS:
        return _version(buffer, start, end), start
    if link in (_NULL, _LOOP):
        return _version(buffer, start + 4, end), start + 4
    return 0, start


def _tagged(ethertype: int, buffer: bytes, at: int, end: int) -> tuple[int, int]:
    """Step over VLAN tags, MPLS labels and PPPoE."""
    for _ in range(_MAX_TAGS):
        if ethertype in _VLAN_TYPES:
            ethertype = _word(buffer, at + 2, end)
            at += 4
        elif ethertype in _MPLS_TYPES:
            bottom = _word(buffer, at + 2, end) & 0x100
            at += 4
            if bottom:
                return _version(buffer, at, end), at
        elif ethertype == _PPPOE:
            return _version(buffer, at + 8, end), at + 8
        else:
            break
    return {_IPV4: 4, _IPV6: 6}.get(ethertype, 0), at


def _word(buffer: bytes, at: int, end: int) -> int:
    if at + 2 > end:
        raise IndexError(at)
    return buffer[at] << 8 | buffer[at + 1]


def _version(buffer: bytes, at: int, end: int) -> int:
    if at >= end:
        raise IndexError(at)
    version = buffer[at] >> 4
    return version if version in (4, 6) else 0


def reverse(key: bytes) -> bytes:
    """Give the key of packets that go the other way."""
    if len(key) == 12:
        return key[4:8] + key[:4] + key[10:12] + key[8:10]
    if len(key) == 36:
        return key[16:32] + key[:16] + key[34:36] + key[32:34]
    half = len(key) // 2
    return key[half:] + key[:half]


def endpoints(key: bytes) -> tuple[str, int, str, int]:
    """Give source address and port, destination address and port; ports are 0 for ICMP."""
    size = 4 if len(key) in (8, 12) else 16
    ports = key[2 * size :] or b"\0\0\0\0"
    source_port, port = struct.unpack("!HH", ports)
    return spell(key[:size]), source_port, spell(key[size : 2 * size]), port


def spell(address: bytes) -> str:
    """Give the one spelling of an address; IPv4 mapped into IPv6 is IPv4."""
    if len(address) == 4:
        return inet_ntoa(address)
    mapped = address[:12] == _MAPPED
    return inet_ntoa(address[12:]) if mapped else inet_ntop(AF_INET6, address)
