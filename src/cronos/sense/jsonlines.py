"""Read any JSON objects: one a line, an array of them, or a document with a list of records.

The fallback for what no other sensor knows (CloudTrail, Microsoft 365, Azure …): the record is
kept whole as `native` for the rules that know its names, and nothing in it is believed to name
an actor. An address in it is somebody's text: SPOOFABLE, unless the source is authenticated and
then it is only as good as the service that wrote it, which this sensor does not know.
"""

from collections.abc import Iterator, Sequence
from typing import ClassVar, Final

from cronos.config import Positive, Section
from cronos.ports import Clock, Reading, Source
from cronos.sense.documents import Documents, looks_like_documents
from cronos.sense.lines import LineReader, NumberedLine, first_line
from cronos.sense.normal import capped, text, time_ns
from cronos.sense.records import Build, Record, RecordReader, head_record
from cronos.types import Manifest, Observation, Provenance, Scalar

_TIMES: Final = (
    "@timestamp",
    "eventTime",
    "timestamp",
    "TimeGenerated",
    "CreationTime",
    "Timestamp",
    "time",
    "ts",
    "date",
)
_NAMES: Final = ("eventSource", "Type", "OfficeWorkload", "Workload", "log_type", "Category")


class JsonLinesConfig(Section, frozen=True):
    """Options of the `json` sensor."""

    max_line_bytes: Positive = 1 << 20
    # What the records say of their product, for rules that ask for one.
    product: str = ""


class JsonLinesSensor:
    """Turns JSON objects into base events; where they are lines, the line is the number."""

    config_type: ClassVar[type[Section]] = JsonLinesConfig
    manifest = Manifest("json", "any JSON records: lines, an array or one document", ("lines",))

    def __init__(self, config: JsonLinesConfig, clock: Clock | None = None) -> None:
        self._config = config
        self._clock = clock

    @classmethod
    def recognise(cls, head: bytes) -> float:
        """Look for a JSON object or the beginning of a document; see `Sensor.recognise`."""
        if head_record(head):
            return 0.4
        return 0.3 if looks_like_documents(first_line(head)) else 0.0

    def read(self, source: Source) -> Iterator[Sequence[Reading]]:
        """Yield one observation per object; see `Sensor.read`."""
        reader = RecordReader(source, self._clock, self._config.max_line_bytes)
        build = _Json(source, self._config.product).build
        chunks = iter(LineReader(source, self._config.max_line_bytes))
        for lines in chunks:
            if lines:
                yield from self._begin(source, lines, chunks, reader, build)
            else:
                yield []

    def _begin(
        self,
        source: Source,
        lines: list[NumberedLine],
        chunks: Iterator[list[NumberedLine]],
        reader: RecordReader,
        build: Build,
    ) -> Iterator[Sequence[Reading]]:
        """Choose between lines and documents by the first line, and stay with it."""
        first = lines[0][1]
        if first is not None and looks_like_documents(first):
            documents = Documents(source.first, self._config.max_line_bytes)
            yield from documents.read(lines, chunks, reader, build)
            return
        yield reader.readings(lines, build)
        for more in chunks:
            yield reader.readings(more, build)


class _Json:
    """Builds base events for one source."""

    def __init__(self, source: Source, product: str) -> None:
        self._name = source.name
        self._product = product
        self._provenance = capped(source.provenance)[Provenance.SPOOFABLE]

    def build(self, record: Record, number: int, sensed_boot_ns: int) -> Observation:
        fields: dict[str, Scalar] = {}
        if self._product:
            fields["metadata.product"] = self._product
        named = next((name for key in _NAMES if (name := text(record.get(key)))), None)
        if named is not None:
            fields["metadata.log_name"] = named[:128]
        when = next((moment for key in _TIMES if (moment := time_ns(record.get(key)))), 0)
        return Observation(
            self._name,
            number,
            when,
            "base_event",
            self._provenance,
            None,
            None,
            fields,
            record,
            number,
            sensed_boot_ns,
        )
