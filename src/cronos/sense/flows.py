"""Flows: who spoke with whom, whether they were answered, and what can be proven by it.

Rule 1: a flow is *proven* when its client showed that it received the server's packets, by
acknowledging a sequence number that only they carried. One who forges the client's address
does not see them. A SYN, a SYN-ACK, a reset and any datagram prove nothing. Where a decoder
reads the flow, its bytes prove something only as long as they fit (`cronos.sense.streams`), and
nothing after its end.
Rule 2: time is the capture's own, so that every reading gives the same events. A step of more
than a minute, either way, begins a new epoch: handshakes that wait are given up.
Rule 3: a SYN alone never disturbs a connection that lives; only the answer to it does.

    stage     | packet                                            | becomes    | event
    ----------+---------------------------------------------------+------------+----------
    (none)    | SYN                                               | ASKED      |
    (none)    | anything else                                     | MIDDLE     |
    ASKED     | server: SYN-ACK of the client's number            | ANSWERED   |
    ASKED     | server: RST of the client's number                | DONE       | refused
    ASKED     | nothing for `answer_timeout_ns`                   | (none)     | no_answer
    ANSWERED  | client: ACK of the server's number (Rule 1)       | OPEN       | open
    ANSWERED  | RST                                               | DONE       | closed
    MIDDLE    | client: ACK of all the server's bytes (Rule 1)    | OPEN       | open
    MIDDLE    | server: ACK of just the client's last bytes       | OPEN       | open
    OPEN      | RST, or the second FIN                            | DONE       | closed
    any       | SYN-ACK of a later SYN (Rule 3)                   | ANSWERED   |

One who can send in both ends' names past the sensor looks like both ends; keeping such packets
out is the network's duty (RFC 2827). Source: RFC 9293 §3.3.2, §3.10; RFC 5961 §4.
"""

import enum
from collections import OrderedDict
from typing import Final, NamedTuple, assert_never

from cronos.link.packets import ACK, FIN, RST, SYN, TCP, UDP, Transport, reverse
from cronos.link.reassembly import Delivery
from cronos.sense.decoders import APPLICATIONS, DATAGRAMS, STREAMS, Message
from cronos.sense.streams import Stream
from cronos.types import Scalar

_EPOCH_NS: Final = 60_000_000_000
_SEQ: Final = 1 << 32
_EARLY_BYTES: Final = 1 << 20  # a client may have sent this much before its first packet we saw
_NEVER: Final = 1 << 63
_MAX_LOSSES: Final = 8  # told for one flow
_MAX_STREAMS: Final = 4096  # read by a decoder at once: each may hold some 16 KiB
_MAX_HELD_BYTES: Final = 32 << 20  # behind holes, in all flows together


class Stage(enum.IntEnum):
    """Where a TCP connection stands; see the table above."""

    ASKED = 0
    ANSWERED = 1
    MIDDLE = 2
    OPEN = 3
    DONE = 4


# Looking a member up on its class costs three times as much, and `segment` runs for every packet.
_ASKED, _MIDDLE, _OPEN = Stage.ASKED, Stage.MIDDLE, Stage.OPEN


class Event(NamedTuple):
    """Something to tell: `key` runs from client to server."""

    protocol: int
    key: bytes
    activity: str
    proven: bool
    fields: dict[str, Scalar]
    time_ns: int
    packet: int


class Loss(NamedTuple):
    """Something in a flow that could not be read."""

    key: bytes
    packet: int
    reason: str


class Flow:
    """One TCP connection; `key` runs from client to server."""

    __slots__ = (
        "asked",
        "bytes_in",
        "bytes_out",
        "client_end",
        "client_seq",
        "finished",
        "key",
        "packet",
        "port",
        "proven",
        "server_end",
        "server_seq",
        "stage",
        "stream",
        "time_ns",
    )

    def __init__(self, key: bytes, stage: Stage, time_ns: int, packet: int) -> None:
        self.key = key
        self.stage = stage
        self.time_ns = time_ns  # of the SYN
        self.packet = packet
        self.client_seq = -1  # the next number the client would use
        self.server_seq = -1
        self.client_end = -1  # where the last data of each ended, until the flow is proven
        self.server_end = -1
        self.bytes_out = 0
        self.bytes_in = 0
        self.proven = False
        self.finished = 0  # bit 0: the client's FIN was seen; bit 1: the server's
        self.asked: tuple[bytes, int] | None = None  # a later SYN: its key and number
        self.port = key[-2] << 8 | key[-1]
        self.stream: Stream | None = None


