"""TCP connections and datagrams of a capture, kept until their services are known.

A connection begins with its SYN, or in its middle where the capture begins later. Who is the
server is known from the handshake; else it is the end with the port of a service, the one whose
port many peers speak to, or the one that did not speak first. Source: RFC 9293 §3.4, RFC 6335 §6.
"""

from collections import defaultdict
from collections.abc import Iterator
from typing import Final

from cronos.discover.framing import Run, Segment
from cronos.link.packets import ACK, SYN, Transport, endpoints, reverse
from cronos.link.reassembly import Delivery, Reassembly

_MASK: Final = 0xFFFFFFFF
_MANY: Final = 3


class Side:
    """What one end of a connection sent: runs of segments, a new one behind every hole."""

    __slots__ = ("bytes", "holes", "order", "runs")

    def __init__(self) -> None:
        self.order: Reassembly | None = None
        self.runs: list[list[Segment]] = [[]]
        self.holes = 0
        self.bytes = 0

    def take(self, deliveries: list[Delivery], ts: float, *, turn: bool) -> None:
        """File what is in order now."""
        for delivery in deliveries:
            if isinstance(delivery, int):
                self.holes += 1
                self.runs.append([])
            elif delivery:
                run = self.runs[-1]
                run.append(Segment(ts, bytes(delivery), turn or not run))
                self.bytes += len(delivery)
                turn = False


class Connection:
    """One TCP connection; `key` runs from the end that was seen first."""

    __slots__ = ("answering", "client_first", "key", "sides")

    def __init__(self, key: bytes) -> None:
        self.key = key
        self.sides = (Side(), Side())
        self.client_first: bool | None = None
        self.answering = -1

    @property
    def bytes(self) -> int:
        """How many bytes both ends have sent, as far as kept."""
        return self.sides[0].bytes + self.sides[1].bytes

    @property
    def kept(self) -> int:
        """How many bytes are kept, those that wait behind a hole included."""
        waiting = sum(side.order.held for side in self.sides if side.order is not None)
        return self.bytes + waiting

    def starts_anew(self, found: Transport) -> bool:
        """Say whether this SYN begins another connection between the same ends."""
        _, key, seq, _, flags, _, _ = found
        if not flags & SYN or flags & ACK:
            return False
        order = self.sides[key != self.key].order
        return order is not None and self.bytes > 0 and order.ahead((seq + 1) & _MASK) != 0

    def segment(self, found: Transport, ts: float) -> None:
        """Take one packet."""
        _, key, seq, ack, flags, length, payload = found
        number = int(key != self.key)
        side, other = self.sides[number], self.sides[1 - number]
        time_ns = int(ts * 1e9)
        if flags & SYN:
            seq = (seq + 1) & _MASK
            self.client_first = bool(flags & ACK) == bool(number)
            if side.order is None or not side.bytes:
                side.order = Reassembly(seq)
        if flags & ACK and other.order is not None:
            self._file(1 - number, other.order.acknowledge(ack, time_ns), ts)
        if not length:
            return
        if side.order is None:
            side.order = Reassembly(seq)
        self._file(number, side.order.add(seq, payload, time_ns), ts)

    def finish(self, ts: float) -> None:
        """Pass over the holes that are left."""
        for number, side in enumerate(self.sides):
            while side.order is not None and (left := side.order.skip(int(ts * 1e9))):
                self._file(number, left, ts)

    def _file(self, number: int, deliveries: list[Delivery], ts: float) -> None:
        if deliveries:
            self.sides[number].take(deliveries, ts, turn=self.answering != number)
            self.answering = number

    def runs(self, first: int, *, forward: bool) -> Iterator[Run]:
        """Give both ends' runs, numbered `first` for the end seen first, then `first` + 1.

        Args:
            first: the number of the first one.
            forward: whether the end seen first is the client.
        """
        for number, side in enumerate(self.sides):
            name = "c2s" if forward != bool(number) else "s2c"
            for run in side.runs:
                if run:
                    yield Run(tuple(run), first + number, name)


class Ports:
    """Who is asked and who asks, told by how many peers a port has."""

    def __init__(self) -> None:
        self._peers: defaultdict[tuple[int, int], set[bytes]] = defaultdict(set)

    def note(self, protocol: int, key: bytes) -> None:
        """Learn that the two ends of `key` speak."""
        _, source_port, _, port = endpoints(key)
        self._peers[protocol, port].add(key[: len(key) // 2] + key[-4:-2])
        self._peers[protocol, source_port].add(reverse(key)[: len(key) // 2] + key[-2:])

    def server_second(self, protocol: int, key: bytes) -> bool:
        """Say whether the destination of `key` is the server."""
        _, source_port, _, port = endpoints(key)
        # Ports below 1024 are services', those from 32768 on are given to whoever asks.
        order, other = _rank(port), _rank(source_port)
        if order != other:
            return order < other
        asked, asking = len(self._peers[protocol, port]), len(self._peers[protocol, source_port])
        return asked >= asking or asking < _MANY


def _rank(port: int) -> int:
    return (port >= 1024) + (port >= 32_768)
