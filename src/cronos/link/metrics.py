"""Metrics of one process, held in memory and bounded."""

from typing import Final

_MAX_NAMES: Final = 1_024
_MAX_SAMPLES: Final = 4_096


class MemoryMetrics:
    """Counters, gauges, and the latest measurements of each distribution.

    Names come from code, never from input; beyond 1,024 of a kind, new ones are not kept.
    """

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}
        self.gauges: dict[str, float] = {}
        self.samples: dict[str, list[float]] = {}
        self._seen: dict[str, int] = {}

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a counter."""
        if name in self.counters or len(self.counters) < _MAX_NAMES:
            self.counters[name] = self.counters.get(name, 0) + amount

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge."""
        if name in self.gauges or len(self.gauges) < _MAX_NAMES:
            self.gauges[name] = value

    def observe(self, name: str, value: float) -> None:
        """Add one measurement; it takes the place of the oldest of 4,096."""
        if name not in self.samples and len(self.samples) >= _MAX_NAMES:
            return
        samples = self.samples.setdefault(name, [])
        seen = self._seen.get(name, 0)
        self._seen[name] = seen + 1
        if len(samples) < _MAX_SAMPLES:
            samples.append(value)
        else:
            samples[seen % _MAX_SAMPLES] = value

    def quantile(self, name: str, q: float) -> float:
        """Give the quantile `q` in [0, 1] of the latest measurements; 0 where there are none."""
        samples = sorted(self.samples.get(name, ()))
        return samples[min(len(samples) - 1, int(q * len(samples)))] if samples else 0.0

    def read(self) -> dict[str, float]:
        """Give everything by name; of a distribution its count, median and 99th percentile."""
        told: dict[str, float] = {**self.counters, **self.gauges}
        for name in self.samples:
            told[f"{name}.count"] = self._seen[name]
            told[f"{name}.p50"] = round(self.quantile(name, 0.5), 3)
            told[f"{name}.p99"] = round(self.quantile(name, 0.99), 3)
        return dict(sorted(told.items()))
