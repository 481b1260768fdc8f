"""A source, a sensor and a detector that live in memory: the smallest whole path of a finding."""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import ClassVar, Final

import msgspec

from cronos.ports import Reading, Source
from cronos.types import (
    Defect,
    Entity,
    EntityKind,
    EvidenceClass,
    Finding,
    Manifest,
    Observation,
    Provenance,
)

_READ_BYTES: Final = 1 << 16
_MAX_LINE_BYTES: Final = 1 << 16


class MemorySource:
    """Gives `data` in pieces of the sizes in `cuts`, in turn; a cut of 0 is a pause.

    Args:
        data: all bytes of the source.
        cuts: sizes of the pieces, repeated; empty gives as much as is asked for.
        name: what observations will name as their source.
        provenance: the most that the transport vouches for.
        first: the number of the first record.
    """

    def __init__(
        self,
        data: bytes,
        cuts: Sequence[int] = (),
        *,
        name: str = "memory",
        provenance: Provenance = Provenance.AUTHENTICATED,
        first: int = 1,
    ) -> None:
        self.name = name
        self.provenance = provenance
        self.first = first
        self.acknowledged = 0
        self.closed = False
        self._data = memoryview(data)
        self._cuts = cycle(cuts) if any(cuts) else None

    def read(self, size: int) -> bytes | None:
        """Give the next piece, at most `size` bytes; None where the cuts hold a pause."""
        if not self._data:
            return b""
        cut = size if self._cuts is None else next(self._cuts)
        if cut == 0:
            return None
        piece = bytes(self._data[: min(cut, size)])
        self._data = self._data[len(piece) :]
        return piece

    def acknowledge(self, seq: int) -> None:
        """Remember how far the reader has come."""
        self.acknowledged = max(self.acknowledged, seq)

    def close(self) -> None:
        """Remember that it was closed."""
        self.closed = True


class MemorySensor:
    """Reads lines ``activity actor target``; the sensor that examples and tests use."""

    manifest: ClassVar[Manifest] = Manifest("memory-lines", "Lines `activity actor target`.")

    @classmethod
    def recognise(cls, head: bytes) -> float:
        """Say 1 where the first line has three words."""
        return 1.0 if len(head.split(b"\n", 1)[0].split()) == 3 else 0.0

    def read(self, source: Source) -> Iterator[Sequence[Reading]]:
        """Yield one sequence for each piece read; an overlong line is one defect."""
        number, rest = source.first, b""
        while (piece := source.read(_READ_BYTES)) != b"":
            *lines, rest = (rest + (piece or b"")).split(b"\n")
            # One byte beyond the limit is kept of a long line: enough to know it for one.
            rest = rest[: _MAX_LINE_BYTES + 1]
            yield [_reading(source, number + i, line) for i, line in enumerate(lines)]
            number += len(lines)
        if rest:
            yield [_reading(source, number, rest)]


class MemoryDetector:
    """Reports an actor at every `threshold`-th observation; forgets the least recent actor first.

    Args:
        threshold: observations of one actor that make a finding.
        capacity: actors that are remembered.
    """

    manifest: ClassVar[Manifest] = Manifest("memory-count", "Counts what each actor does.")

    def __init__(self, threshold: int = 3, capacity: int = 1000) -> None:
        self._threshold = threshold
        self._capacity = capacity
        self._counts: OrderedDict[str, int] = OrderedDict()

    def detect(self, observations: Sequence[Observation]) -> Sequence[Finding]:
        """Count each observation that has an actor."""
        return [
            self._finding(observation)
            for observation in observations
            if observation.actor is not None and self._counted(observation.actor.value)
        ]

    def snapshot(self) -> bytes:
        """Give the counts, the least recent actor first."""
        return msgspec.msgpack.encode(list(self._counts.items()))

    def restore(self, state: bytes) -> None:
        """Take counts back.

        Raises:
            ValueError: `state` is not one.
        """
        counts = msgspec.msgpack.decode(state, type=list[tuple[str, int]])
        self._counts = OrderedDict(counts[-self._capacity :])

    def _counted(self, actor: str) -> bool:
        self._counts[actor] = self._counts.pop(actor, 0) + 1
        if len(self._counts) > self._capacity:
            self._counts.popitem(last=False)
        return self._counts[actor] % self._threshold == 0

    def _finding(self, last: Observation) -> Finding:
        name = f"{last.source}#{last.seq}"
        return Finding(
            finding_id=f"{self.manifest.name}-{name}",
            detector=self.manifest.name,
            title="An actor was counted",
            explanation=f"It acted {self._threshold} times more.",
            evidence=EvidenceClass.DECLARED,
            provenance=last.provenance,
            confidence=0.9,
            severity=3,
            time_ns=last.time_ns,
            actor=last.actor,
            target=last.target,
            observations=(name,),
            sensed_boot_ns=last.sensed_boot_ns,
        )


def _reading(source: Source, number: int, line: bytes) -> Reading:
    if len(line) > _MAX_LINE_BYTES:
        return _defect(source, number, "the line is too long")
    words = line.decode(errors="replace").split()
    if len(words) != 3:
        return _defect(source, number, "the line has not three words")
    activity, actor, target = words
    return Observation(
        source=source.name,
        seq=number,
        time_ns=number,
        activity=activity,
        provenance=source.provenance,
        actor=Entity(EntityKind.ADDRESS, actor),
        target=Entity(EntityKind.ADDRESS, target),
        position=number,
    )


def _defect(source: Source, number: int, reason: str) -> Defect:
    return Defect(source.name, number, reason, "Write `activity actor target`.")
