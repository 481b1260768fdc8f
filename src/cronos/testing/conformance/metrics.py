"""What every `Metrics` must do."""

from cronos.ports import Metrics
from cronos.testing.conformance.base import same


class MetricsConformance:
    """Subclass and write `make`, `value` and `measurements`."""

    def make(self) -> Metrics:
        """Give metrics in which nothing was counted."""
        raise NotImplementedError

    def value(self, metrics: Metrics, name: str) -> float:
        """Give what a counter or gauge stands at."""
        raise NotImplementedError

    def measurements(self, metrics: Metrics, name: str) -> int:
        """Give how many measurements were added to a distribution."""
        raise NotImplementedError

    def test_counters_add_up(self) -> None:
        """Count by one and by more."""
        metrics = self.make()
        metrics.count("findings")
        metrics.count("findings", 4)
        metrics.count("incidents")
        same(self.value(metrics, "findings"), 5, "A counter adds up.")
        same(self.value(metrics, "incidents"), 1, "Counters are apart.")

    def test_a_gauge_keeps_the_last_value(self) -> None:
        """Set it up and down."""
        metrics = self.make()
        for value in (1.0, 9.0, 4.5):
            metrics.gauge("queue", value)
        same(self.value(metrics, "queue"), 4.5, "A gauge keeps the last value.")

    def test_measurements_are_counted(self) -> None:
        """Add three."""
        metrics = self.make()
        for value in (0.1, 0.1, 2.0):
            metrics.observe("latency_s", value)
        same(self.measurements(metrics, "latency_s"), 3, "Each measurement counts.")
