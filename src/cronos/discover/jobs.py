"""Discoveries in processes of their own: up to ten at once, the rest in a queue.

Each has its deadline. One that passes it is killed, and gives the best result that it had told by
then. Nothing a child says is believed beyond its form. Used by one thread.
"""

import contextlib
import selectors
import socket
import subprocess
from collections import deque
from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from cronos.discover.child import DONE, FAILED, SO_FAR, TOLD, Ask, Failure, ReadAsk
from cronos.discover.learned import Learned, Told, sound
from cronos.discover.messages import Service
from cronos.discover.wire import Unpacker, packed
from cronos.errors import CronosError, DeniedError, InputError, UnreachableError
from cronos.ports import Clock

AT_ONCE: Final = 10
MAX_WAITING: Final = 1_000
_READ_BYTES: Final = 1 << 18
_SEND_BYTES: Final = 1 << 16
# A child looks at the time itself; it is ended only when it does not.
_GRACE_NS: Final = 3_000_000_000
_LEAST_GRACE_NS: Final = 1_000_000_000
_S_NS: Final = 1_000_000_000
# What reading the words of a child may end in, whatever it says.
_UNFIT: Final = (OSError, CronosError, msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Launch(NamedTuple):
    """How to start a child: its command and all of its environment."""

    command: tuple[str, ...]
    environment: Mapping[str, str]


class Event(NamedTuple):
    """Something that a job told, by the job's number."""

    job: int
    told: Told


Answer = tuple[Service, ...] | Learned | CronosError


class _Job:
    """One child: what it still has to be told, and what it said."""

    def __init__(self, number: int, ask: Ask) -> None:
        self.number = number
        self.ask = ask
        self.process: subprocess.Popen[bytes] | None = None
        self.socket: socket.socket | None = None
        self.unsent = memoryview(b"")
        self.unpacker = Unpacker()
        self.deadline_ns = 0
        self.best: Learned | None = None
        self.answer: Answer | None = None


class Jobs:
    """The queue and those that run.

    Args:
        launch: how to start a child; its standard input is the connection.
        clock: boot time bounds the jobs.
        heard: called with what jobs tell while they run.
        at_once: how many run at a time.
    """

    def __init__(
        self,
        launch: tuple[tuple[str, ...], Mapping[str, str]],
        clock: Clock,
        heard: Callable[[Event], None] = lambda _event: None,
        at_once: int = AT_ONCE,
    ) -> None:
        self._launch = Launch(*launch)
        self._clock = clock
        self._heard = heard
        self._at_once = max(1, min(at_once, AT_ONCE))
        self._waiting: deque[_Job] = deque()
        self._running: dict[int, _Job] = {}
        self._answers: dict[int, Answer] = {}
        self._selector = selectors.DefaultSelector()
        self._count = 0

    @property
    def waiting(self) -> int:
        """How many wait for their turn."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """How many run."""
        return len(self._running)

    def submit(self, ask: Ask) -> int:
        """Queue a job and give its number.

        Raises:
            DeniedError: too many wait already.
        """
        if len(self._waiting) >= MAX_WAITING:
            raise DeniedError(
                "discover.queue_full",
                f"{MAX_WAITING} discoveries wait already.",
                "Ask again when some are done.",
            )
        self._count += 1
        self._waiting.append(_Job(self._count, ask))
        return self._count

    def step(self, timeout_s: float) -> None:
        """Start what may run, wait at most `timeout_s` for news, and take them."""
        while self._waiting and len(self._running) < self._at_once:
            self._start(self._waiting.popleft())
        for key, events in self._selector.select(timeout_s):
            job: _Job = key.data
            if events & selectors.EVENT_WRITE:
                self._send(job)
            if events & selectors.EVENT_READ:
                self._receive(job)
        now_ns = self._clock.now().boot_ns
        for job in [one for one in self._running.values() if now_ns > one.deadline_ns]:
            self._end(job, job.best and replace(job.best, stopped=_late(job)))

    def answer(self, number: int) -> Answer | None:
        """Give the answer of a job once; None while there is none."""
        return self._answers.pop(number, None)

    def wait(self, number: int) -> Answer:
        """Run everything until this job has its answer."""
        while (answer := self.answer(number)) is None:
            self.step(0.1)
        return answer

    def hurry(self) -> None:
        """End what runs with its best so far; what waits is not begun any more."""
        for job in list(self._running.values()):
            self._end(job, job.best and replace(job.best, stopped=_late(job)))
        for job in self._waiting:
            self._answers[job.number] = _lost(job)
        self._waiting.clear()

    def close(self) -> None:
        """End all that runs and forget all that waits."""
        self._waiting.clear()
        for job in list(self._running.values()):
            self._end(job, None)
        self._selector.close()

    def _start(self, job: _Job) -> None:
        try:
            ours = self._launched(job)
        except OSError as error:
            self._answers[job.number] = _unstarted(error.strerror or str(error))
            return
        ours.setblocking(False)
        job.socket = ours
        job.unsent = memoryview(packed("ask", msgspec.msgpack.encode(job.ask)))
        limit_ns = int(job.ask.limits.max_seconds * _S_NS)
        grace_ns = max(_LEAST_GRACE_NS, min(_GRACE_NS, limit_ns // 8))
        job.deadline_ns = self._clock.now().boot_ns + limit_ns + grace_ns
        self._running[job.number] = job
        self._selector.register(ours, selectors.EVENT_READ | selectors.EVENT_WRITE, job)

    def _launched(self, job: _Job) -> socket.socket:
        """Start a child, and give our end of what ties it to us; raises OSError."""
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                job.process = subprocess.Popen(  # noqa: S603 - our own program
                    self._launch.command,
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=dict(self._launch.environment),
                    start_new_session=True,
                )
            except OSError:
                ours.close()
                raise
        return ours

    def _send(self, job: _Job) -> None:
        assert job.socket is not None  # noqa: S101 - it is registered
        with contextlib.suppress(OSError):
            job.unsent = job.unsent[job.socket.send(job.unsent[:_SEND_BYTES]) :]
        if not job.unsent:
            self._selector.modify(job.socket, selectors.EVENT_READ, job)

    def _receive(self, job: _Job) -> None:
        assert job.socket is not None  # noqa: S101 - it is registered
        try:
            data = job.socket.recv(_READ_BYTES)
            for kind, body in job.unpacker.feed(data):
                self._hear(job, kind, body)
        except BlockingIOError:
            return
        except _UNFIT:
            data = b""
        if not data or job.answer is not None:
            self._end(job, job.answer or (job.best and replace(job.best, stopped=_DIED)))

    def _hear(self, job: _Job, kind: str, body: bytes) -> None:
        if kind == TOLD:
            self._heard(Event(job.number, msgspec.msgpack.decode(body, type=Told)))
        elif kind == SO_FAR:
            job.best = _learned(body)
        elif kind == FAILED:
            job.answer = _error_of(msgspec.msgpack.decode(body, type=Failure))
        elif kind == DONE and isinstance(job.ask, ReadAsk):
            job.answer = msgspec.msgpack.decode(body, type=tuple[Service, ...])
        elif kind == DONE:
            job.answer = _learned(body)

    def _end(self, job: _Job, answer: Answer | None) -> None:
        self._running.pop(job.number, None)
        if job.socket is not None:
            self._selector.unregister(job.socket)
            job.socket.close()
        if job.process is not None:
            job.process.kill()
            job.process.wait()
        self._answers[job.number] = answer if answer is not None else _lost(job)


def _learned(body: bytes) -> Learned:
    """Read a result; raises DecodeError where it does not fit together."""
    learned = msgspec.msgpack.decode(body, type=Learned)
    if not sound(learned):
        raise msgspec.ValidationError("its parts do not fit together")
    return learned


_DIED: Final = "Its process ended."


def _late(job: _Job) -> str:
    return f"It was ended after {job.ask.limits.max_seconds:.3g} s."


def _lost(job: _Job) -> CronosError:
    limits = job.ask.limits
    return InputError(
        "discover.stopped",
        "The input could not be processed within its limits: nothing was found before they ended.",
        f"Allow more than {limits.max_seconds:.3g} s (--max-seconds) or {limits.max_memory_mb} MiB"
        " (--max-memory), or choose less of the input.",
    )


def _unstarted(why: str) -> CronosError:
    return UnreachableError(
        "discover.no_process",
        f"The process of a discovery cannot be started: {why}.",
        "Make room for one more process.",
    )


def _error_of(failure: Failure) -> CronosError:
    if failure.blame == "input":
        return InputError(failure.code, failure.sentence, failure.remedy)
    return CronosError(failure.code, failure.sentence, failure.remedy)
