"""Read Suricata's EVE JSON (versions 6 to 8), one event a line.

Who is trusted: over TCP, Suricata reports an application protocol only for a session whose
handshake it followed, so the client's address answered: BIDIRECTIONAL, unless `midstream` says
that Suricata also picks up sessions it did not see begin. A flow record counts as answered when it
is established or the server sent more than a handshake. Over UDP a reply goes to whatever address
was claimed and proves nothing: SPOOFABLE, and so is everything one-way.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, ClassVar, Final, cast

from cronos.config import Positive, Section
from cronos.ports import Clock, Reading, Source
from cronos.sense.normal import address, capped, part, port, text, time_ns
from cronos.sense.records import Record, RecordReader, head_record
from cronos.types import Entity, Manifest, Observation, Provenance, Scalar

_FIN_OR_PUSH: Final = 0x09
_SEVERITY: Final = {1: 5, 2: 4, 3: 3, 4: 2}
"""Suricata's alert priority (1 is gravest) as our severity (5 is gravest)."""
# A tuple is tested three times as fast as the union that is built at every call.
_NUMBER: Final = (int, float)
_CLOSED: Final = ("closed", "established", "bypassed")
_PACKET: Final = frozenset(("flow", "alert", "drop", "anomaly", "netflow", "stats"))


class EveConfig(Section, frozen=True):
    """Options of the `eve` sensor."""

    max_line_bytes: Positive = 1 << 20
    # True if Suricata runs with stream.midstream: application events then prove no handshake.
    midstream: bool = False


class EveSensor:
    """Turns EVE lines into observations; the whole record is kept as `native`."""

    config_type: ClassVar[type[Section]] = EveConfig
    manifest = Manifest(
        "eve", "Suricata EVE JSON: alerts, flows and application protocols", ("lines", "live")
    )

    def __init__(self, config: EveConfig, clock: Clock | None = None) -> None:
        self._config = config
        self._clock = clock

    @classmethod
    def recognise(cls, head: bytes) -> float:
        """Look for an EVE record in the first line; see `Sensor.recognise`."""
        record = head_record(head)
        if isinstance(record.get("event_type"), str) and "timestamp" in record:
            known = "flow_id" in record or "src_ip" in record or "stats" in record
            return 1.0 if known else 0.6
        return 0.0

    def read(self, source: Source) -> Iterator[Sequence[Reading]]:
        """Yield one observation per line; see `Sensor.read`."""
        build = _Eve(source, trust_streams=not self._config.midstream).build
        return RecordReader(source, self._clock, self._config.max_line_bytes).read(build)


class _Eve:
    """Builds observations for one source."""

    def __init__(self, source: Source, *, trust_streams: bool) -> None:
        self._name = source.name
        self._capped = capped(source.provenance)
        self._trust_streams = trust_streams

    def build(self, record: Record, number: int, sensed_boot_ns: int) -> Observation:
        kind = record.get("event_type")
        protocol = record.get("proto")
        protocol = protocol.lower() if isinstance(protocol, str) else ""
        activity, enrich = _ACTIVITIES.get(kind, _OTHER) if isinstance(kind, str) else _OTHER
        fields: dict[str, Scalar] = {"metadata.product": "suricata"}
        if isinstance(kind, str):
            fields["metadata.log_name"] = kind[:64]
        client, server = _endpoints(record, fields)
        if protocol:
            fields["connection_info.protocol_name"] = protocol[:16]
        if enrich is not None:
            enrich(record, fields)
        claim = self._provenance(record, kind, protocol)
        return Observation(
            self._name,
            number,
            time_ns(record.get("timestamp")),
            activity,
            self._capped[claim],
            client,
            server,
            fields,
            record,
            number,
            sensed_boot_ns,
        )

    def _provenance(self, record: Record, kind: object, protocol: str) -> Provenance:
        if protocol != "tcp" or not isinstance(kind, str):
            return Provenance.SPOOFABLE
        if kind in ("flow", "netflow"):
            answered = _flow_answered(record)
        elif kind in _PACKET:
            answered = self._trust_streams and record.get("app_proto") not in (None, "failed")
        else:
            answered = self._trust_streams
        return Provenance.BIDIRECTIONAL if answered else Provenance.SPOOFABLE


def _flow_answered(record: Record) -> bool:
    """Say whether the client must have received what the server sent.

    Suricata calls a flow established once the third step of the handshake fits. A server sends
    FIN or PSH only to a client whose handshake it accepted; RST it sends to anybody.
    """
    flow = part(record, "flow")
    if flow.get("state") == "established":
        return True
    flags = part(record, "tcp").get("tcp_flags_tc")
    try:
        sent = int(flags, 16) if isinstance(flags, str) else 0
    except ValueError:
        return False
    return flow.get("state") in _CLOSED and bool(sent & _FIN_OR_PUSH)


def _endpoints(record: Record, fields: dict[str, Scalar]) -> tuple[Entity | None, Entity | None]:
    """Fill in both ends, client first, whichever of them sent the packet."""
    source, destination = address(record.get("src_ip")), address(record.get("dest_ip"))
    source_port, destination_port = port(record.get("src_port")), port(record.get("dest_port"))
    if record.get("direction") == "to_client":
        source, destination = destination, source
        source_port, destination_port = destination_port, source_port
    if source is not None:
        fields["src_endpoint.ip"] = source.value
    if source_port is not None:
        fields["src_endpoint.port"] = source_port
    if destination is not None:
        fields["dst_endpoint.ip"] = destination.value
    if destination_port is not None:
        fields["dst_endpoint.port"] = destination_port
    return source, destination