class FlowTable:
    """At most `max_flows` TCP connections and as many datagram flows; the oldest make room.

    Set `packet` and call `advance` before each packet. What there is to tell is in `events`, in
    order, until the caller empties it.
    """

    def __init__(self, max_flows: int, answer_timeout_ns: int) -> None:
        self.packet = 0
        self.events: list[Event | Loss] = []
        self._max_flows = max_flows
        self._timeout_ns = answer_timeout_ns
        self._clock_ns = 0
        self._due_ns = _NEVER
        self._flows: dict[bytes, Flow] = {}  # under the keys of both directions
        self._order: OrderedDict[bytes, Flow] = OrderedDict()
        self._waiting: OrderedDict[bytes, Flow] = OrderedDict()
        self._datagrams: OrderedDict[tuple[int, bytes], None] = OrderedDict()
        self._streams: OrderedDict[bytes, Flow] = OrderedDict()  # those with a decoder
        self._held = 0

    def __len__(self) -> int:
        return len(self._order)

    def advance(self, time_ns: int) -> None:
        """Follow the capture's clock, which may step back a little between interfaces."""
        step = time_ns - self._clock_ns
        if step > _EPOCH_NS or step < -_EPOCH_NS:
            self._clock_ns = time_ns
            self._give_up_before(_NEVER)
        elif step > 0:
            self._clock_ns = time_ns
            if time_ns >= self._due_ns:
                self._give_up_before(time_ns - self._timeout_ns)

    def segment(self, packet: Transport) -> None:
        """Take one TCP packet."""
        _, key, seq, _, flags, length, _ = packet
        flow = self._flows.get(key)
        if flow is None:
            flow = self._begin(key, seq, flags)
            if flow.stage is _ASKED:
                return
        self._order.move_to_end(flow.key)
        if flow.stage is not _OPEN or flags & SYN:
            flow = self._step(flow, packet)
        outward = flow.key == key
        # Most packets of a capture end here: an open connection that no decoder reads.
        if length and flow.stage >= _MIDDLE and not flags & (SYN | RST):
            if outward:
                flow.bytes_out += length
            else:
                flow.bytes_in += length
        if flow.port in STREAMS and flow.stage >= _MIDDLE and not flags & SYN:
            self._follow(flow, outward, packet)
        elif flags & (FIN | RST) and flow.stage is _OPEN:
            self._end(flow, outward, flags)

    def finish(self) -> None:
        """End the capture: give up what waits, and read what lies behind holes."""
        self._give_up_before(_NEVER)
        for flow in self._order.values():
            self._flush(flow)

    # --- TCP ------------------------------------------------------------------------------------

    def _begin(self, key: bytes, seq: int, flags: int) -> Flow:
        if flags & (SYN | ACK | RST) == SYN:
            flow = Flow(key, Stage.ASKED, self._clock_ns, self.packet)
            flow.client_seq = (seq + 1) % _SEQ
            self._waiting[key] = flow
            if self._due_ns == _NEVER:
                self._due_ns = self._clock_ns + self._timeout_ns
        else:
            client = _client_first(key, answers=flags & (SYN | ACK) == SYN | ACK)
            flow = Flow(client, Stage.MIDDLE, self._clock_ns, self.packet)
        self._flows[key] = self._flows[reverse(key)] = self._order[flow.key] = flow
        if len(self._order) > self._max_flows:
            self._forget(next(iter(self._order.values())))
        return flow

    def _forget(self, flow: Flow) -> None:
        self._flush(flow)
        if self._waiting.pop(flow.key, None):
            self._tell(flow, "no_answer", of_beginning=True)
        del self._order[flow.key]
        self._streams.pop(flow.key, None)
        self._flows.pop(flow.key, None)
        self._flows.pop(reverse(flow.key), None)

    def _step(self, flow: Flow, packet: Transport) -> Flow:
        """Apply the table; give the flow that the packet belongs to now."""
        _, key, seq, _, flags, _, _ = packet
        if flags & (SYN | ACK | RST) == SYN:
            return self._asked_again(flow, key, seq)
        if flags & SYN and flow.stage is not _ASKED:
            return self._answered_again(flow, packet)
        outward = flow.key == key
        match flow.stage:
            case Stage.ASKED:
                self._when_asked(flow, outward, packet)
            case Stage.ANSWERED:
                self._when_answered(flow, outward, packet)
            case Stage.MIDDLE:
                self._when_middle(flow, outward, packet)
            case Stage.OPEN | Stage.DONE:
                pass
            case _:
                assert_never(flow.stage)
        return flow

    def _asked_again(self, flow: Flow, key: bytes, seq: int) -> Flow:
        # What a client's reset ended may live on: nobody knows whether the server took it.
        if flow.stage is Stage.DONE and not (flow.proven and flow.port in STREAMS):
            self._forget(flow)
            return self._begin(key, seq, SYN)
        if flow.stage is Stage.ASKED and flow.key == key:
            flow.client_seq = (seq + 1) % _SEQ
        else:
            flow.asked = (key, (seq + 1) % _SEQ)
        return flow

    def _answered_again(self, flow: Flow, packet: Transport) -> Flow:
        _, key, seq, ack, _, _, _ = packet
        if flow.asked != (reverse(key), ack):
            return flow
        self._forget(flow)
        flow = self._begin(reverse(key), ack - 1, SYN)
        self._when_asked(flow, outward=False, packet=packet)
        flow.server_seq = (seq + 1) % _SEQ
        return flow

    def _when_asked(self, flow: Flow, outward: bool, packet: Transport) -> None:
        _, _, seq, ack, flags, _, _ = packet
        if outward:
            if not flags & RST:  # it goes on without an answer: the sensor sees one way only
                self._waiting.pop(flow.key, None)
                flow.stage = Stage.MIDDLE
                flow.asked = (flow.key, flow.client_seq)  # or it was early: the answer counts
        elif flags & ACK and ack == flow.client_seq:
            if flags & RST:
                self._waiting.pop(flow.key, None)
                flow.stage = Stage.DONE
                self._tell(flow, "refused")
            elif flags & SYN:
                self._waiting.pop(flow.key, None)
                flow.stage = Stage.ANSWERED
                flow.server_seq = (seq + 1) % _SEQ

    def _when_answered(self, flow: Flow, outward: bool, packet: Transport) -> None:
        _, _, seq, ack, flags, _, _ = packet
        if flags & RST:
            flow.stage = Stage.DONE
            self._tell(flow, "closed")
        elif not outward:
            self._heard(flow, packet)
        elif (
            flags & ACK
            and ack in (flow.server_seq, flow.server_end)  # so it saw the answer
            and (seq - flow.client_seq) % _SEQ < _EARLY_BYTES
        ):
            self._open(flow)

    def _when_middle(self, flow: Flow, outward: bool, packet: Transport) -> None:
        _, _, seq, ack, flags, length, _ = packet
        if flags & (RST | SYN):
            return
        if outward:
            if flags & ACK and ack == flow.server_end:
                self._open_middle(flow, seq, flow.server_end)
            elif length:
                flow.client_end = (seq + length) % _SEQ
            return
        if flags & ACK and ack == flow.client_end:
            self._open_middle(flow, ack, seq)
        self._heard(flow, packet)

    def _heard(self, flow: Flow, packet: Transport) -> None:
        """Keep which acknowledgement only one who receives the server's packets can send."""
        _, _, seq, _, _, length, _ = packet
        if length:
            flow.server_end = (seq + length) % _SEQ

    def _end(self, flow: Flow, outward: bool, flags: int) -> None:
        if flags & FIN:
            flow.finished |= 1 if outward else 2
        if flags & RST or flow.finished == 3:
            flow.stage = Stage.DONE
            self._tell(flow, "closed")

    def _follow(self, flow: Flow, outward: bool, packet: Transport) -> None:
        """Read a segment of a flow with a decoder, and end the flow where it really ends."""
        _, _, seq, _, flags, length, _ = packet
        if flow.stream is None and not length and not flags & (FIN | RST):
            return
        stream = self._deliver(flow, outward, packet)
        if not flow.proven:
            return
        over = bool(flags & RST) and stream.resets(outward, seq)
        if flags & FIN:
            flow.finished |= stream.closes(outward, (seq + length) % _SEQ) << (not outward)
        for side in (True, False):
            flow.finished |= stream.closes(side) << (not side)
        if not over and flow.finished != 3:
            return
        if flow.stage is _OPEN:
            flow.stage = Stage.DONE
            self._tell(flow, "closed")
        # A reset that the client sent may never arrive, and what comes after it still counts.
        if not (over and outward):
            self._flush(flow)
            flow.proven = False

    def _open(self, flow: Flow) -> None:
        flow.stage = Stage.OPEN
        flow.proven = True
        flow.asked = None
        self._tell(flow, "open")

    def _open_middle(self, flow: Flow, client_seq: int, server_seq: int) -> None:
        """Begin to trust a flow at the numbers that were proven, whatever was read before."""
        flow.client_seq, flow.server_seq = client_seq, server_seq
        stream = flow.stream
        if stream is not None:
            places = {True: client_seq, False: server_seq}
            if stream.held or any(
                side.next_seq != places[outward] for outward, side in stream.sides.items()
            ):
                self._flush(flow)
                self._streams.pop(flow.key, None)
                flow.stream = None
        self._open(flow)

    def _give_up_before(self, began_ns: int) -> None:
        """Tell of handshakes that began up to then and were never answered."""
        while self._waiting:
            flow = next(iter(self._waiting.values()))
            if flow.time_ns > began_ns:
                self._due_ns = flow.time_ns + self._timeout_ns
                return
            self._forget(flow)
        self._due_ns = _NEVER

    def _tell(self, flow: Flow, status: str, *, of_beginning: bool = False) -> None:
        fields: dict[str, Scalar] = {"status": status}
        if status == "closed":
            fields["traffic.bytes_out"] = flow.bytes_out
            fields["traffic.bytes_in"] = flow.bytes_in
        if flow.port in APPLICATIONS:
            fields["app_protocol"] = APPLICATIONS[flow.port]
        time_ns, packet = self._clock_ns, self.packet
        if of_beginning:
            time_ns, packet = flow.time_ns, flow.packet
        self.events.append(
            Event(TCP, flow.key, "network_activity", flow.proven, fields, time_ns, packet)
        )

    # --- what a decoder reads -------------------------------------------------------------------

    def _deliver(self, flow: Flow, outward: bool, packet: Transport) -> Stream:
        _, _, seq, ack, flags, _, payload = packet
        stream = flow.stream
        if stream is None:
            stream = self._begin_stream(flow)
        self._streams.move_to_end(flow.key)
        if flow.proven:
            stream.begin(True, flow.client_seq)
            stream.begin(False, flow.server_seq)
        elif payload:
            stream.begin(outward, _first_seq(flow, outward, seq))
        before = stream.held
        if not flags & RST:
            segment = seq, ack, flags, payload
            found = stream.take(outward, segment, self._clock_ns, checked=flow.proven)
            self._decode(flow, stream, found)
        if stream.held > before and self._held + stream.held - before > _MAX_HELD_BYTES:
            found = [(outward, part) for part in stream.sides[outward].skip(self._clock_ns)]
            self._decode(flow, stream, found)
        self._held += stream.held - before
        return stream

    def _begin_stream(self, flow: Flow) -> Stream:
        stream = flow.stream = Stream(STREAMS[flow.port]())
        self._streams[flow.key] = flow
        if len(self._streams) > _MAX_STREAMS:
            _, oldest = self._streams.popitem(last=False)
            self._put_away(oldest)
        return stream

    def _put_away(self, flow: Flow) -> None:
        """Drop the decoder; the flow goes on, if it does, just where it was."""
        self._flush(flow)
        if flow.stream is not None and flow.proven:
            flow.client_seq = flow.stream.sides[True].next_seq
            flow.server_seq = flow.stream.sides[False].next_seq
        elif flow.stage >= _MIDDLE:
            flow.client_seq = flow.server_seq = -1
        flow.stream = None

    def _flush(self, flow: Flow) -> None:
        """Read what lies behind holes: what is missing will not come any more."""
        if flow.stream is None:
            return
        for outward, side in flow.stream.sides.items():
            while side.held:
                before = side.held
                found = [(outward, part) for part in side.skip(self._clock_ns)]
                self._decode(flow, flow.stream, found)
                self._held += side.held - before

    def _decode(self, flow: Flow, stream: Stream, found: list[tuple[bool, Delivery]]) -> None:
        for outward, part in found:
            if isinstance(part, int):
                stream.decoder.gap(outward)
                side = "client" if outward else "server"
                self._lose(
                    flow, stream, f"{part} bytes of the {side} are missing from the capture."
                )
                continue
            proven = stream.sure(outward, part) and flow.proven
            for message in stream.decoder.feed(outward, part):
                if isinstance(message, str):
                    self._lose(flow, stream, message)
                else:
                    self._say(TCP, flow.key, message, proven)

    def _lose(self, flow: Flow, stream: Stream, reason: str) -> None:
        stream.losses += 1
        if stream.losses <= _MAX_LOSSES:  # a flow of another protocol would fill the report
            self.events.append(Loss(flow.key, self.packet, reason))

    def _say(self, protocol: int, key: bytes, message: Message, proven: bool) -> None:
        self.events.append(
            Event(
                protocol,
                key,
                message.activity,
                proven,
                message.fields,
                self._clock_ns,
                self.packet,
            )
        )

    # --- datagrams ------------------------------------------------------------------------------

    def datagram(self, packet: Transport) -> None:
        """Take one packet of a protocol without connections."""
        protocol, key, _, _, _, _, payload = packet
        known = self._datagrams
        name = (protocol, key)
        if name in known:
            known.move_to_end(name)
            client = key
        elif (protocol, client := reverse(key)) in known:
            known.move_to_end((protocol, client))
        else:
            client = self._new_datagram_flow(protocol, key)
        if protocol == UDP:
            decode = DATAGRAMS.get(client[-2] << 8 | client[-1])
            message = decode(payload) if decode else None
            if message:
                self._say(UDP, client, message, False)

    def _new_datagram_flow(self, protocol: int, key: bytes) -> bytes:
        # An answer whose question was not captured still names the server by its port.
        port, source_port = key[-2] << 8 | key[-1], key[-4] << 8 | key[-3]
        if protocol == UDP and source_port in DATAGRAMS and port not in DATAGRAMS:
            key = reverse(key)
            port = source_port
        self._datagrams[protocol, key] = None
        if len(self._datagrams) > self._max_flows:
            self._datagrams.popitem(last=False)
        fields: dict[str, Scalar] = {"status": "datagram"}
        if protocol == UDP and port in APPLICATIONS:
            fields["app_protocol"] = APPLICATIONS[port]
        self._say(protocol, key, Message("network_activity", fields), False)
        return key


def _client_first(key: bytes, *, answers: bool) -> bytes:
    """Guess who is the client of a connection whose beginning was not captured."""
    port, source_port = key[-2] << 8 | key[-1], key[-4] << 8 | key[-3]
    if (port in STREAMS) != (source_port in STREAMS):
        return key if port in STREAMS else reverse(key)
    return reverse(key) if answers or source_port < port else key


def _first_seq(flow: Flow, outward: bool, seq: int) -> int:
    """Give where one direction begins: after the handshake, or with what came first."""
    begun = flow.client_seq if outward else flow.server_seq
    if begun < 0:
        return seq
    return begun if (seq - begun) % _SEQ < _EARLY_BYTES else seq
