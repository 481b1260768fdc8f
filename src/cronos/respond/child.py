"""An executor in a process of its own: what speaks to a foreign system holds only its own secrets.

The enforcer starts it, and starts it again when it died; one that does not answer in time is
killed, and its batch has failed. Nothing it says is believed beyond its form: a plan is for the
action that was asked about, an outcome for the plan. Recipes are data, so that whatever became of
the process that applied a plan, the next one takes it back.
"""

import contextlib
import os
import signal
import socket
import subprocess
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Final, NamedTuple, NoReturn, TypeVar

import msgspec
from msgspec.structs import replace

from cronos.errors import CronosError, UnreachableError
from cronos.link.frames import FrameSplitter, frame
from cronos.link.text import plain
from cronos.ports import Clock
from cronos.respond.points import outcome_of
from cronos.types import (
    Action,
    Datum,
    Manifest,
    Operation,
    Outcome,
    Plan,
    Unknown,
    decode,
    encode,
)

READY: Final = 0
VERBS: Final = ("plan", "apply", "verify", "renew", "undo", "observe")
MAX_ITEMS: Final = 64
_MAX_CALL_BYTES: Final = 1 << 18
_MAX_RECIPE_BYTES: Final = 1 << 16
_MAX_TEXT_CHARS: Final = 1000
_MAX_NAMES: Final = 20_000
_READ_BYTES: Final = 1 << 18
_START_MS: Final = 20_000
_END_S: Final = 5.0
_MS_NS: Final = 1_000_000
_S_NS: Final = 1_000_000_000
_DIGITS: Final = frozenset("0123456789abcdef")

GivenT = TypeVar("GivenT", bound=Action | Plan)
GotT = TypeVar("GotT", bound=Outcome | Plan)


class Call(msgspec.Struct, frozen=True, array_like=True):
    """A request to the child: a method of `Executor`, and canonical bytes of what it is given."""

    call_id: int
    verb: str
    items: tuple[bytes, ...] = ()


class Reply(msgspec.Struct, frozen=True, array_like=True):
    """The child's answer; with a `code` it is the error that the call ended in.

    The reply numbered 0 comes unasked: the executor has been made, or could not be.
    """

    call_id: int
    items: tuple[bytes, ...] = ()
    seen: tuple[bool, ...] = ()
    names: tuple[str, ...] = ()
    code: str = ""
    sentence: str = ""
    remedy: str = ""


class Launch(NamedTuple):
    """How to start the child: its command, all of its environment, and its time for a call."""

    command: tuple[str, ...]
    environment: Mapping[str, str]
    deadline_ms: int


