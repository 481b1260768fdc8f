"""Captures become services: packets are ordered, streams cut, and what speaks to one port grouped.

Retransmissions and packets out of order end in `cronos.link.reassembly`; a hole begins a new run,
so that no message is made of bytes that did not follow one another. Memory is bounded by
`Bounds`; what is beyond is counted and said.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, NamedTuple, TypeAlias

import msgspec

from cronos.discover.conversations import Connection, Ports
from cronos.discover.filters import Ends, Test
from cronos.discover.framing import Run, cut
from cronos.discover.messages import Message, Service
from cronos.discover.model import Limits
from cronos.discover.unpack import Readable
from cronos.errors import InputError
from cronos.link.capture import CaptureReader, Packet
from cronos.link.packets import (
    ICMP,
    ICMPV6,
    TCP,
    UDP,
    PacketDecoder,
    Transport,
    endpoints,
    reverse,
    spell,
)
from cronos.ports import Clock

_READ_BYTES: Final = 1 << 18
_NAMES: Final = {TCP: "tcp", UDP: "udp", ICMP: "icmp", ICMPV6: "icmp"}
_ETHERNET: Final = 1
_VLANS: Final = frozenset({0x8100, 0x88A8})
_MIN_ETHERTYPE: Final = 0x600
# Besides a payload, what a message costs in memory; a connection, before it has sent anything.
MESSAGE_BYTES: Final = 400
_CONNECTION_BYTES: Final = 600
_S_NS: Final = 1e9
_MIB: Final = 1 << 20
# A message costs some five times its bytes while it is put in order, cut and handed on.
_SHARE_KEPT: Final = 6


# Shares of the time after which nothing more is read, and no rule is looked for any more.
READ_SHARE: Final = 0.4
CUT_SHARE: Final = 0.7


def _in_time(_share: float) -> bool:
    return False


class Bounds(msgspec.Struct, frozen=True):
    """How much of an input is kept, and how long it is read."""

    max_bytes: int = 256 << 20
    max_messages: int = 500_000
    max_connections: int = 50_000
    late: Callable[[float], bool] = _in_time
    """Says whether this share of the time is spent."""


def bounds_of(limits: Limits, clock: Clock) -> Bounds:
    """Give what may be read within limits, from now on."""
    kept = limits.max_memory_mb * _MIB // _SHARE_KEPT
    began_ns = clock.now().boot_ns

    def late(share: float) -> bool:
        return clock.now().boot_ns - began_ns > share * limits.max_seconds * _S_NS

    return Bounds(kept, min(Bounds().max_messages, kept // MESSAGE_BYTES), late=late)


class _Datagram(NamedTuple):
    ts: float
    key: bytes
    protocol: int
    data: bytes


class _Frame(NamedTuple):
    """What has no ports: another protocol over IP, or none."""

    ts: float
    ends: Ends
    data: bytes


_Filed: TypeAlias = dict[str, list[Message]]


def read_capture(source: Readable, head: bytes, wanted: Test, bounds: Bounds) -> list[Service]:
    """Read a capture to its end and give its services, the one with most messages first.

    Raises:
        InputError: it is no capture, or nothing in it passes the filter.
    """
    reader, collector = CaptureReader(), Collector(wanted, bounds)
    data = head or source.read(_READ_BYTES)
    while data and not reader.broken and not collector.full:
        collector.packets(reader.feed(data), reader.buffer)
        if bounds.late(READ_SHARE):
            collector.remark(f"The time was up: only the first {collector.seen} packets were read.")
            break
        data = source.read(_READ_BYTES)
    if not collector.seen:
        why = reader.broken or "no packet in it can be read"
        raise InputError(
            "discover.no_capture",
            f"The input cannot be read as a capture: {why}.",
            "Give a pcap or pcapng file, or JSON lines with payload_hex.",
        )
    if reader.broken:
        collector.remark(f"The capture breaks off at byte {reader.offset}: {reader.broken}.")
    elif reader.rest:
        collector.remark("The capture ends within a packet; what comes before was read.")
    services = collector.services()
    if not services:
        raise InputError(
            "discover.nothing_wanted",
            f"None of the {collector.seen} packets passes the filter and carries anything.",
            "Leave the filter out to see which services the capture holds.",
        )
    return services


class Collector:
    """Keeps what passes the filter until the capture ends."""

    def __init__(self, wanted: Test, bounds: Bounds) -> None:
        self._wanted = wanted
        self._bounds = bounds
        self._decoder = PacketDecoder()
        self._ports = Ports()
        self._connections: OrderedDict[bytes, Connection] = OrderedDict()
        self._ended: list[Connection] = []
        self._datagrams: list[_Datagram] = []
        self._frames: list[_Frame] = []
        self._bytes = 0
        self._cut_short = 0
        self._remarks: list[str] = []
        self._last_s = 0.0
        self.seen = 0
        self.full = False

    def remark(self, sentence: str) -> None:
        """Add what people should know of the reading."""
        self._remarks.append(sentence)

    def packets(self, packets: list[Packet], buffer: bytes) -> None:
        """Take packets that lie in `buffer`."""
        for time_ns, link, start, end in packets:
            self.seen += 1
            if self.full:
                continue
            ts = self._last_s = time_ns / _S_NS
            found = self._decoder.decode(buffer, start, end, link)
            if found is None:
                self._other(ts, buffer[start:end], link)
            else:
                self._transport(ts, found)
            if self._bytes > self._bounds.max_bytes:
                self.full = True
                self.remark(f"Only the first {self.seen} packets were read: more are too many.")

    def _transport(self, ts: float, found: Transport) -> None:
        protocol, key, _, _, _, length, payload = found
        source, source_port, destination, port = endpoints(key)
        if not self._wanted(Ends(_NAMES[protocol], source, source_port, destination, port)):
            return
        self._cut_short += len(payload) < length
        if protocol == TCP:
            self._segment(ts, found)
        elif payload:
            self._datagrams.append(_Datagram(ts, key, protocol, payload))
            self._bytes += len(payload) + MESSAGE_BYTES
            if protocol == UDP:
                self._ports.note(protocol, key)

    def _segment(self, ts: float, found: Transport) -> None:
        name = min(found[1], reverse(found[1]))
        connection = self._connections.get(name)
        if connection is not None and connection.starts_anew(found):
            self._end(name)
            connection = None
        if connection is None:
            connection = self._connections[name] = Connection(found[1])
            self._ports.note(TCP, found[1])
            self._bytes += _CONNECTION_BYTES
            if len(self._connections) > self._bounds.max_connections:
                self._end(next(iter(self._connections)))
        before = connection.kept
        connection.segment(found, ts)
        kept = connection.kept - before
        self._bytes += kept + (MESSAGE_BYTES if kept else 0)

    def _end(self, name: bytes) -> None:
        """Look at a connection no more; keep it if it sent anything."""
        connection = self._connections.pop(name)
        if connection.kept:
            self._ended.append(connection)
        else:
            self._bytes -= _CONNECTION_BYTES // 2  # its ports stay known

    def _other(self, ts: float, frame: bytes, link: int) -> None:
        found = _without_ports(frame) if link == _ETHERNET else None
        if found is not None and self._wanted(found[0]) and found[1]:
            self._frames.append(_Frame(ts, *found))
            self._bytes += len(found[1]) + MESSAGE_BYTES

    def services(self) -> list[Service]:
        """Group, cut and order everything."""
        rules: dict[str, str] = {}
        filed: _Filed = {}
        self._file_streams(filed, rules)
        self._file_datagrams(filed)
        self._file_frames(filed)
        if self._cut_short:
            self.remark(f"{self._cut_short} packets were captured only in part (snaplen).")
        numbered = _numbered(filed, self._bounds.max_messages)
        remarks = tuple(self._remarks)
        return [
            Service(
                name,
                tuple(message for _, message in of),
                tuple(number for number, _ in of),
                rules.get(name, ""),
                remarks,
            )
            for name, of in sorted(numbered.items(), key=lambda item: (-len(item[1]), item[0]))
            if of
        ]

    def _file_streams(self, filed: _Filed, rules: dict[str, str]) -> None:
        """Cut the streams of each service together: a rule has to explain all its connections."""
        runs: dict[str, list[Run]] = {}
        whose: list[Message] = []
        holes = 0
        for connection in (*self._ended, *self._connections.values()):
            connection.finish(self._last_s)
            if connection.client_first is not None:
                forward = connection.client_first
            else:
                forward = self._ports.server_second(TCP, connection.key)
            holes += connection.sides[0].holes + connection.sides[1].holes
            client = connection.key if forward else reverse(connection.key)
            name = f"tcp/{endpoints(client)[3]}"
            runs.setdefault(name, []).extend(connection.runs(len(whose), forward=forward))
            there, back = _template(client, "c2s"), _template(client, "s2c")
            whose += [there, back] if forward else [back, there]
        most = self._bounds.max_messages
        # The service that sent most first: of the others fewer may be had, or with less care.
        for name, of in sorted(runs.items(), key=_weight, reverse=True):
            done = cut(of, lambda: self._bounds.late(CUT_SHARE), most)
            if len(done.pieces) >= most:
                self.remark(f"{name}: only its first {len(done.pieces)} messages are told.")
            most -= len(done.pieces)
            rules[name] = done.rule
            messages = [
                msgspec.structs.replace(whose[piece.number], payload=piece.data, ts=piece.ts)
                for piece in done.pieces
            ]
            filed.setdefault(name, []).extend(messages)
            if done.left_bytes:
                self.remark(
                    f"{name}: {done.left_bytes} bytes of unfinished messages were left out."
                )
        if holes:
            self.remark(f"{holes} holes in TCP streams: the capture lost packets there.")

    def _file_datagrams(self, filed: _Filed) -> None:
        first: dict[tuple[int, bytes], bytes] = {}
        for ts, key, protocol, data in self._datagrams:
            pair = protocol, min(key, reverse(key))
            opener = first.setdefault(pair, key)
            if protocol == UDP:
                source_port, port = endpoints(opener)[1::2]
                second = source_port == port or self._ports.server_second(protocol, opener)
                client = opener if second else reverse(opener)
                name = f"udp/{endpoints(client)[3]}"
            else:
                client, name = opener, "icmp"
            template = _template(client, "c2s" if key == client else "s2c")
            filed.setdefault(name, []).append(
                msgspec.structs.replace(template, payload=data, ts=ts)
            )

    def _file_frames(self, filed: _Filed) -> None:
        first: dict[tuple[str, int, frozenset[str]], str] = {}
        for ts, ends, data in self._frames:
            pair = ends.transport, ends.number, frozenset((ends.source, ends.destination))
            client = first.setdefault(pair, ends.source)
            ether = ends.transport == "ether"
            name = f"ether/{ends.number:04x}" if ether else f"ip/{ends.number}"
            flow = f"{name} {' '.join(sorted(pair[2]))}"
            direction = "c2s" if ends.source == client else "s2c"
            message = Message(data, flow, direction, ts, ends.source, ends.destination)
            filed.setdefault(name, []).append(message)


def _weight(one: tuple[str, list[Run]]) -> int:
    return sum(len(run.segments) for run in one[1])


def _template(client: bytes, direction: str) -> Message:
    """Give an empty message of a flow, by its key from client to server."""
    source, source_port, destination, port = endpoints(client)
    flow = f"{source}:{source_port}-{destination}:{port}"
    if direction == "s2c":
        source, destination = destination, source
    return Message(b"", flow, direction, 0.0, source, destination)


def _numbered(filed: _Filed, most: int) -> dict[str, list[tuple[int, Message]]]:
    """Number the messages of all services in the order of their time."""
    order = sorted(
        ((message.ts, name, message) for name, messages in filed.items() for message in messages),
        key=lambda one: one[0],
    )
    numbered: dict[str, list[tuple[int, Message]]] = {name: [] for name in filed}
    for number, (_, name, message) in enumerate(order[:most]):
        numbered[name].append((number, message))
    return numbered


def _without_ports(frame: bytes) -> tuple[Ends, bytes] | None:
    """Read an Ethernet frame whose contents have no ports: its ends and what it carries."""
    if len(frame) < 14:
        return None
    number, at = int.from_bytes(frame[12:14], "big"), 14
    while number in _VLANS and len(frame) >= at + 4:
        number, at = int.from_bytes(frame[at + 2 : at + 4], "big"), at + 4
    body = frame[at:]
    if number == 0x0800:
        return _over_v4(body)
    if number == 0x86DD:
        return _over_v6(body)
    ends = Ends("ether", frame[6:12].hex(":"), 0, frame[:6].hex(":"), 0, number)
    if number >= _MIN_ETHERTYPE:
        return ends, body
    return ends._replace(number=0), body[:number]  # a length: LLC follows


def _over_v4(packet: bytes) -> tuple[Ends, bytes] | None:
    header = (packet[0] & 15) * 4 if packet else 0
    if len(packet) < max(header, 20) or int.from_bytes(packet[6:8], "big") & 0x3FFF:
        return None
    ends = Ends("ip", spell(packet[12:16]), 0, spell(packet[16:20]), 0, packet[9])
    return ends, packet[header : int.from_bytes(packet[2:4], "big") or None]


def _over_v6(packet: bytes) -> tuple[Ends, bytes] | None:
    if len(packet) < 40:
        return None
    ends = Ends("ip", spell(packet[8:24]), 0, spell(packet[24:40]), 0, packet[6])
    return ends, packet[40 : 40 + int.from_bytes(packet[4:6], "big")]
