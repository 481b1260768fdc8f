"""The worker processes: each reads the `Spec` its parent wrote and serves until told to stop."""

import argparse
import asyncio
import contextlib
import os
import signal
import sys
import threading
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any, Final

import msgspec

from cronos import config as configuration
from cronos.config import Config, Section, SourceEntry
from cronos.errors import CronosError, DeniedError, InputError, UnreachableError
from cronos.front import settings
from cronos.front.cli import explain
from cronos.front.plugins import load, make, names
from cronos.link.egress import EgressGate
from cronos.link.frames import connect, listen
from cronos.ports import Clock, Sensor, Source
from cronos.runtime.telemetry import Log
from cronos.runtime.world import AsyncTasks, SystemClock

_HEAD_BYTES: Final = 64 * 1024
_PARENT_S: Final = 0.1
_FREE_S: Final = 5.0
_TRY_S: Final = 0.05
_KINDS: Final = (DeniedError, UnreachableError, InputError)


class Spec(Section, frozen=True):
    """All that a worker process is told."""

    role: str
    config: Config
    run: str
    ledger: str
    enforcer: str
    enforcer_socket: str
    sources: tuple[SourceEntry, ...] = ()
    service: str = ""
    descriptor: int | None = None
    live: bool = False
    linger: bool = False
    parent: int = 0  # the process without which this one has nothing to do


def _on_stop(stop: Callable[[], None]) -> None:
    """Call `stop` at SIGTERM; an interrupt of the terminal is the parent's to handle."""

    def stopping(_signal: int, _frame: FrameType | None) -> None:
        stop()

    signal.signal(signal.SIGTERM, stopping)
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _serve_parser(spec: Spec, clock: Clock) -> None:
    pipeline = spec.config.pipeline
    parser = load("entry", "parser")(
        lambda: connect(Path(spec.run) / "scorer.sock"),
        clock,
        pipeline.batch_observations,
        os.getpid(),
    )
    _on_stop(lambda: setattr(parser, "stopping", True))
    openers = [
        (_named(one), lambda one=one: _open(one, spec, clock, lambda: not parser.stopping))
        for one in spec.sources
    ]
    parser.run(openers, spec.live)


def _named(entry: SourceEntry) -> str:
    """Call a source by its path where it has one, as it would call itself."""
    return str(entry.given.get("path") or entry.kind)


def _open(
    entry: SourceEntry, spec: Spec, clock: Clock, waiting: Callable[[], bool]
) -> tuple[Source, Sensor]:
    """Open a source and choose its sensor, by what it holds unless the user said.

    A live source has to say something first: only then is its name settled.
    """
    config = spec.config
    given = {**_wiring(spec, entry.kind), **entry.given}
    ports: dict[str, Any] = {"clock": clock, "folder": Path(spec.run) / _spool_of(entry)}
    if spec.descriptor is not None:
        # The parent keeps the socket, so that what arrives while this worker restarts is kept.
        ports["descriptor"] = os.dup(spec.descriptor)
    source = make("source", entry.kind, config, given=given, **ports)
    head = source.read(_HEAD_BYTES)
    while waiting() and (head is None or (head and len(head) < _HEAD_BYTES and not spec.live)):
        more = source.read(_HEAD_BYTES)
        if more == b"":
            break
        head = (head or b"") + (more or b"") or None
    name = entry.sensor or recognise(head or b"")
    if name is None:
        source.close()
        raise _unrecognised(source.name, empty=not head)
    return _Peeked(source, head or b""), make("sensor", name, config, clock=clock)


def _unrecognised(name: str, *, empty: bool) -> InputError:
    what = "is empty" if empty else "is in no format that is known here"
    formats = f"Name its format with --format: {', '.join(names('sensor'))}."
    return InputError(
        "sense.empty" if empty else "sense.unrecognised",
        f"{name} {what}.",
        "Check what should have written it." if empty else formats,
    )


def _spool_of(entry: SourceEntry) -> str:
    """Name a source's spool: two sources of a kind have one each, the same at every start."""
    given = msgspec.json.encode(entry.given, order="deterministic")
    return f"spool-{entry.kind}-{zlib.crc32(given):08x}"


def recognise(head: bytes) -> str | None:
    """Name the sensor that is surest of these first bytes; None when none is."""
    sure = {name: load("sensor", name).recognise(head) for name in names("sensor")}
    name = max(sure, key=lambda one: sure[one])
    return name if sure[name] > 0 else None


class _Peeked:
    """A source whose first bytes have been looked at."""

    def __init__(self, source: Source, head: bytes) -> None:
        self._source = source
        self._head = head
        self.name = source.name
        self.provenance = source.provenance
        self.first = source.first

    def read(self, size: int) -> bytes | None:
        if self._head:
            taken, self._head = self._head[:size], self._head[size:]
            return taken
        return self._source.read(size)

    def acknowledge(self, seq: int) -> None:
        self._source.acknowledge(seq)

    def close(self) -> None:
        self._source.close()


def _wiring(spec: Spec, name: str) -> dict[str, Any]:
    """Give the paths that a plug-in of this node shares with its other half."""
    run = Path(spec.run)
    feed, control = str(run / "tap-feed.sock"), str(run / "tap-control.sock")
    return {
        "forwarding-tap": {"feed": feed, "control": control},
        "tap-feed": {"socket": feed},
        "tap": {"control_socket": control},
        "stdin": {"folder": str(run / "spool-stdin")},
    }.get(name, {})


def _serve_service(spec: Spec, clock: Clock) -> None:
    """Run a service on an event loop of its own; its port, if it has one, is written down."""
    asyncio.run(_serve(spec, clock))


