"""Read Windows event logs as JSON lines, in the forms that shippers and converters write.

Who is trusted: the operating system wrote the event, so it is AUTHENTICATED. Exceptions, where
Windows repeats what a single packet claimed: a filtered or permitted inbound connection (decided
at the first packet), an inbound UDP datagram, and a Kerberos request, which may come by UDP.
Those are SPOOFABLE.
"""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Final

from cronos.config import Positive, Section
from cronos.ports import Clock, Reading, Source
from cronos.sense.normal import capped, host, integer, text, time_ns
from cronos.sense.records import Record, RecordReader, head_record
from cronos.sense.windows_events import claim, entities, lookup
from cronos.sense.windows_native import flatten, moment
from cronos.types import Manifest, Observation, Scalar

_NUMBERS: Final = frozenset(
    ("process.pid", "src_endpoint.port", "dst_endpoint.port", "logon_type_id")
)
_NAMES: Final = ("Channel", "SourceName", "Provider_Name", "EventSourceName", "ProviderGuid")


class WindowsConfig(Section, frozen=True):
    """Options of the `windows` sensor."""

    max_line_bytes: Positive = 1 << 20


class WindowsSensor:
    """Turns Windows events into observations; `native` is the flat view that rules read."""

    config_type: ClassVar[type[Section]] = WindowsConfig
    manifest = Manifest(
        "windows",
        "Windows event logs as JSON: NXLog, Winlogbeat, converted EVTX",
        ("lines", "live"),
    )

    def __init__(self, config: WindowsConfig, clock: Clock | None = None) -> None:
        self._config = config
        self._clock = clock

    @classmethod
    def recognise(cls, head: bytes) -> float:
        """Look for an event's names in the first record; see `Sensor.recognise`."""
        record = head_record(head)
        if "EventID" in record:
            return 0.9 if any(name in record for name in _NAMES) else 0.5
        if "winlog" in record or ("event_id" in record and "log_name" in record):
            return 0.9
        event = record.get("Event")
        inner = record if event is None or isinstance(event, str) else event
        return 0.9 if isinstance(inner, dict) and "System" in inner else 0.0

    def read(self, source: Source) -> Iterator[Sequence[Reading]]:
        """Yield one observation per line; see `Sensor.read`."""
        reader = RecordReader(source, self._clock, self._config.max_line_bytes)
        return reader.read(_Windows(source).build)


class _Windows:
    """Builds observations for one source."""

    def __init__(self, source: Source) -> None:
        self._name = source.name
        self._capped = capped(source.provenance)

    def build(self, record: Record, number: int, sensed_boot_ns: int) -> Observation | None:
        view = flatten(record)
        if view is None:
            return None
        channel = view.get("Channel")
        fields: dict[str, Scalar] = {"metadata.product": "windows"}
        if isinstance(channel, str):
            fields["metadata.log_name"] = channel[:128]
        machine = host(view.get("Computer"))
        if machine is not None:
            fields["device.hostname"] = machine.value
        rule = lookup(view)
        for ours, theirs in rule.names:
            value = view.get(theirs)
            short = integer(value) if ours in _NUMBERS else text(value)
            if short is not None:
                fields[ours] = short
        if rule.status and rule.status != "code":
            fields["status"] = rule.status
        actor, other_end = entities(view, rule, fields)
        return Observation(
            self._name,
            number,
            time_ns(moment(view)),
            rule.activity,
            self._capped[claim(view, rule)],
            actor,
            other_end or machine,
            fields,
            view,
            number,
            sensed_boot_ns,
        )
