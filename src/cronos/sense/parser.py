"""The parser process: opens sources, runs sensors over them, sends batches to the scorer.

It keeps nothing that it could not read again. When the scorer has been restarted, or this
process has, each source is read anew and what was processed already is skipped by its number.
"""

import time
from collections.abc import Callable, Sequence
from typing import Final

from msgspec.structs import replace

from cronos.errors import InputError, UnreachableError
from cronos.ports import Clock, Reading, Sensor, Source, Transport
from cronos.types import (
    MAX_FRAME_BYTES,
    Acknowledged,
    Batch,
    Defect,
    Hello,
    Observation,
    Resume,
    decode,
    encode,
)

_MAX_DEFECTS: Final = 1_000
_REOPEN_S: Final = 0.05
_MAX_PAUSES: Final = 20

Open = Callable[[], tuple[Source, Sensor]]


class Parser:
    """Sends one source after the other, or one live source until it is told to stop.

    Args:
        connect: gives a new connection to the scorer.
        clock: stamps observations of live sources.
        batch_observations: the most in one batch.
        pid: this process, for the scorer's log.
    """

    def __init__(
        self, connect: Callable[[], Transport], clock: Clock, batch_observations: int, pid: int
    ) -> None:
        self._connect = connect
        self._clock = clock
        self._most = batch_observations
        self._pid = pid
        self._scorer: Transport | None = None
        self._resume: dict[str, int] = {}
        self._ended: set[str] = set()
        self._told: dict[str, str] = {}
        self.stopping = False

    def run(self, openers: Sequence[tuple[str, Open]], live: bool) -> None:
        """Read every source to its end; a live one is opened anew whenever it ends.

        Each opener stands behind what people call its source, for when it cannot be opened.
        """
        try:
            for name, opener in openers:
                self._until_done(name, opener, live)
        finally:
            self._hang_up()

    def _until_done(self, name: str, opener: Open, live: bool) -> None:
        again, failures = True, 0
        while again and not self.stopping:
            try:
                failures = 0 if self._one(name, opener, live) else failures + 1
                again = live
            except UnreachableError:
                # The scorer is restarting: greet it again, and read this source again.
                self._hang_up()
            if again:
                self._pause(failures)

    def _pause(self, failures: int) -> None:
        """Wait a moment before a source is opened again, longer where that keeps failing."""
        for _ in range(min(2**failures, _MAX_PAUSES)):
            if self.stopping:
                return
            time.sleep(_REOPEN_S)

    def _hang_up(self) -> None:
        if self._scorer is not None:
            self._scorer.close()
            self._scorer = None

    def _one(self, name: str, opener: Open, live: bool) -> bool:
        """Read one source; False when it could not be read to its end."""
        if self._scorer is None:
            self._greet()
        try:
            source, sensor = opener()
        except InputError as error:
            self._give_up(name, error)
            return False
        self._told.pop(name, None)
        try:
            return self._read(source, sensor, live)
        finally:
            source.close()

    def _give_up(self, name: str, error: InputError) -> None:
        """Report a source that cannot be opened at all; once, however often it is tried."""
        if self.stopping or self._told.get(name) == error.sentence:
            return
        self._told[name] = error.sentence
        outbox = Outbox(name, self._most, self._send)
        outbox.add([_broken(name, error)], 0, 0)
        outbox.flush(ended=True)

    def _greet(self) -> None:
        scorer = self._connect()
        scorer.send(encode(Hello("parser", self._pid)))
        frame = scorer.receive(30.0)
        resume = decode(frame) if frame is not None else None
        if not isinstance(resume, Resume):
            raise UnreachableError(
                "sense.no_resume",
                "The scorer did not say where to resume.",
                "It restarts by itself; see its last log line.",
            )
        self._scorer, self._resume = scorer, dict(resume.sources)

    def _read(self, source: Source, sensor: Sensor, live: bool) -> bool:
        outbox, whole = Outbox(source.name, self._most, self._send), True
        try:
            self._read_on(source, sensor, live, outbox)
        except InputError as error:
            whole = False
            outbox.add([_broken(source.name, error)], 0, 0)
        outbox.flush(ended=True)
        while source.name not in self._ended and not self.stopping:
            self._hear(source, 1.0)
        return whole

    def _read_on(self, source: Source, sensor: Sensor, live: bool, outbox: "Outbox") -> None:
        done = self._resume.get(source.name, 0)
        for readings in sensor.read(source):
            outbox.add(readings, done, self._clock.now().boot_ns if live else 0)
            if live:
                outbox.flush()
            self._hear(source, 0.0)
            if self.stopping:
                return

    def _send(self, batch: bytes) -> None:
        if self._scorer is not None:
            self._scorer.send(batch)

    def _hear(self, source: Source, timeout_s: float) -> None:
        """Take acknowledgements: what they cover may be forgotten."""
        while self._scorer is not None:
            frame = self._scorer.receive(timeout_s)
            if frame is None:
                return
            word = decode(frame)
            if isinstance(word, Acknowledged) and word.source == source.name:
                source.acknowledge(word.seq)
                self._resume[word.source] = word.seq
                if word.ended:
                    self._ended.add(word.source)
                    return


