"""Read syslog: RFC 3164, RFC 5424, and audit records, from files or from our own listeners.

Who is trusted. A log line is text that others write, so an address in it is SPOOFABLE, with two
exceptions, and only where the source itself is AUTHENTICATED (a file that the operator gave):

1. A line of a known authenticator (`authenticators`) that names an address it authenticated over
   TCP is BIDIRECTIONAL: sshd speaks of a user only after a whole key exchange. On a host where
   untrusted users may write to the log (``logger -t sshd``) set `authenticators` to nothing.
2. An audit record is AUTHENTICATED where it is the whole line, as in the audit daemon's own
   file, which nobody else writes. Behind a syslog header, or in a file that has lines with one,
   anybody may have written it (``logger -t audit``): it counts only by a program in `auditors`.

What arrives over the network, by UDP or TCP, stays SPOOFABLE: whoever can reach the port can
write any line. Messages of our listeners begin with ``@<peer> ``; see `cronos.sense.listen`.
"""

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, Final

import msgspec
from msgspec import Meta

from cronos.config import Positive, Section
from cronos.ports import Clock, Reading, Source
from cronos.sense import auditd, syslog_programs
from cronos.sense.lines import LineReader, first_line, too_long
from cronos.sense.normal import address, capped, host, user
from cronos.sense.records import Record
from cronos.sense.syslog_header import Header, YearRule, parse
from cronos.types import Defect, Entity, Manifest, Observation, Provenance, Scalar

LISTENER_PREFIX: Final = "syslog-"
_AUDITORS: Final = frozenset(("audispd", "audit", "auditd", "audisp-syslog", "kernel"))


class SyslogConfig(Section, frozen=True):
    """Options of the `syslog` sensor."""

    max_line_bytes: Positive = 1 << 20
    # Programs whose word on a client's address counts, in a file that the operator gave.
    authenticators: tuple[str, ...] = ("sshd", "sshd-session")
    # Programs whose audit records behind a syslog header count as the kernel's word.
    auditors: tuple[str, ...] = ()
    # RFC 3164 tells neither year nor zone: the year where there is no clock, and the zone.
    year: Annotated[int, Meta(ge=1970, le=2261)] = 1970
    utc_offset_minutes: Annotated[int, Meta(ge=-1439, le=1439)] = 0


class SyslogSensor:
    """Turns syslog lines into observations; the parts of the line are kept as `native`."""

    config_type: ClassVar[type[Section]] = SyslogConfig
    manifest = Manifest(
        "syslog", "syslog (RFC 3164, RFC 5424) and audit records", ("lines", "live")
    )

    def __init__(self, config: SyslogConfig, clock: Clock | None = None) -> None:
        self._config = config
        self._clock = clock

    @classmethod
    def recognise(cls, head: bytes) -> float:
        """Look for a priority, a time or an audit record; see `Sensor.recognise`."""
        if b"\0" in head[:1024].replace(b"\xff\xfe", b"") and not head.startswith(b"\xff\xfe"):
            return 0.0
        line = first_line(head).decode(errors="replace")
        if auditd.parse(line) is not None:
            return 0.9
        header = parse(line, YearRule())
        if header is None:
            return 0.0
        return 0.8 if header.time_ns or header.program else 0.3

    def read(self, source: Source) -> Iterator[Sequence[Reading]]:
        """Yield one observation per line; see `Sensor.read`."""
        limit = self._config.max_line_bytes
        lines = _Syslog(source, self._config)
        for chunk in LineReader(source, limit):
            now = self._clock.now() if self._clock and chunk else None
            years = YearRule(
                now.wall_ns if now else 0, self._config.year, self._config.utc_offset_minutes
            )
            boot_ns = now.boot_ns if now else 0
            yield [
                too_long(source, number, limit)
                if raw is None
                else lines.read(number, raw.decode(), years, boot_ns)
                for number, raw in chunk
            ]


