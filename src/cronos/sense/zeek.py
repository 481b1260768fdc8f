"""Read Zeek logs, JSON or tab-separated; one log or several streams in one file.

Who is trusted: a TCP record counts as BIDIRECTIONAL only where the server said something that it
says only after a whole handshake (data, FIN, a reply field). A SYN without an answer (S0), a SYN
that was refused (REJ: the RST went to whatever address was claimed) and a handshake that nothing
followed are SPOOFABLE, as is all UDP: a reply to a claimed address proves nothing.
"""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Final

from cronos.config import Positive, Section
from cronos.ports import Clock, Reading, Source
from cronos.sense.lines import LineReader, NumberedLine, first_line, too_long
from cronos.sense.normal import address, capped, port, text, time_ns
from cronos.sense.records import Record, RecordReader, head_record
from cronos.sense.zeek_tsv import HEADER_MARK, TsvReader
from cronos.types import Defect, Entity, Manifest, Observation, Provenance, Scalar

_MAX_LOG_NAME_CHARS: Final = 64
_NUMBER: Final = (int, float)


class ZeekConfig(Section, frozen=True):
    """Options of the `zeek` sensor."""

    max_line_bytes: Positive = 1 << 20


class ZeekSensor:
    """Turns Zeek records into observations; the whole record is kept as `native`."""

    config_type: ClassVar[type[Section]] = ZeekConfig
    manifest = Manifest("zeek", "Zeek logs, JSON and tab-separated", ("lines", "live"))

    def __init__(self, config: ZeekConfig, clock: Clock | None = None) -> None:
        self._config = config
        self._clock = clock

    @classmethod
    def recognise(cls, head: bytes) -> float:
        """Look for a TSV header or the keys of a Zeek record; see `Sensor.recognise`."""
        if first_line(head).startswith((b"#separator ", b"#fields\t")):
            return 1.0
        record = head_record(head)
        if "ts" not in record or "event_type" in record:
            return 0.0
        if isinstance(record.get("_path") or record.get("@stream"), str):
            return 0.95
        # Zeek's own JSON writer names no stream: the connection's keys must do.
        keys = ("uid", "fuid", "id.orig_h", "id_orig_h", "fuids")
        return 0.9 if sum(key in record for key in keys) >= 2 else 0.0

    def read(self, source: Source) -> Iterator[Sequence[Reading]]:
        """Yield one observation per record; see `Sensor.read`."""
        reader = RecordReader(source, self._clock, self._config.max_line_bytes)
        build = _Zeek(source)
        tables = _Tables(source, self._config.max_line_bytes, reader, build)
        for lines in LineReader(source, self._config.max_line_bytes):
            if all(raw is not None and raw.startswith(b"{") for _, raw in lines):
                yield reader.readings(lines, build.build)
            else:
                yield tables.read(lines)


class _Tables:
    """Reads lines of which some belong to a table: headers, rows, and JSON between them."""

    def __init__(self, source: Source, limit: int, reader: RecordReader, build: "_Zeek") -> None:
        self._source = source
        self._limit = limit
        self._reader = reader
        self._build = build
        self._table = TsvReader()

    def read(self, lines: list[NumberedLine]) -> list[Reading]:
        sensed = self._reader.boot_ns()
        out: list[Reading] = []
        for number, raw in lines:
            if raw is None:
                out.append(too_long(self._source, number, self._limit))
            elif raw.startswith(HEADER_MARK):
                self._table.header(raw)
            elif raw.startswith(b"{"):
                out += self._reader.readings([(number, raw)], self._build.build)
            else:
                out.append(self._row(number, raw, sensed))
        return out

    def _row(self, number: int, raw: bytes, sensed: int) -> Reading:
        path = self._table.path
        record = self._table.row(raw)
        if isinstance(record, str):
            return Defect(
                self._source.name,
                number,
                f"Line {number} of the Zeek log {path or '(unnamed)'} {record}.",
                "Check whether the file is complete and its header intact.",
            )
        return self._reader.fitting(self._build.build(record, number, sensed, path), len(raw))