class Outbox:
    """Gathers readings of one source into batches that fit a frame."""

    def __init__(self, source: str, most: int, send: Callable[[bytes], None]) -> None:
        self._source = source
        self._most = most
        self._send = send
        self._observations: list[Observation] = []
        self._defects: list[Defect] = []
        self._defect_count = 0
        self._untold_from = 0
        self.last_seq = 0

    def add(self, readings: Sequence[Reading], done: int, sensed_ns: int) -> None:
        """Take readings; observations up to `done` were processed before."""
        for reading in readings:
            if isinstance(reading, Defect):
                self._add_defect(reading)
                continue
            self.last_seq = reading.seq
            if reading.seq > done:
                self._observations.append(_stamp(reading, sensed_ns))
                if len(self._observations) >= self._most:
                    self.flush()

    def _add_defect(self, defect: Defect) -> None:
        """Keep the first thousand; a file of noise must not become a flood of its own."""
        self._defect_count += 1
        if self._defect_count <= _MAX_DEFECTS or defect.position == 0:
            self._defects.append(defect)
        elif self._defect_count == _MAX_DEFECTS + 1:
            self._untold_from = defect.position

    def flush(self, ended: bool = False) -> None:
        """Send what was gathered."""
        if not (self._observations or self._defects or ended):
            return
        observations, self._observations = tuple(self._observations), []
        defects, self._defects = tuple(self._defects), []
        if ended and self._defect_count > _MAX_DEFECTS:
            more = self._defect_count - _MAX_DEFECTS
            reason = f"{more} more records could not be read"
            left_out = Defect(self._source, self._untold_from, reason, "See the first ones.")
            defects = (*defects, left_out)
        self._send_fitting(Batch(self._source, self.last_seq, observations, defects, ended))

    def _send_fitting(self, batch: Batch) -> None:
        """Halve a batch that is longer than a frame; one observation that is, is a defect."""
        data = encode(batch)
        many = batch.observations
        if len(data) <= MAX_FRAME_BYTES:
            self._send(data)
        elif len(many) <= 1:
            position = many[0].position if many else 0
            reason, remedy = "longer than 1 MiB once read", "Shorten the record at its source."
            defect = Defect(batch.source, position, reason, remedy)
            self._send(encode(replace(batch, observations=(), defects=(defect,))))
        else:
            half = len(many) // 2
            self._send_fitting(Batch(batch.source, many[half - 1].seq, many[:half], batch.defects))
            self._send_fitting(replace(batch, observations=many[half:], defects=()))


def _broken(name: str, error: InputError) -> Defect:
    """Make the defect of a source that ends here; position 0 stands for the source itself."""
    return Defect(name, 0, error.sentence.removesuffix("."), error.remedy)


def _stamp(observation: Observation, sensed_ns: int) -> Observation:
    if sensed_ns == 0 or observation.sensed_boot_ns:
        return observation
    return replace(observation, sensed_boot_ns=sensed_ns)