class _Syslog:
    """Reads the lines of one source."""

    def __init__(self, source: Source, config: SyslogConfig) -> None:
        self._name = source.name
        self._listener = source.name.startswith(LISTENER_PREFIX)
        self._capped = capped(source.provenance)
        self._ours = source.provenance is Provenance.AUTHENTICATED and not self._listener
        self._trusted = frozenset(config.authenticators)
        self._auditors = frozenset(config.auditors)
        self._mixed = False  # somebody writes syslog lines into this file

    def read(self, number: int, line: str, years: YearRule, boot_ns: int) -> Reading:
        peer: Entity | None = None
        if self._listener and line.startswith("@"):
            name, _, line = line[1:].partition(" ")
            peer = address(name)
        audited = auditd.parse(line)
        believed = audited is not None and not self._mixed
        header = Header(line) if audited is not None else parse(line, years)
        if header is None:
            if peer is None:
                return self._foreign(number, line)
            header = Header(line)  # RFC 3164 section 4.3.3: any datagram is a message
        if audited is None and header.program in _AUDITORS:
            audited = auditd.parse(header.message.removeprefix("audit: "))
            believed = header.program in self._auditors
        self._mixed = self._mixed or header.message != line
        if audited is not None:
            seen = self._audit(number, header, audited, peer, boot_ns)
            spoofable = self._capped[Provenance.SPOOFABLE]
            return seen if believed else msgspec.structs.replace(seen, provenance=spoofable)
        return self._message(number, header, peer, boot_ns)

    def _foreign(self, number: int, line: str) -> Defect:
        return Defect(
            self._name,
            number,
            f"Line {number} has neither a priority nor a time; it begins with {line[:40]!r}.",
            "Keep one format to a file, or name the sensor that reads it.",
        )

    def _message(
        self, number: int, header: Header, peer: Entity | None, boot_ns: int
    ) -> Observation:
        fields, native = _common(header, peer)
        native["message"] = header.message
        told = syslog_programs.read(header.program, header.message, fields)
        machine = host(header.host)
        claim = Provenance.SPOOFABLE
        if told is not None and told.proved and self._ours and header.program in self._trusted:
            claim = Provenance.BIDIRECTIONAL
        return Observation(
            self._name,
            number,
            header.time_ns,
            told.activity if told else "base_event",
            self._capped[claim],
            told.actor if told else None,
            (told.target if told else None) or machine,
            fields,
            native,
            number,
            boot_ns,
        )

    def _audit(
        self,
        number: int,
        header: Header,
        audited: tuple[Record, int],
        peer: Entity | None,
        boot_ns: int,
    ) -> Observation:
        record, stamp = audited
        fields, native = _common(header, peer)
        fields["metadata.log_name"] = "auditd"
        native.update(record)
        activity = auditd.normalise(record, fields)
        source = address(record.get("addr")) if activity == "authentication" else None
        claim = Provenance.AUTHENTICATED if self._ours else Provenance.SPOOFABLE
        if source is not None:
            fields["src_endpoint.ip"] = source.value
            claim = Provenance.BIDIRECTIONAL if self._ours else Provenance.SPOOFABLE
        named = fields.get("actor.user.name", fields.get("user.name"))
        actor = source or (user(named))
        return Observation(
            self._name,
            number,
            stamp,
            activity,
            self._capped[claim],
            actor,
            host(record.get("node") or header.host),
            fields,
            native,
            number,
            boot_ns,
        )


def _common(header: Header, peer: Entity | None) -> tuple[dict[str, Scalar], Record]:
    """Give what every line has: the fields, and the native parts under their usual names."""
    fields: dict[str, Scalar] = {"metadata.product": "linux"}
    native: Record = {}
    if header.program:
        fields["metadata.log_name"] = native["program"] = header.program
    if header.host:
        native["hostname"] = header.host
        fields["device.hostname"] = header.host.lower()
    if header.pid:
        native["pid"] = header.pid
    if header.priority >= 0:
        native["facility"], native["severity"] = header.facility, header.severity
    if header.data:
        native["structured_data"] = header.data
    if peer is not None:
        native["peer"] = fields["device.ip"] = peer.value
    return fields, native
