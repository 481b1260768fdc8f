"""Hooks that adjust a workload: a command of this machine, or a POST to a web service.

Both run with a bound on time and on what they may say, and what they say is shown to people only.
"""

import hashlib
import hmac
import http.client
import json
import os
import selectors
import signal
import ssl
import subprocess
from collections.abc import Generator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import SplitResult, urlsplit

import msgspec

from cronos.config import Name, Positive, Section
from cronos.errors import CronosError, DeniedError, InputError, UnreachableError
from cronos.link.rest import cut_after, is_local
from cronos.ports import Clock, Egress
from cronos.types import Manifest

_PATH: Final = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_MAX_SAID_CHARS: Final = 300
_READ_BYTES: Final = 1 << 16
_MAX_SECRET_BYTES: Final = 4096
_MAX_ANSWER_BYTES: Final = 1 << 16
_STATES: Final = {"pause": "paused", "reroute": "rerouted", "restore": "running"}


class Steps(Section, frozen=True):
    """The commands of one workload, each a list of arguments; no shell reads them.

    `check` is run after each step with ``paused``, ``rerouted`` or ``running`` as its last
    argument and fails when that is not so: the effect is looked at, not only ordered.
    """

    pause: tuple[str, ...] = ()
    reroute: tuple[str, ...] = ()
    restore: tuple[str, ...] = ()
    check: tuple[str, ...] = ()


class CommandConfig(Section, frozen=True):
    """Commands by workload. They see PATH, CRONOS_WORKLOAD, CRONOS_STEP and what is named here."""

    workload: dict[Name, Steps] = msgspec.field(default_factory=dict[Name, Steps])
    timeout_ms: Positive = 2000
    environment: dict[str, str] = msgspec.field(default_factory=dict[str, str])


