"""The key agent: one process holds the long-term keys, the others ask it over a Unix socket.

`run_agent` is the process, `AgentKeys` the `KeyProvider` of everybody else. A caller must run as
the agent's user or as root, and so must the agent, or a caller hangs up before it says anything.
`KeyCall` and `KeyReply` go in frames; what they mean is in `cronos.crypto.agent`.

What this keeps apart: a fault in a process that parses hostile input reads that process's memory,
which holds the data keys of open epochs and no long-term key. What it does not: whoever runs code
as this user may ask the agent to unwrap and to sign, and root may do anything.
"""

import contextlib
import ctypes
import fcntl
import os
import resource
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator, Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Final, Protocol

from msgspec import Meta
from msgspec.structs import replace

from cronos.config import Section
from cronos.crypto.agent import AgentSession, HeldKeys, life_of, list_from, proof_of, raise_for
from cronos.crypto.durable import private_folder
from cronos.errors import CronosError, DeniedError, InputError, UnreachableError
from cronos.link.frames import FrameSocket, listen, require_same_user
from cronos.link.server import Connection, FrameServer
from cronos.ports import Clock
from cronos.types import KeyCall, KeyInfo, KeyReply, Manifest, decode, encode

_MAX_CONNECTIONS: Final = 64
# A signature takes a millisecond: nobody waits longer than a few of each other client's.
_MAX_CALLS: Final = 4
_TURN_S: Final = 0.2
_STEP_NS: Final = 60_000_000_000
# Who may connect may rotate; each rotation makes the keystore longer, for good.
_MAX_ROTATIONS: Final = 60
_ROTATIONS_NS: Final = 86_400_000_000_000
_TRY_S: Final = 0.02
_MAX_EXCHANGES: Final = 3
_MAX_PARTS: Final = 10_000
# Carried out twice these do no harm, so they are sent again when the agent was restarted.
_REPEATABLE: Final = frozenset(("wrap", "unwrap", "sign", "public", "listed", "challenge"))

_Seconds = Annotated[int, Meta(ge=1, le=86_400)]

_PR_SET_DUMPABLE: Final = 4
_MCL_CURRENT_FUTURE_ONFAULT: Final = 1 | 2 | 4
_CAP_IPC_LOCK: Final = 14


class Report(Protocol):
    """Writes a line of the log: level, event, details."""

    def __call__(self, level: str, event: str, *, detail: str, remedy: str = "") -> None:
        """Write it."""
        ...


def run_agent(
    open_keys: Callable[[], HeldKeys],
    path: Path,
    clock: Clock,
    report: Report,
    on_ready: Callable[["KeyAgentServer"], None],
) -> None:
    """Be the key agent until the server given to `on_ready` is told to stop.

    `open_keys` opens the keystore; it is called when this process is hardened already. Callers
    may connect before that is done, and wait for their answer.

    Raises:
        CronosError: another agent serves `path`, or the keystore does not open.
    """
    harden(report)
    with agent_socket(path) as listener, contextlib.closing(open_keys()) as keys:
        server = KeyAgentServer(keys, listener, clock, report)
        on_ready(server)
        server.serve()


