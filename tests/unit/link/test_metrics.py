"""Metrics count and measure within bounds."""

from cronos.link.metrics import MemoryMetrics


def test_counters_and_gauges_and_distributions_are_read_by_name():
    metrics = MemoryMetrics()
    metrics.count("findings")
    metrics.count("findings", 4)
    metrics.gauge("queue", 2.5)
    for value in range(100):
        metrics.observe("isolation_ms", value)

    assert metrics.read() == {
        "findings": 5,
        "isolation_ms.count": 100,
        "isolation_ms.p50": 50,
        "isolation_ms.p99": 99,
        "queue": 2.5,
    }


def test_the_latest_measurements_take_the_place_of_the_oldest():
    metrics = MemoryMetrics()
    for value in range(10_000):
        metrics.observe("d", value)

    assert len(metrics.samples["d"]) == 4_096
    assert min(metrics.samples["d"]) >= 10_000 - 4_096
    assert metrics.read()["d.count"] == 10_000


def test_a_distribution_without_measurements_is_zero():
    assert MemoryMetrics().quantile("nothing", 0.5) == 0.0


def test_names_beyond_the_bound_are_not_kept():
    metrics = MemoryMetrics()
    for number in range(2_000):
        metrics.count(f"c{number}")
        metrics.gauge(f"g{number}", 1.0)
        metrics.observe(f"d{number}", 1.0)

    assert len(metrics.counters) == len(metrics.gauges) == len(metrics.samples) == 1_024
