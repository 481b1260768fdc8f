"""The capture sensor: pcap and pcapng, from files, pipes and live interfaces.

Flows become ``network_activity``; Modbus, DNS and HTTP requests become observations of their
own. Sequence numbers count observations and depend on the packets alone, also the timeouts,
which follow the capture's clock: a live capture without packets tells of nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import ClassVar, Final, TypeAlias

from cronos.config import Positive, Section
from cronos.errors import InputError
from cronos.link.capture import MAGICS, PCAPNG_MAGIC, CaptureReader, Packet
from cronos.link.packets import ICMP, ICMPV6, TCP, PacketDecoder, endpoints
from cronos.ports import Clock, Reading, Source
from cronos.sense.flows import Event, FlowTable, Loss
from cronos.sense.normal import capped
from cronos.types import Defect, Entity, EntityKind, Manifest, Observation, Provenance, Scalar

_READ_BYTES: Final = 1 << 18
_NAMES: Final = {TCP: "tcp", 17: "udp", ICMP: "icmp", ICMPV6: "icmp"}
_MS_NS: Final = 1_000_000

Handed: TypeAlias = Callable[[Sequence[Packet], bytes], None]


class PcapConfig(Section, frozen=True):
    """Options of the `pcap` sensor."""

    # Connections, and as many datagram flows, remembered at once; the oldest make room.
    max_flows: Positive = 50_000
    # A SYN that waits longer, by the capture's clock, was never answered.
    answer_timeout_ms: Positive = 3_000


class PcapSensor:
    """Reads captures in constant memory.

    Args:
        config: bounds and timeouts.
        clock: stamps when an observation was sensed; None where nobody waits.
        packets: is handed the packets too, as they lie in a buffer; it must not wait.
    """

    config_type: ClassVar[type[Section]] = PcapConfig
    manifest = Manifest(
        "pcap",
        "pcap and pcapng: flows, Modbus/TCP, DNS questions, HTTP requests",
        ("packets", "live"),
    )

    def __init__(
        self, config: PcapConfig, clock: Clock | None = None, packets: Handed | None = None
    ) -> None:
        self._config = config
        self._clock = clock
        self._packets = packets

    @classmethod
    def recognise(cls, head: bytes) -> float:
        """Look for a magic number; see `Sensor.recognise`."""
        return 1.0 if head[:4] in (*MAGICS, PCAPNG_MAGIC) else 0.0

    def read(self, source: Source) -> Iterator[Sequence[Reading]]:
        """Yield observations and defects; see `Sensor.read`.

        Raises:
            InputError: the source broke, or nothing in it is a capture.
        """
        capture = _Capture(source, self._config, self._clock, self._packets)
        try:
            while (data := source.read(_READ_BYTES)) != b"":
                yield capture.feed(data) if data else ()
                if capture.reader.broken:
                    break
        except InputError:
            yield capture.finish()
            raise
        capture.require_packets()
        yield capture.finish()


class _Capture:
    """One reading of one source."""

    def __init__(
        self, source: Source, config: PcapConfig, clock: Clock | None, packets: Handed | None
    ) -> None:
        self.reader = CaptureReader()
        self._source = source
        self._packets = packets
        self._clock = clock
        self._decoder = PacketDecoder()
        self._flows = FlowTable(config.max_flows, config.answer_timeout_ms * _MS_NS)
        self._capped = capped(source.provenance)
        self._seq = source.first
        self._bytes = 0

    def feed(self, data: bytes) -> list[Reading]:
        """Take bytes and give what they amount to."""
        self._bytes += len(data)
        packets = self.reader.feed(data)
        if self._packets is not None and packets:
            self._packets(packets, self.reader.buffer)
        self._follow(packets)
        return self._readings()

    def finish(self) -> list[Reading]:
        """End the capture: what waited, and the defect it ends with, if it does."""
        self._flows.finish()
        readings = self._readings()
        reader = self.reader
        if not reader.broken and not reader.rest:
            return readings
        number = self._flows.packet + 1
        why = reader.broken or f"the file ends {reader.rest} bytes after its beginning"
        remedy = "Capture it again, or repair it; the packets before it were read."
        readings.append(
            Defect(
                self._source.name,
                number,
                f"Packet {number} at byte {reader.offset} cannot be read: {why}.",
                remedy,
            )
        )
        return readings

    def require_packets(self) -> None:
        """Refuse what holds no packet because it is no capture; an empty capture is one."""
        reader = self.reader
        if self._flows.packet or (self._bytes and not reader.broken and not reader.rest):
            return
        why = reader.broken or ("it ends within its header" if self._bytes else "it is empty")
        raise InputError(
            "sense.no_capture",
            f"{self._source.name} cannot be read as a capture at byte {reader.offset}: {why}.",
            "Give a pcap or pcapng file; `file` or `capinfos` tells what this one is.",
        )

    def _follow(self, packets: list[Packet]) -> None:
        """Run packets through the flow table: the loop that decides the speed of all this."""
        flows, decode, buffer = self._flows, self._decoder.decode, self.reader.buffer
        number = flows.packet
        for time_ns, link, start, end in packets:
            number += 1
            found = decode(buffer, start, end, link)
            if found is None:
                continue
            flows.packet = number
            flows.advance(time_ns)
            if found[0] == TCP:
                flows.segment(found)
            else:
                flows.datagram(found)
        flows.packet = number

    def _readings(self) -> list[Reading]:
        events, self._flows.events = self._flows.events, []
        if not events:
            return []
        sensed = self._clock.now().boot_ns if self._clock else 0
        return [
            self._defect(event) if isinstance(event, Loss) else self._observe(event, sensed)
            for event in events
        ]

    def _observe(self, event: Event, sensed_boot_ns: int) -> Observation:
        fields, actor, target = _ends(event.protocol, event.key)
        proven = Provenance.BIDIRECTIONAL if event.proven else Provenance.SPOOFABLE
        product = "ot" if event.activity == "modbus" else "network"
        seq = self._seq
        self._seq += 1
        return Observation(
            self._source.name,
            seq,
            event.time_ns,
            event.activity,
            self._capped[proven],
            actor,
            target,
            {"metadata.product": product, **fields, **event.fields},
            position=event.packet,
            sensed_boot_ns=sensed_boot_ns,
        )

    def _defect(self, loss: Loss) -> Defect:
        client, client_port, server, port = endpoints(loss.key)
        return Defect(
            self._source.name,
            loss.packet,
            f"Flow {client}:{client_port} > {server}:{port}: {loss.reason}",
            "Capture with a larger buffer and whole packets (snaplen 262144).",
        )


@lru_cache(1 << 14)
def _ends(protocol: int, key: bytes) -> tuple[dict[str, Scalar], Entity | None, Entity | None]:
    """Give the fields that name a flow, and its two addresses; shared, so never changed."""
    client, client_port, server, port = endpoints(key)
    fields: dict[str, Scalar] = {
        "src_endpoint.ip": client,
        "dst_endpoint.ip": server,
        "connection_info.protocol_name": _NAMES.get(protocol, str(protocol)),
    }
    if protocol not in (ICMP, ICMPV6):
        fields["src_endpoint.port"] = client_port
        fields["dst_endpoint.port"] = port
    return fields, _entity(client), _entity(server)


def _entity(spelled: str) -> Entity | None:
    """Name an address; one that asks for its own (DHCP, duplicate detection) has none yet."""
    return None if spelled in ("0.0.0.0", "::") else Entity(EntityKind.ADDRESS, spelled)  # noqa: S104