class _Zeek:
    """Builds observations for one source."""

    def __init__(self, source: Source) -> None:
        self._name = source.name
        self._capped = capped(source.provenance)

    def build(
        self, record: Record, number: int, sensed_boot_ns: int, path: str = ""
    ) -> Observation:
        named = record.get("_path") or record.get("@stream") or path
        log = named[:_MAX_LOG_NAME_CHARS] if isinstance(named, str) else ""
        log = log or _guess(record)
        fields: dict[str, Scalar] = {"metadata.product": "zeek", "metadata.log_name": log}
        client, server = _endpoints(record, fields)
        activity, names = _ACTIVITIES.get(log, _OTHER)
        for ours, theirs in names:
            value = record.get(theirs)
            if isinstance(value, str):
                value = text(value)
            elif not isinstance(value, _NUMBER):
                continue
            if value is not None:
                fields[ours] = value
        protocol = record.get("proto")
        if isinstance(protocol, str):
            fields["connection_info.protocol_name"] = protocol[:16].lower()
        if log in _REFINED:
            _REFINED[log](record, fields)
        answered = _conn_answered(record) if log == "conn" else _app_answered(log, record)
        claim = Provenance.BIDIRECTIONAL if answered else Provenance.SPOOFABLE
        return Observation(
            self._name,
            number,
            time_ns(record.get("ts")),
            activity,
            self._capped[claim],
            client,
            server,
            fields,
            record,
            number,
            sensed_boot_ns,
        )


def _guess(record: Record) -> str:
    """Name a record whose writer named no stream, by a key that only that log has."""
    return next((log for key, log in _TELLING if key in record), "")


def _endpoints(record: Record, fields: dict[str, Scalar]) -> tuple[Entity | None, Entity | None]:
    mark = "id.orig_h" if "id.orig_h" in record else "id_orig_h"
    dot = mark[2]
    client = address(record.get(mark))
    server = address(record.get(f"id{dot}resp_h"))
    if client is not None:
        fields["src_endpoint.ip"] = client.value
        if (number := port(record.get(f"id{dot}orig_p"))) is not None:
            fields["src_endpoint.port"] = number
    if server is not None:
        fields["dst_endpoint.ip"] = server.value
        if (number := port(record.get(f"id{dot}resp_p"))) is not None:
            fields["dst_endpoint.port"] = number
    return client, server


def _conn_answered(record: Record) -> bool:
    state = record.get("conn_state")
    if record.get("proto") != "tcp" or not isinstance(state, str) or state not in _ESTABLISHED:
        return False
    history = record.get("history")
    if isinstance(history, str):
        # Lower case is the server: data or FIN it sends only after a whole handshake.
        return "d" in history or "f" in history
    sent = record.get("resp_bytes")
    return isinstance(sent, int | float) and sent > 0


def _app_answered(log: str, record: Record) -> bool:
    """Say whether the record holds what only the server's answer over TCP can have filled in."""
    wanted = _SERVER_SAID.get(log)
    protocol = record.get("proto")
    if wanted is None or protocol == "udp":
        return False
    if log == "ssl" and protocol != "tcp":
        return False  # DTLS and QUIC look alike here, and Zeek does not name the transport
    return record.get(wanted) not in (None, "", False)


def _conn(record: Record, fields: dict[str, Scalar]) -> None:
    state = record.get("conn_state")
    if record.get("proto") != "tcp":
        fields["status"] = "closed"
    elif isinstance(state, str):
        fields["status"] = _STATUS.get(state, "closed")


def _modbus(record: Record, fields: dict[str, Scalar]) -> None:
    kind = record.get("pdu_type")
    if isinstance(kind, str):
        fields["modbus.direction"] = "response" if kind.startswith("RESP") else "request"
    name = record.get("func")
    if isinstance(name, str):
        code = _FUNCTION_CODES.get(name.removesuffix("_EXCEPTION"))
        unknown = name.removeprefix("unknown-")
        if code is None and unknown.isascii() and unknown.isdecimal() and len(unknown) < 4:
            code = int(unknown)
        if code is not None:
            fields["modbus.function_code"] = code