class ChildExecutor:
    """The `Executor` port to an executor in a child process; for any thread, one at a time.

    Args:
        manifest: of the executor that the child runs.
        launch: how to start it; its standard input is the socket.
        clock: boot time bounds the calls.
    """

    foreign: ClassVar[bool] = True

    def __init__(self, manifest: Manifest, launch: Launch, clock: Clock) -> None:
        self.manifest = manifest
        self._launch = launch
        self._clock = clock
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: socket.socket | None = None
        self._splitter = FrameSplitter()
        self._frames: list[bytes] = []
        self._ready = False
        self._calls = READY
        self._starts = 0

    @property
    def pid(self) -> int:
        """Give the child's process number; 0 where none runs."""
        return self._process.pid if self._process is not None else 0

    @property
    def starts(self) -> int:
        """Say how often a child has been started."""
        return self._starts

    def start(self) -> None:
        """Start the child without waiting for it, so that the first call finds it ready."""
        with self._lock, contextlib.suppress(OSError):
            self._begin()

    def close(self) -> None:
        """End the child; a later call starts another."""
        with self._lock:
            self._kill()

    def plan(self, actions: Sequence[Action]) -> Sequence[Plan | Outcome]:
        """See `Executor.plan`."""
        return self._batches("plan", Operation.APPLY, actions, _planned)

    def apply(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """See `Executor.apply`."""
        return self._batches("apply", Operation.APPLY, plans, _outcome(Operation.APPLY))

    def renew(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """See `Executor.renew`."""
        return self._batches("renew", Operation.RENEW, plans, _outcome(Operation.RENEW))

    def undo(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """See `Executor.undo`."""
        return self._batches("undo", Operation.UNDO, plans, _outcome(Operation.UNDO))

    def verify(self, plans: Sequence[Plan]) -> Sequence[bool]:
        """See `Executor.verify`.

        Raises:
            CronosError: nobody can say; the child or its system is away.
        """
        seen: list[bool] = []
        for part in _parts([encode(plan) for plan in plans]):
            reply = self._ask("verify", part)
            if len(reply.seen) != len(part):
                self._lost(f"looked at {len(reply.seen)} of {len(part)}")
            seen += reply.seen
        return seen

    def observe(self) -> frozenset[str]:
        """See `Executor.observe`.

        Raises:
            CronosError: nobody can say.
        """
        names = self._ask("observe", []).names
        if len(names) > _MAX_NAMES or not all(len(n) == 32 and set(n) <= _DIGITS for n in names):
            self._lost("named what are no effects")
        return frozenset(names)

    def _batches(
        self,
        verb: str,
        operation: Operation,
        given: Sequence[GivenT],
        checked: Callable[[GivenT, Datum | Unknown], GotT | None],
    ) -> list[GotT | Outcome]:
        """Ask in parts; once a part has failed, the rest has failed with it."""
        got: list[GotT | Outcome] = []
        why = ""
        for part in _parts([encode(item) for item in given]):
            batch = given[len(got) : len(got) + len(part)]
            try:
                got += self._part(verb, part, batch, checked)
            except CronosError as error:
                why = str(error)
                break
        return got + [outcome_of(_action(it), operation, why, ok=False) for it in given[len(got) :]]

    def _part(
        self,
        verb: str,
        part: Sequence[bytes],
        batch: Sequence[GivenT],
        checked: Callable[[GivenT, Datum | Unknown], GotT | None],
    ) -> list[GotT]:
        items = self._ask(verb, part).items
        answers: list[GotT] = []
        for asked, item in zip(batch, items, strict=False):
            with contextlib.suppress(ValueError):
                answer = checked(asked, decode(item))
                if answer is not None:
                    answers.append(answer)
        if len(answers) != len(batch) or len(items) != len(batch):
            self._lost(f"gave no sound answers to {verb}")
        return answers

    def _ask(self, verb: str, items: Sequence[bytes]) -> Reply:
        """Make one call, in its time; whatever is wrong with the child, it is killed.

        Raises:
            CronosError: the error that the call ended in, or what happened to the child.
        """
        with self._lock:
            try:
                return self._exchange(verb, tuple(items))
            except (OSError, EOFError, UnreachableError, ValueError) as error:
                what = "did not answer in time" if isinstance(error, TimeoutError) else "broke off"
                self._kill()
                raise self._gone(what) from None

    def _exchange(self, verb: str, items: tuple[bytes, ...]) -> Reply:
        connected = self._begin()
        if not self._ready:
            made = self._receive(connected, self._after(_START_MS))
            if made.call_id != READY:
                raise ValueError("not the greeting")
            if made.code:
                self._kill()
                raise _error(made)
            self._ready = True
        self._calls += 1
        until = self._after(self._launch.deadline_ms)
        connected.settimeout(self._left_s(until))
        connected.sendall(frame(msgspec.msgpack.encode(Call(self._calls, verb, items))))
        reply = self._receive(connected, until)
        if reply.call_id != self._calls:
            raise ValueError("the answer to something else")
        if reply.code:
            raise _error(reply)
        return reply

    def _receive(self, connected: socket.socket, until_ns: int) -> Reply:
        """Give the next reply; one that comes byte by byte has no more time than another."""
        while not self._frames:
            connected.settimeout(self._left_s(until_ns))
            data = connected.recv(_READ_BYTES)
            if not data:
                raise EOFError
            self._frames = self._splitter.feed(data)
        try:
            return msgspec.msgpack.decode(self._frames.pop(0), type=Reply)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError("no reply") from error

    def _after(self, ms: int) -> int:
        return self._clock.now().boot_ns + ms * _MS_NS

    def _left_s(self, until_ns: int) -> float:
        left = until_ns - self._clock.now().boot_ns
        if left <= 0:
            raise TimeoutError
        return left / _S_NS

    def _begin(self) -> socket.socket:
        if self._socket is not None and self._process is not None and self._process.poll() is None:
            return self._socket
        self._kill()
        ours, theirs = socket.socketpair()
        with theirs:
            try:
                self._process = subprocess.Popen(  # noqa: S603 - a list of arguments, no shell
                    self._launch.command,
                    stdin=theirs.fileno(),
                    stdout=subprocess.DEVNULL,
                    env=dict(self._launch.environment),
                    cwd="/",
                    start_new_session=True,
                )
            except OSError:
                ours.close()
                raise
        self._socket, self._splitter, self._frames, self._ready = ours, FrameSplitter(), [], False
        self._starts += 1
        return ours

    def _kill(self) -> None:
        """End the child and all that it started."""
        if self._socket is not None:
            self._socket.close()
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._process.pid, signal.SIGKILL)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(_END_S)
        self._socket = self._process = None

    def _lost(self, what: str) -> NoReturn:
        self.close()
        raise self._gone(what)

    def _gone(self, what: str) -> UnreachableError:
        return UnreachableError(
            "respond.child_lost",
            f"The process of the executor {self.manifest.name} {what} and was ended.",
            "It is started again by itself; see its log, and the system that it speaks to.",
        )


def _parts(items: Sequence[bytes]) -> list[list[bytes]]:
    """Cut a batch so that each part fits into a frame, and so that its answers do."""
    parts: list[list[bytes]] = []
    room = 0
    for item in items:
        if not parts or len(item) > room or len(parts[-1]) == MAX_ITEMS:
            parts.append([])
            room = _MAX_CALL_BYTES
        parts[-1].append(item)
        room -= len(item)
    return parts


def _action(item: Action | Plan) -> Action:
    return item.action if isinstance(item, Plan) else item


def _planned(action: Action, answer: Datum | Unknown) -> Plan | Outcome | None:
    """Give what was answered to an action that was to be planned; None for what is no answer."""
    if not isinstance(answer, Plan):
        return _outcome(Operation.APPLY)(Plan(action, b"", "", ""), answer)
    if answer.action != action or len(answer.recipe) > _MAX_RECIPE_BYTES or answer.kernel_timeout:
        return None
    return replace(
        answer,
        summary=plain(answer.summary, _MAX_TEXT_CHARS),
        undo_summary=plain(answer.undo_summary, _MAX_TEXT_CHARS),
    )


def _outcome(operation: Operation) -> Callable[[Plan, Datum | Unknown], Outcome | None]:
    def checked(plan: Plan, answer: Datum | Unknown) -> Outcome | None:
        if not isinstance(answer, Outcome) or answer.operation is not operation:
            return None
        if answer.action_id != plan.action.action_id:
            return None
        return replace(
            answer,
            incident_id=plan.action.incident_id,
            verified=False,
            detail=plain(answer.detail, _MAX_TEXT_CHARS),
            undo=plain(answer.undo, _MAX_TEXT_CHARS),
            at_boot_ns=0,
        )

    return checked


def _error(reply: Reply) -> CronosError:
    return CronosError(
        plain(reply.code, 80),
        plain(reply.sentence, _MAX_TEXT_CHARS),
        plain(reply.remedy, _MAX_TEXT_CHARS),
        "peer",
    )
