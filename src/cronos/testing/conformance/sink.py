"""What every `Sink` must do."""

from collections.abc import Sequence

from cronos.ports import Sink
from cronos.testing.conformance.base import same
from cronos.testing.conformance.samples import incident


class SinkConformance:
    """Subclass and write `make` and `written`."""

    def make(self) -> Sink:
        """Give a sink into which nothing has been written."""
        raise NotImplementedError

    def written(self, sink: Sink) -> Sequence[tuple[str, int]]:
        """Give ``(incident id, version)`` of all that arrived at the other side, in order."""
        raise NotImplementedError

    def test_incidents_arrive_in_order(self) -> None:
        """Write two versions of one incident."""
        sink = self.make()
        sink.write([incident(version=1), incident(version=2)])
        same(list(self.written(sink)), [("test-1-i1", 1), ("test-1-i1", 2)], "Both arrive.")

    def test_the_same_incident_and_version_twice_is_one(self) -> None:
        """Write it again, alone and with another, as after a crash."""
        sink = self.make()
        sink.write([incident(version=1)])
        sink.write([incident(version=1), incident(version=2)])
        same(list(self.written(sink)), [("test-1-i1", 1), ("test-1-i1", 2)], "Each arrives once.")

    def test_nothing_written_is_nothing(self) -> None:
        """Write an empty batch."""
        sink = self.make()
        sink.write([])
        same(list(self.written(sink)), [], "Nothing arrives.")