def harden(report: Report) -> None:
    """Keep this process's memory from core dumps, from its own user's debuggers and from swap.

    What the system refuses is reported and does not stop the agent.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        report(
            "warning",
            "keys.readable",
            detail=f"Other processes of this user may read the agent: {_last_error()}.",
            remedy="Let the agent call prctl(PR_SET_DUMPABLE); look at its seccomp filter.",
        )
    # With a limit on locked memory a later allocation would fail instead of being swappable.
    limited = _lock_is_limited()
    if limited or libc.mlockall(_MCL_CURRENT_FUTURE_ONFAULT) != 0:
        why = "its limit on locked memory is too low" if limited else _last_error()
        report(
            "warning",
            "keys.swappable",
            detail=f"Keys may be written to swap: {why}.",
            remedy="Raise it (LimitMEMLOCK=infinity), or run without swap or with encrypted swap.",
        )


def _lock_is_limited() -> bool:
    """Say whether this process may lock only so much memory: a limit, and no CAP_IPC_LOCK."""
    if resource.getrlimit(resource.RLIMIT_MEMLOCK)[0] == resource.RLIM_INFINITY:
        return False
    status = ""
    with contextlib.suppress(OSError):
        status = Path("/proc/self/status").read_text(encoding="utf-8", errors="replace")
    mine = next((line.split()[1] for line in status.splitlines() if line[:7] == "CapEff:"), "0")
    return not int(mine, 16) >> _CAP_IPC_LOCK & 1


def _last_error() -> str:
    return os.strerror(ctypes.get_errno())


@contextlib.contextmanager
def agent_socket(path: Path) -> Generator[socket.socket]:
    """Listen on `path` as its only agent; a socket that a killed agent left is replaced.

    Raises:
        DeniedError: another agent serves it, or its folder belongs to or may be written by others.
        InputError: it cannot be made there.
    """
    private_folder(path.parent)
    try:
        lock = os.open(path.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise InputError(
            "link.cannot_listen",
            f"Cannot make {path.with_suffix('.lock')}: {error.strerror}.",
            "Choose a writable folder with --state.",
        ) from error
    try:
        # Held until this process ends, however it ends; the file stays, or two could hold it.
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise DeniedError(
                "link.agent_running",
                f"Another key agent serves {path}.",
                "Use that one, or stop it first; this one has changed nothing.",
            ) from None
        with listen(path) as listener:
            try:
                yield listener
            finally:
                path.unlink(missing_ok=True)
    finally:
        os.close(lock)


class KeyAgentServer:
    """Serves a keystore on a listening socket, in one thread, until `stopping` is set."""

    def __init__(
        self, keys: HeldKeys, listener: socket.socket, clock: Clock, report: Report
    ) -> None:
        self._keys = keys
        self._clock = clock
        self._report = report
        self._server = FrameServer(
            listener,
            self._hear,
            max_connections=_MAX_CONNECTIONS,
            max_frames=_MAX_CALLS,
            quiet_give_way=True,
        )
        self._sessions: weakref.WeakKeyDictionary[Connection, AgentSession] = (
            weakref.WeakKeyDictionary()
        )
        self._due_ns = 0
        self._rotations: deque[int] = deque(maxlen=_MAX_ROTATIONS)
        self.stopping = False

    def serve(self) -> None:
        """Answer calls, and rotate what is due, once a minute."""
        try:
            while not self.stopping:
                self._step()
                self._server.turn(_TURN_S)
        finally:
            self._server.close()

    def _hear(self, connection: Connection, body: bytes) -> None:
        """Answer a call.

        Raises:
            ValueError: it is none; the client is cut off.
        """
        call = decode(body)
        if not isinstance(call, KeyCall):
            raise ValueError("no KeyCall")  # noqa: TRY004 - what decode raises
        session = self._sessions.get(connection)
        if session is None:
            session = AgentSession(self._keys, self._fault, self._before_rotation)
            self._sessions[connection] = session
        connection.send(encode(session.answer(call)))

    def _step(self) -> None:
        now_ns = self._clock.now().boot_ns
        if now_ns < self._due_ns:
            return
        self._due_ns = now_ns + _STEP_NS
        try:
            for done in self._keys.step():
                self._report("info", "keys.step", detail=done)
        except CronosError as error:
            self._report("error", error.code, detail=error.sentence, remedy=error.remedy)
        except Exception as error:  # noqa: BLE001 - callers are served though a rotation fails
            self._fault(type(error).__name__)

    def _before_rotation(self) -> None:
        """Count a rotation.

        Raises:
            DeniedError: there were too many in the last 24 hours.
        """
        now_ns = self._clock.now().boot_ns
        full = len(self._rotations) == _MAX_ROTATIONS
        if full and now_ns - self._rotations[0] < _ROTATIONS_NS:
            raise DeniedError(
                "crypto.agent_rotations",
                f"Keys were rotated {_MAX_ROTATIONS} times within 24 hours through the key agent.",
                "Find out who does that; stop the node to rotate more with `cronos keys rotate`.",
            )
        self._rotations.append(now_ns)

    def _fault(self, name: str) -> None:
        self._report(
            "error",
            "keys.fault",
            detail=f"A fault of the key agent's own: {name}. Its text is withheld.",
            remedy="Report it, with the call that led to it.",
        )


class AgentConfig(Section, frozen=True):
    """How long a caller waits."""

    # For an answer, once the agent has the call.
    timeout_s: _Seconds = 30
    # For an agent that is starting, or restarting.
    patience_s: _Seconds = 10


class AgentKeys:
    """The keys of a key agent: a `KeyProvider` for one process; threads may share it.

    It connects at the first call, and again after the agent was restarted or this process forked.
    """

    manifest: ClassVar[Manifest] = Manifest(
        "key-agent",
        "Asks the node's key agent over a Unix socket; long-term keys stay in that process.",
        capabilities=("wrap", "sign"),
    )
    config_type: ClassVar[type[Section]] = AgentConfig

    def __init__(self, config: AgentConfig, socket: Path) -> None:
        self._config = config
        self._path = socket
        self._lock = threading.Lock()
        self._link: FrameSocket | None = None
        self._pid = 0
        self._request_id = 0

    def wrap(self, key_id: str, data_key: bytes, context: bytes) -> bytes:
        """Encrypt a data key; see `KeyProvider.wrap`."""
        return self._call(KeyCall(0, "wrap", key_id, data_key, context)).data

    def unwrap(self, key_id: str, wrapped: bytes, context: bytes) -> bytes:
        """Give the data key back; see `KeyProvider.unwrap`."""
        return self._call(KeyCall(0, "unwrap", key_id, wrapped, context)).data

    def sign(self, key_id: str, message: bytes, context: bytes) -> bytes:
        """Sign; see `KeyProvider.sign`."""
        return self._call(KeyCall(0, "sign", key_id, message, context)).data

    def public(self, key_id: str) -> bytes:
        """Give the public half; see `KeyProvider.public`."""
        return self._call(KeyCall(0, "public", key_id)).data

    def rotate(self, key_id: str) -> str:
        """Make a successor; see `KeyProvider.rotate`."""
        return self._call(KeyCall(0, "rotate", key_id)).data.decode("utf-8", errors="replace")

    def listed(self) -> Sequence[KeyInfo]:
        """Give all keys; see `KeyProvider.listed`."""
        keys: list[KeyInfo] = []
        for _ in range(_MAX_PARTS):
            reply = self._call(KeyCall(0, "listed", data=list_from(len(keys))))
            keys += reply.keys
            if not reply.data or not reply.keys:
                break
        return keys

    def create(self, admin_key: bytes, name: str, algorithm: str, life_s: int = 0) -> KeyInfo:
        """Make a key, as one who can unlock the keystore."""
        call = KeyCall(0, "create", name, life_of(life_s), algorithm.encode())
        return self._prove(call, admin_key)

    def destroy(self, admin_key: bytes, key_id: str) -> KeyInfo:
        """Erase a key's secret for good, as one who can unlock the keystore."""
        return self._prove(KeyCall(0, "destroy", key_id), admin_key)

    def close(self) -> None:
        """Hang up; more than once is harmless."""
        with self._lock:
            self._hang_up()

    def __repr__(self) -> str:
        return f"AgentKeys({str(self._path)!r})"

    def _call(self, call: KeyCall) -> KeyReply:
        with self._lock:
            reply = self._ask(call)
        raise_for(reply)
        return reply

    def _prove(self, call: KeyCall, admin_key: bytes) -> KeyInfo:
        """Make a call that needs a proof."""
        with self._lock:
            reply = self._ask(call, admin_key)
        raise_for(reply)
        if not reply.keys:
            raise _strange()
        return reply.keys[0]

    def _ask(self, call: KeyCall, admin_key: bytes | None = None) -> KeyReply:
        """Send a call and give its reply; again on a new connection where that does no harm.

        With an admin key it is proven, on the connection that carries it: a challenge is good
        there alone.
        """
        for last in (False,) * (_MAX_EXCHANGES - 1) + (True,):
            link = self._connected()
            sent = False
            try:
                if admin_key is not None:
                    call = self._proven(link, call, admin_key)
                else:
                    call = self._numbered(call)
                link.send(encode(call))
                sent = True
                return self._hear(link, call)
            except UnreachableError as error:
                self._hang_up()
                if error.code == "link.closed" and sent and call.verb not in _REPEATABLE:
                    raise UnreachableError(
                        "link.agent_lost",
                        f"The key agent ended during `{call.verb}`, which it may have carried out.",
                        "Look at `cronos keys list` before trying it again.",
                    ) from error
                if error.code != "link.closed" or last:
                    raise
        raise _strange()

    def _proven(self, link: FrameSocket, call: KeyCall, admin_key: bytes) -> KeyCall:
        asked = self._numbered(KeyCall(0, "challenge"))
        link.send(encode(asked))
        challenge = self._hear(link, asked)
        raise_for(challenge)
        call = self._numbered(call)
        return replace(call, proof=proof_of(admin_key, challenge.data, call))

    def _numbered(self, call: KeyCall) -> KeyCall:
        self._request_id += 1
        return replace(call, request_id=self._request_id)

    def _hear(self, link: FrameSocket, call: KeyCall) -> KeyReply:
        body = link.receive(self._config.timeout_s)
        if body is None:
            raise UnreachableError(
                "link.agent_silent",
                f"The key agent has not answered within {self._config.timeout_s} s.",
                "See its last log lines; its root key (a token, a service) may not answer.",
            )
        try:
            reply = decode(body)
        except ValueError:
            raise _strange() from None
        if not isinstance(reply, KeyReply) or reply.request_id != call.request_id:
            raise _strange()
        return reply

    def _connected(self) -> FrameSocket:
        """Give the connection, or make one; wait a while for an agent that is restarting."""
        if self._pid != os.getpid():
            # A connection shared with the parent would mix up whose answer is whose.
            self._hang_up()
        if self._link is not None:
            return self._link
        tries = max(1, int(self._config.patience_s / _TRY_S))
        for left in range(tries, 0, -1):
            try:
                self._link = _connect(self._path)
            except UnreachableError:
                if left == 1:
                    raise
                time.sleep(_TRY_S)
            else:
                break
        self._pid = os.getpid()
        if self._link is None:
            raise _strange()
        return self._link

    def _hang_up(self) -> None:
        if self._link is not None:
            self._link.close()
            self._link = None


def _connect(path: Path) -> FrameSocket:
    """Connect to an agent of this user.

    Raises:
        UnreachableError: nobody listens there.
        DeniedError: somebody else does.
    """
    connected = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        # Without waiting: where too many wait already, a stuck agent would hold this caller too.
        connected.settimeout(0)
        connected.connect(os.fspath(path))
        require_same_user(connected)
    except DeniedError:
        connected.close()
        raise
    except PermissionError as error:
        connected.close()
        raise DeniedError(
            "link.agent_denied",
            f"The key agent's socket {path} is not this user's to use.",
            "Run this as the user that the node runs as.",
        ) from error
    except OSError as error:
        connected.close()
        raise UnreachableError(
            "link.no_agent",
            f"No key agent answers on {path}: {error.strerror or error}.",
            "It runs with the node: start it with `cronos up`, or give the --state folder it uses.",
        ) from error
    return FrameSocket(connected)


def _strange() -> UnreachableError:
    return UnreachableError(
        "link.not_agent",
        "What answers is no key agent of this version.",
        "Run both processes from the same version of Cronos.",
    )
