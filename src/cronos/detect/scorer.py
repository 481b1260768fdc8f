"""The scorer process: observations of all parsers in, findings to the reflex process out.

Nothing is lost when it crashes: it writes its detectors' state to a file every so often, tells
each parser how far that file reaches, and a parser that connects anew is told where to resume.
What was scored twice gives the same findings, which the kernel knows already. An observation
that has crashed it twice is left out, and reported as a defect.

The state lies sealed in ``scorer.sealed``; where nothing seals, in ``scorer.state``. One from
before there was sealing is read once, and goes with the first sealed one that is written; from
then on nothing unsealed is believed. The marker names a source by a hash: it is written with every
batch, so that a crash of any kind leaves it, and holds nothing that needs a key.
"""

import contextlib
import copy
import hashlib
import mmap
import os
import select
import selectors
import signal
import socket
import struct
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from cronos.detect.bounds import (
    MAX_SOURCES,
    WHOLE_BYTES,
    bounded,
    bounded_defect,
    cut,
    newest,
    sendable,
    within,
)
from cronos.detect.calibration import calibrated
from cronos.errors import CronosError, DeniedError, InputError, UnreachableError
from cronos.link.frames import FrameSocket, require_same_user
from cronos.ports import Clock, Detector, Sealer
from cronos.types import (
    Acknowledged,
    Batch,
    Datum,
    Defect,
    Finding,
    Hello,
    Observation,
    Report,
    Reported,
    Resume,
    Unknown,
    decode,
    encode,
)

_SNAPSHOT_NS: Final = 1_000_000_000
_PROGRESS_NS: Final = 200_000_000
_MAX_UNANSWERED: Final = 8
_MAX_FINDINGS: Final = 256
_MAX_CONNECTIONS: Final = 64
_MAX_NAME_CHARS: Final = 8_192  # of a source: the longest path is half as long
# The layout's version, crashes, sequence, the batch's last, a hash of the source's name.
_MARK: Final = struct.Struct("<BQQQ32s")
_MARK_VERSION: Final = 0xC2  # the first layout has a count of crashes in its place
_CONTEXT: Final = b"cronos-scorer-state-v1"
_MAX_CRASHES: Final = 2
# One batch takes milliseconds; a detector that needs this long will not end by itself.
_STUCK_S: Final = 30.0


class State(msgspec.Struct):
    """What a scorer needs to go on where another one ended."""

    sources: dict[str, int] = {}
    ended: list[str] = []
    counts: dict[str, int] = {}
    detectors: dict[str, bytes] = {}


