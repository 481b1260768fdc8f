"""The metrics in memory keep the port's contract."""

from cronos.link.metrics import MemoryMetrics
from cronos.ports import Metrics
from cronos.testing.conformance.metrics import MetricsConformance


class TestMemoryMetrics(MetricsConformance):
    def make(self) -> Metrics:
        return MemoryMetrics()

    def value(self, metrics: Metrics, name: str) -> float:
        assert isinstance(metrics, MemoryMetrics)
        return metrics.gauges.get(name, metrics.counters.get(name, 0))

    def measurements(self, metrics: Metrics, name: str) -> int:
        assert isinstance(metrics, MemoryMetrics)
        return len(metrics.samples[name])
