"""Telemetry of one process: JSON logs on standard error, and metrics held in memory.

What a log line tells of a stranger's text is stripped of control and bidirectional characters,
so that no log viewer is steered by it.
"""

import json
import sys
import unicodedata
from typing import Final, TextIO

from cronos.ports import Clock

_MAX_TEXT: Final = 2_000
_MAX_SAMPLES: Final = 4_096
_LEVELS: Final = {"info": 0, "warning": 1, "error": 2}


def plain(text: str) -> str:
    """Strip what could steer a terminal or hide text: control, format and surrogate characters."""
    kept = "".join(c if c == " " or unicodedata.category(c)[0] != "C" else "\ufffd" for c in text)
    return kept[:_MAX_TEXT]


class Log:
    """Writes a JSON object per line: ``ts, level, event, node, incident`` and details."""

    def __init__(
        self, node: str, clock: Clock, stream: TextIO | None = None, least: str = "info"
    ) -> None:
        self._node = node
        self._least = _LEVELS[least]
        self._clock = clock
        self._stream = stream

    def write(self, level: str, event: str, incident: str = "", **more: object) -> None:
        """Write a line; a log that cannot be written must not stop the defence."""
        if _LEVELS[level] < self._least:
            return
        line: dict[str, object] = {
            "ts": round(self._clock.now().wall_ns / 1e9, 6),
            "level": level,
            "event": event,
            "node": self._node,
            "incident": incident,
        }
        for key, value in more.items():
            line[key] = value if isinstance(value, int | float) else plain(str(value))
        try:
            print(json.dumps(line), file=self._stream or sys.stderr, flush=True)
        except OSError:
            return


class MemoryMetrics:
    """Counters, gauges and the latest measurements of each distribution; bounded."""

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}
        self.gauges: dict[str, float] = {}
        self._samples: dict[str, list[float]] = {}
        self._seen: dict[str, int] = {}

    def count(self, name: str, amount: int = 1) -> None:
        """Add to a counter."""
        self.counters[name] = self.counters.get(name, 0) + amount

    def gauge(self, name: str, value: float) -> None:
        """Set a gauge."""
        self.gauges[name] = value

    def observe(self, name: str, value: float) -> None:
        """Add one measurement; the oldest of 4,096 makes room."""
        samples = self._samples.setdefault(name, [])
        seen = self._seen.get(name, 0)
        self._seen[name] = seen + 1
        if len(samples) < _MAX_SAMPLES:
            samples.append(value)
        else:
            samples[seen % _MAX_SAMPLES] = value

    def quantile(self, name: str, q: float) -> float:
        """Give the quantile `q` in [0, 1] of the latest measurements; 0 where there are none."""
        samples = sorted(self._samples.get(name, ()))
        return samples[min(len(samples) - 1, int(q * len(samples)))] if samples else 0.0