class Marker:
    """Remembers, beyond a crash, which observation was being scored; a mapped file of 57 bytes."""

    def __init__(self, path: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(path, flags, 0o600)
        try:
            os.ftruncate(descriptor, _MARK.size)
            self._map = mmap.mmap(descriptor, _MARK.size)
        finally:
            os.close(descriptor)
        self.crashes, self._seq, self._last, self._source = self._noted()
        self.after_crash = self._seq > 0

    def _noted(self) -> tuple[int, int, int, bytes]:
        version, crashes, seq, last, source = _MARK.unpack(self._map[:])
        if version != _MARK_VERSION:  # new, or of an older version: nobody is blamed for a crash
            return 0, 0, 0, b""
        return int(crashes), int(seq), int(last), bytes(source)

    def is_poison(self, observation: Observation) -> bool:
        """Say whether this observation has crashed the scorer as often as it may."""
        same = self._seq == observation.seq and self._source == _hashed(observation.source)
        return bool(same and self.crashes >= _MAX_CRASHES)

    def begin(self, observation: Observation, last: Observation) -> None:
        """Note what is being scored, up to `last`; a crash now counts against the first."""
        source = _hashed(observation.source)
        same = self._seq == observation.seq and self._source == source
        crashes = self.crashes + 1 if same else 1
        # The batch may be cut otherwise when it comes again: all of the old one stays suspect.
        until = max(last.seq, self._last) if self.after_crash else last.seq
        _MARK.pack_into(self._map, 0, _MARK_VERSION, crashes, observation.seq, until, source)

    def clear(self, last: Observation) -> None:
        """Note that nothing is being scored; care ends with the batch that had crashed."""
        _MARK.pack_into(self._map, 0, _MARK_VERSION, 0, 0, 0, b"")
        if self._source == _hashed(last.source) and last.seq >= self._last:
            self.after_crash = False


@contextlib.contextmanager
def _deadline(seconds: float) -> Generator[None, None, None]:
    """Have the system end the process if the block takes this long.

    By SIGALRM, which nothing here catches: one long call into the standard library, a regular
    expression say, runs no Python code that could look at a clock. The marker names the culprit.
    """
    if seconds > 0:
        signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _hashed(source: str) -> bytes:
    return hashlib.sha256(source.encode()).digest()


class Scorer:
    """Runs detectors over batches; its state can be written down and taken up again.

    Args:
        detectors: in the order in which they judge.
        clock: stamps findings with the time of their detection.
        folder: where the state file and the marker lie.
        sealer: hides the state; None, or one that says "unsealed", leaves it readable.

    Raises:
        UnreachableError: the state is sealed, and who holds the key does not answer.
    """

    def __init__(
        self,
        detectors: Sequence[Detector],
        clock: Clock,
        folder: Path,
        sealer: Sealer | None = None,
    ) -> None:
        self._detectors = detectors
        self._clock = clock
        self._sealer = sealer if sealer is not None and sealer.seal_version else None
        self._readable = folder / "scorer.state"
        self._sealed = folder / "scorer.sealed"
        self._marker = Marker(folder / "scorer.mark")
        self.state = State()
        self.remarks: list[Defect] = []
        self._restore()

    def _restore(self) -> None:
        try:
            self.state = msgspec.msgpack.decode(self._stored(), type=State)
        except FileNotFoundError:
            pass
        except DeniedError as error:
            self._lament(error.sentence, error.remedy)
        except OSError as error:
            self._lament(f"{error.strerror}.", "Check the disk that holds the state.")
        except ValueError:
            self._lament("It is damaged.", "Nothing needs to be done.")
        # A detector that is new, or that cannot read what an older version wrote, begins afresh.
        for detector in self._detectors:
            with contextlib.suppress(KeyError, ValueError):
                detector.restore(self.state.detectors[detector.manifest.name])

    def _stored(self) -> bytes:
        """Read the state that counts: once there is a sealed one, no other is believed."""
        if self._sealer is None or not self._sealed.exists():
            return self._readable.read_bytes()
        stored = self._sealed.read_bytes()
        if stored[:1] != bytes((self._sealer.seal_version,)):
            raise ValueError("another seal version")
        return self._sealer.open(stored[1:], _CONTEXT)

    def _lament(self, why: str, remedy: str) -> None:
        reason = f"the state of the detectors could not be read and begins afresh: {why}"
        self.remarks.append(Defect("scorer", 1, reason.removesuffix("."), remedy))

    def score(self, batch: Batch) -> tuple[list[Finding], list[Defect]]:
        """Judge the observations of a batch that were not judged before."""
        seen = self.state.sources.get(batch.source, 0)
        fresh = [one for one in batch.observations if one.seq > seen]
        found: list[Finding] = []
        defects = list(batch.defects)
        if self._marker.after_crash:
            self._score_carefully(fresh, found, defects)
        else:
            # A crash in here is met again one by one, by the next scorer.
            if fresh:
                self._marker.begin(fresh[0], fresh[-1])
            for detector in self._detectors:
                found += detector.detect(fresh)
        if fresh:
            self._marker.clear(fresh[-1])
        self.state.sources[batch.source] = max(seen, batch.last_seq)
        counts = self.state.counts
        counts[batch.source] = counts.get(batch.source, 0) + len(fresh)
        if batch.ended and batch.source not in self.state.ended:
            self.state.ended.append(batch.source)
        self._forget(batch.source)
        boot_ns = self._clock.now().boot_ns
        held = [calibrated(bounded(finding)) for finding in found]
        told = [replace(finding, detected_boot_ns=boot_ns) for finding in held]
        refusals = [(finding, sendable(finding)) for finding in told]
        defects += [defect for _, defect in refusals if defect is not None]
        whole = [finding for finding, defect in refusals if defect is None]
        return whole, [bounded_defect(defect) for defect in defects]

    def _forget(self, source: str) -> None:
        """Keep what is known of the newest sources only: their names come from outside."""
        state = self.state
        for table in (state.sources, state.counts):
            table[source] = table.pop(source)  # the newest stands last
            while len(table) > MAX_SOURCES:
                del table[next(iter(table))]
        del state.ended[:-MAX_SOURCES]

    def _score_carefully(
        self, fresh: list[Observation], found: list[Finding], defects: list[Defect]
    ) -> None:
        for observation in fresh:
            if self._marker.is_poison(observation):
                reason = f"crashed the scorer {_MAX_CRASHES} times and was left out"
                remedy = "Report it with this record; the rest of the source was scored."
                defects.append(Defect(observation.source, observation.position, reason, remedy))
                continue
            self._marker.begin(observation, fresh[-1])
            for detector in self._detectors:
                found += detector.detect((observation,))

    def prepare(self) -> bytes:
        """Give the whole state as bytes to be written once it is safe to resume from it."""
        self.state.detectors = {d.manifest.name: d.snapshot() for d in self._detectors}
        return msgspec.msgpack.encode(self.state)

    def write(self, state: bytes) -> None:
        """Write a state down; the file is whole or the one before.

        Raises:
            CronosError: it cannot be sealed or written now; the one before stays.
        """
        path, other = self._readable, self._sealed
        if self._sealer is not None:
            state = bytes((self._sealer.seal_version,)) + self._sealer.seal(state, _CONTEXT)
            path, other = other, path
        try:
            _replace(path, state, other)
        except OSError as error:
            raise InputError(
                "detect.state_unwritable",
                f"The state of the detectors cannot be written to {path}: {error.strerror}.",
                "Free space on its disk; until then nothing that was read is forgotten.",
            ) from error


def _replace(path: Path, data: bytes, other: Path) -> None:
    """Write a file anew, and remove the one that it takes the place of."""
    new = path.with_suffix(".new")
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(new, flags, 0o600), "wb") as file:
        file.write(data)
        if other.exists():
            os.fsync(file.fileno())
    new.replace(path)
    other.unlink(missing_ok=True)