class CommandWorkflow:
    """Runs a workload's commands, each in a session of its own that ends with its time."""

    manifest = Manifest(
        "command", "Adjusts a workload by a command", ("pause", "reroute", "restore")
    )
    config_type: ClassVar[type[Section]] = CommandConfig

    def __init__(self, config: CommandConfig, clock: Clock) -> None:
        self._config = config
        self._clock = clock

    def adjust(self, workload: str, verb: str) -> str:
        """Run the command of a step, then its check; see `Workflow.adjust`."""
        steps = self._config.workload.get(workload)
        argv: tuple[str, ...] = getattr(steps, verb, ()) if verb in _STATES else ()
        if steps is None or not argv:
            raise InputError(
                "respond.hook_missing",
                f"No command is configured to {verb} the workload {workload!r}.",
                f"Add `{verb} = [...]` to [plugin.command.workload.{workload}].",
            )
        said = self._run(argv, workload, verb)
        if not steps.check:
            return f"{workload}: {verb} was run, its effect not checked{said}."
        self._run((*steps.check, _STATES[verb]), workload, verb)
        return f"{workload} is {_STATES[verb]}{said}."

    def _run(self, argv: tuple[str, ...], workload: str, verb: str) -> str:
        environment = {
            "PATH": _PATH,
            "CRONOS_WORKLOAD": workload,
            "CRONOS_STEP": verb,
            **self._config.environment,
        }
        try:
            process = subprocess.Popen(  # noqa: S603 - a list of arguments, no shell
                argv,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd="/",
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise _broken(f"{argv[0]} cannot be run: {error}") from error
        with process:
            said, ended = self._heard(process)
            if not ended:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                raise _broken(f"{argv[0]} did not end within {self._config.timeout_ms} ms")
            status = process.wait()
        if status:
            raise _broken(f"{argv[0]} ended with status {status}{_shown(said)}")
        return _shown(said)

    def _heard(self, process: "subprocess.Popen[bytes]") -> tuple[bytes, bool]:
        """Read what the command says until it ends or its time does; most of it is dropped.

        The end of the process counts, not that of its output: a child it left behind may keep
        that open for good.
        """
        until = self._clock.now().boot_ns + self._config.timeout_ms * 1_000_000
        said = bytearray()
        with _ends(process) as (selector, output, end):
            while (left_ns := until - self._clock.now().boot_ns) > 0:
                ready = {key.fd for key, _ in selector.select(left_ns / 1e9)}
                if output in ready and not _take(output, said):
                    selector.unregister(output)
                if end in ready:
                    _take(output, said)
                    return bytes(said), True
        return bytes(said), False


class WebhookTarget(Section, frozen=True):
    """Where the steps of one workload are posted."""

    url: str


class WebhookConfig(Section, frozen=True):
    """Web hooks by workload.

    With `secret_file` each request carries ``X-Cronos-Signature: sha256=…``, the HMAC-SHA-256 of
    the body in hex; the body holds the time, so that an old request can be told from a new one.
    """

    workload: dict[Name, WebhookTarget] = msgspec.field(default_factory=dict[Name, WebhookTarget])
    timeout_ms: Positive = 2000
    secret_file: str = ""


class _Answer(msgspec.Struct, frozen=True):
    """What a hook may answer; a state that is not the one asked for is a failure."""

    state: str = ""


class WebhookWorkflow:
    """Posts each step as JSON: workload, step, the state wanted, and the time.

    Raises:
        InputError: a URL or the secret file cannot be used.
        DeniedError: others may read the secret file.
    """

    manifest = Manifest("webhook", "Adjusts a workload by a POST", ("pause", "reroute", "restore"))
    config_type: ClassVar[type[Section]] = WebhookConfig

    def __init__(self, config: WebhookConfig, clock: Clock, egress: Egress) -> None:
        self._config = config
        self._clock = clock
        self._egress = egress
        self._targets = {name: _target(it.url) for name, it in config.workload.items()}
        self._secret = _secret(Path(config.secret_file)) if config.secret_file else b""

    def adjust(self, workload: str, verb: str) -> str:
        """Post the step and read the answer; see `Workflow.adjust`."""
        target = self._targets.get(workload)
        if target is None or verb not in _STATES:
            raise InputError(
                "respond.hook_missing",
                f"No web hook is configured to {verb} the workload {workload!r}.",
                f"Add `url = ...` to [plugin.webhook.workload.{workload}].",
            )
        body = json.dumps(
            {
                "schema": "cronos.workflow/1",
                "workload": workload,
                "step": verb,
                "state": _STATES[verb],
                "time_ns": self._clock.now().wall_ns,
            }
        ).encode()
        status, answer = self._post(target, body)
        where = f"{target.hostname}:{_port(target)}"
        if not 200 <= status < 300:
            raise _broken(f"The web hook at {where} answered {status}{_shown(answer)}")
        state = _state(answer)
        if not state:
            return f"{workload}: {where} accepted {verb}, its effect not confirmed."
        if state != _STATES[verb]:
            raise _broken(f"The web hook at {where} says that {workload} is {state[:40]!r}")
        return f"{workload} is {state}, says {where}."

    def _post(self, target: SplitResult, body: bytes) -> tuple[int, bytes]:
        host, port = target.hostname or "", _port(target)
        self._egress.permit(host, port, "workflow web hook")
        timeout_s = self._config.timeout_ms / 1000
        connection = _connection(target.scheme, host, port, timeout_s)
        headers = {"Content-Type": "application/json", "Connection": "close"}
        if self._secret:
            mac = hmac.new(self._secret, body, hashlib.sha256).hexdigest()
            headers["X-Cronos-Signature"] = f"sha256={mac}"
        path = (target.path or "/") + (f"?{target.query}" if target.query else "")
        try:
            connection.connect()
            with cut_after(connection, timeout_s) as is_cut:
                connection.request("POST", path, body, headers)
                # A redirect is an answer like any other.
                with closing(connection.getresponse()) as response:
                    answer = response.read(_MAX_ANSWER_BYTES)
                if is_cut():
                    raise TimeoutError
                return response.status, answer
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise UnreachableError(
                "respond.webhook_silent",
                f"The web hook at {host}:{port} gave no answer in {timeout_s} s: {error!r:.200}",
                "Start its service, or raise `timeout_ms` under [plugin.webhook].",
            ) from error
        finally:
            connection.close()


@contextmanager
def _ends(
    process: "subprocess.Popen[bytes]",
) -> Generator[tuple[selectors.BaseSelector, int, int]]:
    """Give a selector on a command's output and its end, and their descriptors."""
    if process.stdout is None:
        raise _broken("the command has no output to read")
    output = process.stdout.fileno()
    os.set_blocking(output, False)
    end = os.pidfd_open(process.pid)
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(output, selectors.EVENT_READ)
            selector.register(end, selectors.EVENT_READ)
            yield selector, output, end
    finally:
        os.close(end)


def _take(output: int, said: bytearray) -> bool:
    """Read once and keep the beginning; False at the end of the output."""
    try:
        data = os.read(output, _READ_BYTES)
    except BlockingIOError:
        return True
    said += data[: max(0, _MAX_SAID_CHARS - len(said))]
    return bool(data)


def _connection(scheme: str, host: str, port: int, timeout_s: float) -> http.client.HTTPConnection:
    if scheme == "http":
        return http.client.HTTPConnection(host, port, timeout=timeout_s)
    context = ssl.create_default_context()
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return http.client.HTTPSConnection(host, port, timeout=timeout_s, context=context)


def _target(url: str) -> SplitResult:
    try:
        target = urlsplit(url)
        usable = target.scheme in ("http", "https") and target.hostname and _port(target) > 0
    except ValueError:
        usable = False
        target = urlsplit("")
    if not usable or not url.isascii() or not url.isprintable() or " " in url:
        raise InputError(
            "respond.webhook_url",
            f"{url!r} is no URL of a web hook.",
            "Write it as http://127.0.0.1:8080/path or https://host/path.",
        )
    if target.scheme == "http" and not is_local(target.hostname or ""):
        raise DeniedError(
            "respond.webhook_plain",
            f"{url!r} would leave this machine unencrypted.",
            "Use https (TLS 1.3) beyond loopback.",
        )
    return target


def _port(target: SplitResult) -> int:
    return target.port if target.port is not None else 443 if target.scheme == "https" else 80


def _secret(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            secret = file.read(_MAX_SECRET_BYTES).strip()
    except OSError as error:
        raise InputError(
            "respond.secret_unreadable",
            f"The secret file {path} cannot be read: {error.strerror}.",
            "Correct `secret_file` under [plugin.webhook].",
        ) from error
    if mode & 0o077:
        raise DeniedError(
            "respond.secret_open",
            f"The secret file {path} may be read by others.",
            f"Close it: chmod 600 {path}",
        )
    if not secret:
        raise InputError(
            "respond.secret_empty",
            f"The secret file {path} is empty.",
            "Write at least 32 random bytes into it.",
        )
    return secret


def _state(answer: bytes) -> str:
    try:
        return msgspec.json.decode(answer, type=_Answer).state
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return ""


def _shown(said: bytes) -> str:
    """Show the beginning of foreign text, without what would move a terminal's cursor."""
    text = said.decode(errors="replace")[:_MAX_SAID_CHARS]
    clean = "".join(c if c.isprintable() else " " for c in text).strip()
    return f' ("{clean}")' if clean else ""


def _broken(what: str) -> CronosError:
    return CronosError(
        "respond.hook_failed",
        f"{what}.",
        "Try the hook by hand; the workload may be in either state.",
        "peer",
    )
