"""The sink in memory keeps the port's contract."""

from collections.abc import Sequence

from cronos.ports import Sink
from cronos.testing.conformance.sink import SinkConformance
from cronos.testing.memory_bulk import MemorySink


class TestMemorySink(SinkConformance):
    def make(self) -> Sink:
        return MemorySink()

    def written(self, sink: Sink) -> Sequence[tuple[str, int]]:
        assert isinstance(sink, MemorySink)
        return [(incident.incident_id, incident.version) for incident in sink.written]
