"""What carries and takes bulk, in memory: a stream, a sink and a model."""

from collections.abc import Sequence
from typing import ClassVar

from cronos.types import Incident, Manifest


class MemoryStream:
    """A list for each subject."""

    def __init__(self) -> None:
        self._subjects: dict[str, list[bytes]] = {}

    async def publish(self, subject: str, data: bytes) -> int:
        """Append; give the position under `subject`, from 1."""
        messages = self._subjects.setdefault(subject, [])
        messages.append(data)
        return len(messages)

    async def fetch(self, subject: str, after: int, count: int) -> Sequence[bytes]:
        """Give at most `count` messages that follow position `after`."""
        return self._subjects.get(subject, [])[max(0, after) : max(0, after) + max(0, count)]


class MemorySink:
    """Keeps every version of every incident once, in the order of arrival."""

    manifest: ClassVar[Manifest] = Manifest("memory-sink", "Incidents in a list.")

    def __init__(self) -> None:
        self._written: dict[tuple[str, int], Incident] = {}

    def write(self, incidents: Sequence[Incident]) -> None:
        """Take incidents; the same incident and version twice is one."""
        for incident in incidents:
            self._written.setdefault((incident.incident_id, incident.version), incident)

    @property
    def written(self) -> tuple[Incident, ...]:
        """What has been taken."""
        return tuple(self._written.values())


class MemoryModel:
    """Scores a row by its distance from `centre`: the sum of absolute differences."""

    manifest: ClassVar[Manifest] = Manifest("memory-model", "Distance from a centre.")

    def __init__(self, centre: Sequence[float]) -> None:
        self._centre = tuple(centre)

    def score(self, rows: Sequence[Sequence[float]]) -> Sequence[float]:
        """Give one score per row, higher for more distant."""
        return [
            sum(abs(value - usual) for value, usual in zip(row, self._centre, strict=True))
            for row in rows
        ]
