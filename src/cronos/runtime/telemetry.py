"""Telemetry of one process: JSON logs on standard error.

What a log line tells of a stranger's text is stripped of control and bidirectional characters,
so that no log viewer is steered by it.
"""

import json
import sys
from typing import Final, TextIO

from cronos.link.text import plain
from cronos.ports import Clock

_LEVELS: Final = {"info": 0, "warning": 1, "error": 2}


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