def _put(fields: dict[str, Scalar], name: str, value: object) -> None:
    if isinstance(value, str):
        if (short := text(value)) is not None:
            fields[name] = short
    elif isinstance(value, _NUMBER):
        fields[name] = value


def _alert(record: Record, fields: dict[str, Scalar]) -> None:
    alert = part(record, "alert")
    _put(fields, "finding_info.title", alert.get("signature"))
    priority = alert.get("severity")
    fields["severity_id"] = _SEVERITY.get(priority, 1) if isinstance(priority, int) else 1
    _put(fields, "app_protocol", record.get("app_proto"))


def _flow(record: Record, fields: dict[str, Scalar]) -> None:
    flow = part(record, "flow") or part(record, "netflow")
    protocol = fields.get("connection_info.protocol_name")
    fields["status"] = "closed" if protocol != "tcp" else _flow_status(record, flow)
    _put(fields, "traffic.bytes_out", flow.get("bytes_toserver"))
    _put(fields, "traffic.bytes_in", flow.get("bytes_toclient"))
    _put(fields, "app_protocol", record.get("app_proto"))


def _flow_status(record: Record, flow: dict[str, Any]) -> str:
    if flow.get("pkts_toclient") == 0:
        return "no_answer"
    # The server's only packet carried RST: it refused.
    if flow.get("pkts_toclient") == 1 and "rst" in part(record, "tcp"):
        return "refused"
    return "closed"


def _dns(record: Record, fields: dict[str, Scalar]) -> None:
    dns = part(record, "dns")
    asked: dict[str, Any] = dns
    queries = dns.get("queries") or dns.get("query")
    if isinstance(queries, list) and queries:
        asked = part({"first": cast("list[object]", queries)[0]}, "first")
    _put(fields, "query.hostname", asked.get("rrname"))
    _put(fields, "query.type", asked.get("rrtype"))
    _put(fields, "rcode", dns.get("rcode"))


def _http(record: Record, fields: dict[str, Scalar]) -> None:
    http = part(record, "http")
    _put(fields, "http_request.http_method", http.get("http_method"))
    _put(fields, "http_request.url.path", http.get("url"))
    _put(fields, "url.hostname", http.get("hostname"))
    _put(fields, "http_request.user_agent", http.get("http_user_agent"))
    _put(fields, "http_response.code", http.get("status"))


def _tls(record: Record, fields: dict[str, Scalar]) -> None:
    fields["app_protocol"] = "tls"
    _put(fields, "tls.sni", part(record, "tls").get("sni"))
    _put(fields, "tls.version", part(record, "tls").get("version"))


def _ssh(record: Record, fields: dict[str, Scalar]) -> None:
    fields["app_protocol"] = "ssh"
    client = part(part(record, "ssh"), "client")
    _put(fields, "ssh.client.software", client.get("software_version"))


def _modbus(record: Record, fields: dict[str, Scalar]) -> None:
    """Take a transaction's request, and the exception its response may hold."""
    modbus = part(record, "modbus")
    request, response = part(modbus, "request"), part(modbus, "response")
    fields["modbus.direction"] = "request" if request else "response"
    told = request or response
    _put(fields, "modbus.unit_id", told.get("unit_id"))
    _put(fields, "modbus.function_code", told.get("function_raw"))
    for part_name in ("read", "write", "diagnostic"):
        access = part(told, part_name)
        _put(fields, "modbus.address", access.get("address"))
        _put(fields, "modbus.quantity", access.get("quantity"))
        _values(fields, access.get("data"))
    _put(fields, "modbus.exception_code", part(response, "exception").get("raw"))


def _values(fields: dict[str, Scalar], written: object) -> None:
    data = cast("list[object]", written) if isinstance(written, list) else [written]
    values = [value for value in data if isinstance(value, int)]
    if values:
        fields["modbus.value"] = values[0]
        fields["modbus.max_value"] = max(values)
        fields["modbus.min_value"] = min(values)


def _file(record: Record, fields: dict[str, Scalar]) -> None:
    info = part(record, "fileinfo")
    _put(fields, "file.path", info.get("filename"))
    _put(fields, "file.size", info.get("size"))
    _put(fields, "app_protocol", record.get("app_proto"))


def _anomaly(record: Record, fields: dict[str, Scalar]) -> None:
    anomaly = part(record, "anomaly")
    _put(fields, "anomaly.type", anomaly.get("type"))
    _put(fields, "anomaly.event", anomaly.get("event"))


_Enrich = Callable[[Record, dict[str, Scalar]], None]
_OTHER: Final[tuple[str, _Enrich | None]] = ("base_event", None)
_ACTIVITIES: Final[dict[str, tuple[str, _Enrich | None]]] = {
    "alert": ("detection_finding", _alert),
    "flow": ("network_activity", _flow),
    "netflow": ("network_activity", _flow),
    "dns": ("dns_activity", _dns),
    "http": ("http_activity", _http),
    "http2": ("http_activity", _http),
    "tls": ("network_activity", _tls),
    "ssh": ("network_activity", _ssh),
    "modbus": ("modbus", _modbus),
    "fileinfo": ("file_activity", _file),
    "anomaly": ("base_event", _anomaly),
}