async def _serve(spec: Spec, clock: Clock) -> None:
    log = Log(spec.config.node.instance, clock)
    tasks = AsyncTasks(
        lambda name, error: log.write("error", "task.failed", task=name, detail=repr(error))
    )
    given = _wiring(spec, spec.service)
    service = make("service", spec.service, spec.config, given=given, clock=clock, tasks=tasks)
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await service.start()
    port = getattr(service, "port", None)
    if port is not None:
        _write_port(spec, port)
    await stopped.wait()
    await service.stop()


def _write_port(spec: Spec, port: int) -> None:
    Path(spec.run, f"{spec.service}.port").write_text(str(port), encoding="ascii")


def _serve_scorer(spec: Spec, clock: Clock) -> None:
    detectors = [make("detector", name, spec.config, clock=clock) for name in spec.config.detectors]
    with listen(Path(spec.run) / "scorer.sock") as listener:
        server = load("entry", "scorer")(detectors, listener, clock, Path(spec.run))
        _on_stop(lambda: setattr(server, "stopping", True))
        server.serve()


def _serve_ledger(spec: Spec, clock: Clock) -> None:
    ledger = _open_once_free(spec, clock)
    with listen(Path(spec.run) / "ledger.sock") as listener:
        server = load("entry", "ledger")(ledger, listener)
        _on_stop(lambda: setattr(server, "stopping", True))
        server.serve()


def _open_once_free(spec: Spec, clock: Clock) -> Any:
    """Open the ledger; the writer of a node that was killed just now still needs a moment."""
    for _ in range(int(_FREE_S / _TRY_S)):
        try:
            return open_ledger(spec.config, Path(spec.ledger), clock)
        except DeniedError as error:
            if error.code != "govern.ledger_in_use":
                raise
        time.sleep(_TRY_S)
    return open_ledger(spec.config, Path(spec.ledger), clock)


def open_ledger(config: Config, folder: Path, clock: Clock) -> Any:
    """Open this node's ledger for writing."""
    sealer = make("sealer", "plaintext", config)
    return make("ledger", "sqlite", config, folder=folder, sealer=sealer, clock=clock)


def _hooks(config: Config, clock: Clock) -> dict[str, Any]:
    """Build the workload hooks that the configuration has a table for."""
    egress = EgressGate(config.egress)
    return {
        name: make("workflow", name, config, clock=clock, egress=egress)
        for name in names("workflow")
        if name in config.plugin
    }


def _serve_enforcer(spec: Spec, clock: Clock) -> None:
    points = [*spec.config.executors, *(("workflow",) if spec.config.workload else ())]
    hooks = _hooks(spec.config, clock) if "workflow" in points else {}
    executors = {
        name: make("executor", name, spec.config, given=_wiring(spec, name), hooks=hooks)
        for name in points
    }
    own = {
        "protected": spec.config.policy.protected,
        "actions_per_minute": spec.config.policy.actions_per_minute,
        "max_lease_s": spec.config.lease.max_s,
        "linger": spec.linger,
        **spec.config.plugin.get("enforcer", {}),
    }
    settings = configuration.convert(own, load("entry", "enforcer-settings"), "[plugin.enforcer]")
    run = load("entry", "enforcer")
    run(settings, executors, Path(spec.enforcer), Path(spec.enforcer_socket), clock)


ROLES: Final[dict[str, Callable[[Spec, Clock], None]]] = {
    "parser": _serve_parser,
    "scorer": _serve_scorer,
    "ledger": _serve_ledger,
    "enforcer": _serve_enforcer,
    "service": _serve_service,
}


def _leave_with(parent: int) -> None:
    """End this process soon after its parent, however that ended."""
    while os.getppid() == parent:
        time.sleep(_PARENT_S)
    os.kill(os.getpid(), signal.SIGTERM)


def worker_main(arguments: list[str] | None = None) -> int:
    """Be one worker process; the argument is the file that holds its `Spec`."""
    given = sys.argv[1:] if arguments is None else arguments
    path = Path(given[0])
    spec = msgspec.json.decode(path.read_bytes(), type=Spec)
    clock = SystemClock()
    if spec.parent and not spec.linger:
        threading.Thread(target=_leave_with, args=(spec.parent,), daemon=True).start()
    try:
        ROLES[spec.role](spec, clock)
    except CronosError as error:
        Log(spec.config.node.instance, clock).write(
            "error", error.code, worker=spec.role, detail=error.sentence, remedy=error.remedy
        )
        failure = {
            "kind": next((kind.__name__ for kind in _KINDS if isinstance(error, kind)), ""),
            "code": error.code,
            "sentence": error.sentence,
            "remedy": error.remedy,
        }
        with contextlib.suppress(OSError):
            path.with_suffix(".error").write_bytes(msgspec.json.encode(failure))
        return 2
    return 0


def enforcer_main(arguments: list[str] | None = None) -> int:
    """Be the enforcer alone (`cronos-enforcer`), as a system service that nodes connect to."""
    parser = argparse.ArgumentParser(prog="cronos-enforcer", description=enforcer_main.__doc__)
    settings.shared(parser)
    options = parser.parse_args(arguments)
    try:
        folder = settings.state_of(options) / "enforcer"
        socket = str(folder / "enforcer.sock")
        spec = Spec("enforcer", settings.config_of(options), str(folder), "", str(folder), socket)
        _serve_enforcer(spec, SystemClock())
    except CronosError as error:
        return explain(error, json_wanted=False)
    return 0


if __name__ == "__main__":
    sys.exit(worker_main())