def _login(record: Record, fields: dict[str, Scalar]) -> None:
    """Say how a login ended, where Zeek could tell."""
    outcome = record.get("auth_success", record.get("success"))
    if isinstance(outcome, bool):
        fields["status"] = "success" if outcome else "failure"


_ESTABLISHED: Final = frozenset(("SF", "S1", "S2", "S3", "RSTO", "RSTR"))
_STATUS: Final = {"S0": "no_answer", "REJ": "refused", "RSTRH": "refused", "S1": "open"}
# Per log, a field that only what the server answered over TCP fills in.
_SERVER_SAID: Final = {
    "http": "status_code",
    "ssl": "cipher",
    "ssh": "server",
    "smtp": "last_reply",
    "ftp": "reply_code",
    "rdp": "result",
    "rfb": "server_major_version",
    "ntlm": "server_nb_computer_name",
    "smb_mapping": "share_type",
    "dce_rpc": "rtt",
}
_TELLING: Final = (
    ("conn_state", "conn"),
    ("qtype_name", "dns"),
    ("trans_id", "dns"),
    ("status_code", "http"),
    ("user_agent", "http"),
    ("cipher", "ssl"),
    ("auth_attempts", "ssh"),
    ("note", "notice"),
    ("mailfrom", "smtp"),
)
_FUNCTION_CODES: Final = {
    "READ_COILS": 1,
    "READ_DISCRETE_INPUTS": 2,
    "READ_HOLDING_REGISTERS": 3,
    "READ_INPUT_REGISTERS": 4,
    "WRITE_SINGLE_COIL": 5,
    "WRITE_SINGLE_REGISTER": 6,
    "READ_EXCEPTION_STATUS": 7,
    "DIAGNOSTICS": 8,
    "WRITE_MULTIPLE_COILS": 15,
    "WRITE_MULTIPLE_REGISTERS": 16,
    "REPORT_SLAVE_ID": 17,
    "READ_FILE_RECORD": 20,
    "WRITE_FILE_RECORD": 21,
    "MASK_WRITE_REGISTER": 22,
    "READ_WRITE_MULTIPLE_REGISTERS": 23,
    "READ_FIFO_QUEUE": 24,
    "ENCAP_INTERFACE_TRANSPORT": 43,
}
_REFINED: Final = {
    "conn": _conn,
    "modbus": _modbus,
    "ssh": _login,
    "kerberos": _login,
    "ntlm": _login,
}
_OTHER: Final[tuple[str, tuple[tuple[str, str], ...]]] = ("base_event", ())
_ACTIVITIES: Final[dict[str, tuple[str, tuple[tuple[str, str], ...]]]] = {
    "conn": (
        "network_activity",
        (
            ("traffic.bytes_out", "orig_bytes"),
            ("traffic.bytes_in", "resp_bytes"),
            ("app_protocol", "service"),
        ),
    ),
    "dns": (
        "dns_activity",
        (("query.hostname", "query"), ("query.type", "qtype_name"), ("rcode", "rcode_name")),
    ),
    "http": (
        "http_activity",
        (
            ("http_request.http_method", "method"),
            ("http_request.url.path", "uri"),
            ("url.hostname", "host"),
            ("http_request.user_agent", "user_agent"),
            ("http_response.code", "status_code"),
        ),
    ),
    "ssl": ("network_activity", (("tls.sni", "server_name"), ("tls.version", "version"))),
    "ssh": ("authentication", (("ssh.client.software", "client"),)),
    "kerberos": ("authentication", (("user.name", "client"), ("service.name", "service"))),
    "ntlm": ("authentication", (("user.name", "username"),)),
    "smb_files": ("file_activity", (("file.path", "name"),)),
    "files": ("file_activity", (("file.path", "filename"),)),
    "notice": ("detection_finding", (("finding_info.title", "note"),)),
    "modbus": ("modbus", (("modbus.unit_id", "unit"), ("modbus.exception_code", "exception"))),
}
