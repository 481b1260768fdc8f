"""The metrics in memory keep the port's contract."""

from cronos.ports import Metrics
from cronos.testing.conformance.metrics import MetricsConformance
from cronos.testing.memory_ops import MemoryMetrics


class TestMemoryMetrics(MetricsConformance):
    def make(self) -> Metrics:
        return MemoryMetrics()

    def value(self, metrics: Metrics, name: str) -> float:
        assert isinstance(metrics, MemoryMetrics)
        return metrics.gauges.get(name, metrics.counters[name])

    def measurements(self, metrics: Metrics, name: str) -> int:
        assert isinstance(metrics, MemoryMetrics)
        return len(metrics.measurements[name])