class Pending(msgspec.Struct):
    """What will be told to the reflex process with the next report."""

    findings: list[Finding] = []
    defects: list[Defect] = []
    processed: dict[str, int] = {}
    ended: list[str] = []


class ScorerProcess:
    """Serves parsers and the reflex process on one listening socket, in one thread.

    Parsers are not read from while the reflex process owes answers to several reports: the queue
    between the processes is the sockets' own, and bounded.

    Args:
        detectors: in the order in which they judge.
        listener: where parsers and the reflex process connect.
        clock: the time.
        folder: where the state is written down.
        stuck_s: after how many seconds on one batch the process ends itself, to be started
            anew; the observation on which it hangs is then left out. 0 waits for ever.
        sealer: hides the state that is written down.
    """

    def __init__(
        self,
        detectors: Sequence[Detector],
        listener: socket.socket,
        clock: Clock,
        folder: Path,
        *,
        stuck_s: float = _STUCK_S,
        sealer: Sealer | None = None,
    ) -> None:
        self._scorer = Scorer(detectors, clock, folder, sealer)
        self._stuck_s = stuck_s
        self._listener = listener
        self._clock = clock
        self._selector = selectors.DefaultSelector()
        self._selector.register(listener, selectors.EVENT_READ)
        self._parsers: dict[FrameSocket, set[str]] = {}
        self._reflex: FrameSocket | None = None
        self._pending = Pending()
        self._pending.defects += self._scorer.remarks
        for detector in detectors:
            self._pending.defects += getattr(detector, "remarks", ())
        self._unanswered: dict[int, Report] = {}
        # An earlier scorer counted from less: an answer to it is none to this one.
        self._report_id = clock.now().boot_ns
        self._told_ns = self._written_ns = 0
        self._prepared: tuple[int, bytes, State] | None = None
        self._dirty = self._urgent = self._unwritten = False
        self.stopping = False

    def serve(self) -> None:
        """Serve until `stopping` is set."""
        while not self.stopping:
            for key, _ in self._selector.select(0.05):
                if key.fileobj is self._listener:
                    self._accept()
                elif isinstance(key.fileobj, FrameSocket):
                    self._drain(key.fileobj)
            self._tell()
            self._write_down()
        self._close()

    def _close(self) -> None:
        """Hang up on everyone."""
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, FrameSocket):
                self._drop(key.fileobj)
        self._selector.close()

    def _accept(self) -> None:
        connected, _ = self._listener.accept()
        try:
            require_same_user(connected)
        except CronosError:
            connected.close()
            return
        if len(self._selector.get_map()) > _MAX_CONNECTIONS:
            connected.close()
            return
        self._selector.register(FrameSocket(connected), selectors.EVENT_READ)

    def _drain(self, connection: FrameSocket) -> None:
        """Take what a connection has sent; one that breaks or talks nonsense is closed."""
        if connection in self._parsers and len(self._unanswered) >= _MAX_UNANSWERED:
            self._await_reflex()
            return
        try:
            frame = connection.receive(0)
            while frame is not None:
                self._take(connection, decode(frame))
                frame = connection.receive(0) if connection.pending() else None
        except (CronosError, ValueError):
            self._drop(connection)

    def _await_reflex(self) -> None:
        """Wait a moment for the reflex process, which has more reports than it can answer."""
        waiting = [self._reflex] if self._reflex is not None else [self._listener]
        if select.select(waiting, [], [], 0.05)[0] and self._reflex is not None:
            self._drain(self._reflex)

    def _drop(self, connection: FrameSocket) -> None:
        with contextlib.suppress(KeyError, ValueError):
            self._selector.unregister(connection)
        self._parsers.pop(connection, None)
        if connection is self._reflex:
            self._reflex = None
        connection.close()

    def _take(self, connection: FrameSocket, datum: Datum | Unknown) -> None:
        match datum:
            case Batch() if connection in self._parsers and len(datum.source) <= _MAX_NAME_CHARS:
                self._score(connection, datum)
            case Reported(report_id) if connection is self._reflex:
                self._unanswered.pop(report_id, None)
            case Hello("parser"):
                self._parsers[connection] = set()
                connection.send(encode(Resume(newest(self._scorer.state.sources, WHOLE_BYTES))))
            case Hello("reflex"):
                self._reflex = connection
                for report in self._unanswered.values():
                    connection.send(encode(report))
            case _:
                raise ValueError("not a message for the scorer")

    def _score(self, parser: FrameSocket, batch: Batch) -> None:
        with _deadline(self._stuck_s):
            findings, defects = self._scorer.score(batch)
        pending = self._pending
        pending.findings += findings
        pending.defects += defects
        pending.processed[batch.source] = self._scorer.state.counts[batch.source]
        self._parsers[parser].add(batch.source)
        self._dirty = True
        if batch.ended:
            pending.ended.append(batch.source)
            self._urgent = True

    def _tell(self) -> None:
        """Report what was found at once, and progress alone every 200 ms."""
        pending = self._pending
        now_ns = self._clock.now().boot_ns
        late = bool(pending.processed) and now_ns - self._told_ns >= _PROGRESS_NS
        if self._reflex is None or not (pending.findings or pending.ended or late):
            return
        self._told_ns = now_ns
        while True:
            findings = cut(pending.findings, _MAX_FINDINGS)
            defects = cut(pending.defects, _MAX_FINDINGS)
            del pending.findings[: len(findings)], pending.defects[: len(defects)]
            # The last report carries the ends: by then the findings before them have been told.
            last = not pending.findings and not pending.defects
            ended = within(pending.ended) if last else []
            processed = newest(pending.processed) if last else {}
            del pending.ended[: len(ended)]
            last = last and not pending.ended
            self._report_id += 1
            report = Report(self._report_id, findings, defects, processed, tuple(ended))
            self._unanswered[report.report_id] = report
            self._send_report(report)
            if last:
                break
        self._pending = Pending()

    def _send_report(self, report: Report) -> None:
        if self._reflex is None:
            return
        try:
            self._reflex.send(encode(report))
        except CronosError:
            self._drop(self._reflex)

    def _write_down(self) -> None:
        """Write the state once everything it has told is durable, and let parsers forget."""
        now_ns = self._clock.now().boot_ns
        due = self._urgent or now_ns - self._written_ns >= _SNAPSHOT_NS
        if self._prepared is None and self._dirty and due and not self._pending.processed:
            state = self._scorer.prepare()
            # What the file will say, to acknowledge no more than that; detectors' bytes aside.
            self._scorer.state.detectors = {}
            self._prepared = self._report_id, state, copy.deepcopy(self._scorer.state)
            self._dirty = self._urgent = False
        if (
            self._prepared is None
            or min(self._unanswered, default=self._report_id + 1) <= (self._prepared[0])
        ):
            return
        _, data, state_then = self._prepared
        self._prepared, self._written_ns = None, now_ns
        try:
            self._scorer.write(data)
        except CronosError as error:
            self._dirty = True  # tried again; no parser forgets meanwhile
            self._complain(error)
            return
        self._unwritten = False
        for parser, sources in list(self._parsers.items()):
            self._acknowledge(parser, sources, state_then)

    def _complain(self, error: CronosError) -> None:
        """Report once that the state cannot be written; that a key holder restarts is no news."""
        if not self._unwritten and not isinstance(error, UnreachableError):
            self._unwritten = True
            reason = error.sentence.removesuffix(".")
            self._pending.defects.append(Defect("scorer", 1, reason, error.remedy))

    def _acknowledge(self, parser: FrameSocket, sources: set[str], state: State) -> None:
        try:
            for source in sorted(sources):
                ended = source in state.ended
                seq = state.sources.get(source, 0)
                parser.send(encode(Acknowledged(source, seq, ended)))
                if ended:
                    sources.discard(source)
        except CronosError:
            self._drop(parser)
