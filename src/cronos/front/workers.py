"""The worker processes: each reads the `Spec` its parent wrote and serves until told to stop."""

import contextlib
import gc
import os
import signal
import sys
import threading
import time
import zlib
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Final, NoReturn, TypeAlias

import msgspec
from msgspec.structs import replace

from cronos import config as configuration
from cronos.config import Config, Section, SourceEntry
from cronos.errors import CronosError, DeniedError, InputError, UnreachableError
from cronos.front.keyring import open_keystore
from cronos.front.membership import approvals_of
from cronos.front.plugins import load, make, names, settings_of
from cronos.front.sealed import LateSealer, agent_keys, held_in, sealer_of, seals
from cronos.link.egress import EgressGate
from cronos.link.frames import connect, listen
from cronos.link.killswitch import FILE_NAME
from cronos.link.packetfeed import PacketSender
from cronos.link.urgency import take_priority
from cronos.ports import Clock, KeyProvider, Sensor, Source
from cronos.runtime.telemetry import Log
from cronos.runtime.world import SystemClock

_HEAD_BYTES: Final = 64 * 1024
_PARENT_S: Final = 0.1
_FREE_S: Final = 5.0
_TRY_S: Final = 0.05
_TELL_NS: Final = 2_000_000_000
_STEP_S: Final = 60.0
_SPOOLING: Final = frozenset(("stdin", "syslog-udp", "syslog-tcp"))
_WORKFLOW: Final = "workflow"
_LIBRARY: Final = "library"
_PATIENCE_S: Final = 5.0
# What the process of a foreign executor sees of ours: how to find Python's own files.
_KEPT_OF_ENVIRONMENT: Final = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")
_KINDS: Final = (DeniedError, UnreachableError, InputError)

Stored: TypeAlias = Callable[[], Iterable[bytes]]
"""Gives what a store holds, so that it can be seen which epochs it names."""


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
    keys: str = ""  # the keystore's folder
    agent_socket: str = ""
    incarnation: int = 0


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


def _spooled(spec: Spec, kind: str, store: str, given: dict[str, Any]) -> Stored | None:
    """Say what a source holds sealed; None where that is not known of its kind."""
    if kind not in _SPOOLING:
        return None
    return partial(held_in, Path(given.get("folder") or Path(spec.run) / store))


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
    store = _spool_of(entry)
    ports: dict[str, Any] = {
        "clock": clock,
        "folder": Path(spec.run) / store,
        "sealer": _sealer(spec, clock, store, _spooled(spec, entry.kind, store, given)),
    }
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
    packets = _handed(spec) if _LIBRARY in config.services else None
    return _Peeked(source, head or b""), make("sensor", name, config, clock=clock, packets=packets)


def _handed(spec: Spec) -> Any:
    """Give what hands packets to the library; of a file it may wait a little, never in all."""
    patience_s = 0.0 if spec.live else _PATIENCE_S
    return PacketSender(Path(spec.run) / "library.sock", patience_s)


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
    """Give what a plug-in of this node shares with its other half, or with the core."""
    run = Path(spec.run)
    feed, control = str(run / "tap-feed.sock"), str(run / "tap-control.sock")
    shared: dict[str, dict[str, Any]] = {
        "forwarding-tap": {"feed": feed, "control": control},
        "tap-feed": {"socket": feed},
        "tap": {"control_socket": control},
        "stdin": {"folder": str(run / "spool-stdin")},
        "nftables": {"segments": spec.config.segments} if spec.config.segments else {},
    }
    return shared.get(name, {})


def _serve_service(spec: Spec, clock: Clock) -> None:
    """Run a service; its event loop is a fifth of what the other workers would have to import."""
    from cronos.front.services import Place, serve  # noqa: PLC0415 - it alone loads asyncio

    place = Place(Path(spec.run), Path(spec.keys).parent.parent, partial(_agent_keys, spec))
    serve(spec.service, spec.config, _wiring(spec, spec.service), place, clock)


def _serve_mesh(spec: Spec, clock: Clock) -> None:
    """Carry what peers are told, and what they tell; it alone reads what strangers sent."""
    from cronos.front.meshing import Place, serve  # noqa: PLC0415 - it alone loads what streams need

    home = Path(spec.keys).parent
    sealer = _sealer(spec, clock, "outbox", partial(held_in, home / "outbox"))
    keys = partial(_agent_keys, spec)
    serve(spec.config, Place(Path(spec.run), home, spec.incarnation), sealer, keys, clock)


def _serve_scorer(spec: Spec, clock: Clock) -> None:
    detectors = [make("detector", name, spec.config, clock=clock) for name in spec.config.detectors]
    with listen(Path(spec.run) / "scorer.sock") as listener:
        sealer = _sealer(spec, clock, "scorer", partial(held_in, Path(spec.run), "scorer*"))
        server = load("entry", "scorer")(detectors, listener, clock, Path(spec.run), sealer=sealer)
        if isinstance(sealer, LateSealer):
            # Beside the wait for the first batch; scoring does not stand still for an import.
            sealer.warm(begin=True)
        _on_stop(lambda: setattr(server, "stopping", True))
        server.serve()


def _sealer(spec: Spec, clock: Clock, store: str, stored: Stored | None) -> Any:
    """Give the sealer of a store in the run folder, with the key agent's keys."""
    folder = Path(spec.run) / "epochs" / store
    return sealer_of(spec.config, folder, clock, store, lambda: _agent_keys(spec), stored)


def _agent_keys(spec: Spec) -> KeyProvider:
    return agent_keys(spec.config, Path(spec.agent_socket))


def _serve_keys(spec: Spec, clock: Clock) -> None:
    """Hold the node's long-term keys; a keystore that lacks is made, with the keys of a node."""
    log = Log(spec.config.node.instance, clock)

    def opened() -> Any:
        keystore = _once_free(
            lambda: open_keystore(spec.config, Path(spec.keys), clock, ensure=True),
            "crypto.keystore_in_use",
        )
        for remark in keystore.remarks:
            log.write("warning", "keys.remark", detail=remark)
        return keystore

    def leave() -> None:
        # The last worker of a run to end, with nobody left to answer and no half-done change that
        # a kill would not survive: a person who waits for the run need not wait for its turn.
        Path(spec.agent_socket).unlink(missing_ok=True)
        os._exit(0)

    def ready(server: Any) -> None:
        _on_stop((lambda: setattr(server, "stopping", True)) if spec.live else leave)

    Path(spec.keys).mkdir(mode=0o700, parents=True, exist_ok=True)
    # What a machine does not allow (locking memory) is told to who keeps a node, not at every run.
    least = "info" if spec.live else "error"
    report = Log(spec.config.node.instance, clock, least=least).write
    load("entry", "run-key-agent")(opened, Path(spec.agent_socket), clock, report, ready)


def _serve_ledger(spec: Spec, clock: Clock) -> None:
    folder = Path(spec.ledger)
    starts = load("entry", "ledger-starts")
    sealer = sealer_of(
        spec.config, folder, clock, "ledger", lambda: _agent_keys(spec), partial(starts, folder)
    )
    told = Path(spec.run) / "ledger.progress"
    ledger = _once_free(
        lambda: open_ledger(spec.config, folder, clock, sealer, _Progress(told, spec, clock)),
        "govern.ledger_in_use",
    )
    if spec.live and isinstance(sealer, LateSealer):
        # The first record of a live node waits for no import; a short run may have none. Not
        # before the ledger is ours: epochs are sorted out by what nobody else adds to.
        sealer.warm(begin=True)
    with listen(Path(spec.run) / "ledger.sock") as listener:
        standing = load("entry", "standing")(folder, sealer)
        server = load("entry", "ledger")(ledger, listener, standing)
        _on_stop(lambda: setattr(server, "stopping", True))
        server.serve()


def _once_free(opening: Callable[[], Any], in_use: str) -> Any:
    """Open what has one owner; that of a node which was killed just now needs a moment to end."""
    for _ in range(int(_FREE_S / _TRY_S)):
        try:
            return opening()
        except DeniedError as error:
            if error.code != in_use:
                raise
        time.sleep(_TRY_S)
    return opening()


class _Progress:
    """Tells the parent, and the log now and then, how far the ledger's move has come."""

    def __init__(self, path: Path, spec: Spec, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._log = Log(spec.config.node.instance, clock)
        self._told_ns = 0
        self._calls = 0  # the records are gone through twice, and each step is another text

    def __call__(self, done: int, total: int) -> None:
        """Write it down; a parent that waits sees that it changes."""
        self._calls += 1
        self._path.write_text(f"{self._calls}: {done}/{total}", encoding="ascii")
        now_ns = self._clock.now().boot_ns
        if now_ns - self._told_ns > _TELL_NS:
            self._told_ns = now_ns
            self._log.write("info", "ledger.sealing", records=done, of=total)


def open_ledger(
    config: Config, folder: Path, clock: Clock, sealer: Any, progress: Any = None
) -> Any:
    """Open this node's ledger for writing; a readable one is moved to a sealed one first."""
    return make(
        "ledger", "sqlite", config, folder=folder, sealer=sealer, clock=clock, progress=progress
    )


def _hooks(config: Config, clock: Clock) -> dict[str, Any]:
    """Build the workload hooks that the configuration has a table for."""
    egress = EgressGate(config.egress)
    return {
        name: make("workflow", name, config, clock=clock, egress=egress)
        for name in names("workflow")
        if name in config.plugin
    }


def _serve_executor(spec: Spec, clock: Clock) -> None:
    """Hold one executor of a foreign system and its secrets, for the enforcer that started this."""
    (name,) = spec.config.executors

    def build() -> Any:
        hooks = _hooks(spec.config, clock) if name == _WORKFLOW else {}
        egress = EgressGate(spec.config.egress)
        return make("executor", name, spec.config, hooks=hooks, clock=clock, egress=egress)

    signal.signal(signal.SIGINT, signal.SIG_IGN)
    load("entry", "executor-child")(build)


def _executors(spec: Spec, clock: Clock) -> dict[str, Any]:
    """Build the executors; those of foreign systems run in processes of their own."""
    points = [*spec.config.executors, *((_WORKFLOW,) if spec.config.workload else ())]
    return {
        name: _child(spec, name, clock)
        if getattr(load("executor", name), "foreign", False)
        else make("executor", name, spec.config, given=_wiring(spec, name))
        for name in points
    }


def _child(spec: Spec, name: str, clock: Clock) -> Any:
    """Prepare the process of one executor: it is told its own settings and gets no environment.

    Raises:
        InputError: its settings are not valid; what they name is looked at in the process itself.
    """
    plugin = load("executor", name)
    settings = settings_of(plugin, name, spec.config, None)
    tables = {name, *(names("workflow") if name == _WORKFLOW else ())}
    own = Config(
        node=spec.config.node,
        egress=spec.config.egress,
        executors=(name,),
        plugin={one: table for one, table in spec.config.plugin.items() if one in tables},
    )
    folder = Path(spec.enforcer) / "children"
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    told = folder / f"{name}.json"
    _write_private(told, msgspec.json.encode(Spec("executor", own, str(folder), "", "", "")))
    launch = load("entry", "executor-launch")(
        (sys.executable, "-m", "cronos.front.workers", str(told)),
        {one: os.environ[one] for one in _KEPT_OF_ENVIRONMENT if one in os.environ},
        settings.deadline_ms,
    )
    child = load("entry", "executor-host")(plugin.manifest, launch, clock)
    if spec.live or spec.linger:
        child.start()  # nobody's isolation waits for an import
    return child


def _write_private(path: Path, data: bytes) -> None:
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:  # noqa: PTH123
        file.write(data)


def _serve_enforcer(spec: Spec, clock: Clock) -> None:
    log = Log(spec.config.node.instance, clock)
    if spec.live and spec.config.node.realtime:
        take_priority()
    executors = _executors(spec, clock)
    own = {
        "protected": spec.config.policy.protected,
        "actions_per_minute": spec.config.policy.actions_per_minute,
        "blast_per_minute": spec.config.policy.blast_per_minute,
        "max_lease_s": spec.config.lease.max_s,
        "segments": spec.config.segments,
        "linger": spec.linger,
        **spec.config.plugin.get("enforcer", {}),
    }
    settings = configuration.convert(own, load("entry", "enforcer-settings"), "[plugin.enforcer]")
    run = load("entry", "enforcer")
    state = Path(spec.keys).parents[1] if spec.keys else Path(spec.enforcer).parent
    home = load("entry", "enforcer-home")(
        Path(spec.enforcer),
        _enforcer_sealer(spec, clock, log),
        _say(log),
        state / FILE_NAME,
        approvals_of(spec.config, state, clock),
    )
    try:
        run(settings, executors, home, Path(spec.enforcer_socket), clock)
    finally:
        for executor in executors.values():
            getattr(executor, "close", _nothing)()


def _nothing() -> None:
    """Stand where an executor has nothing to close."""


def _say(log: Log) -> Callable[[str], None]:
    return lambda sentence: log.write("warning", "enforcer.book", detail=sentence)


def _enforcer_sealer(spec: Spec, clock: Clock, log: Log) -> Any:
    """Give the enforcer's own sealer: its machine key opens it with no agent and no person."""
    folder = Path(spec.enforcer)

    def build() -> Any:
        own = {**spec.config.plugin, "keystore": {"root": "machine-key"}, "machine-key": {}}
        config = replace(spec.config, plugin=own)
        try:
            keystore = _once_free(
                lambda: open_keystore(config, folder / "keys", clock, ensure=True),
                "crypto.keystore_in_use",
            )
        except CronosError as error:
            log.write("error", error.code, detail=error.sentence, remedy=error.remedy)
            return load("entry", "enforcer-keyless")(error)
        for remark in keystore.remarks:
            log.write("warning", "keys.remark", detail=remark)
        threading.Thread(target=_keep, args=(keystore, log), daemon=True).start()
        return make(
            "sealer",
            spec.config.sealer,
            config,
            folder=folder,
            keys=keystore,
            clock=clock,
            store="leases",
            stored=partial(held_in, folder),
        )

    if not seals(spec.config):
        return sealer_of(spec.config, folder, clock, "leases", lambda: _agent_keys(spec))
    sealer = LateSealer(build)
    if spec.live or spec.linger:
        # Nobody's isolation waits for an import; what only records what it would do can.
        sealer.warm(begin=True)
    return sealer


def _keep(keystore: Any, log: Log) -> NoReturn:
    """Rotate and forget what is due among the enforcer's own keys, as an agent does for others."""
    while True:
        time.sleep(_STEP_S)
        _step(keystore, log)


def _step(keystore: Any, log: Log) -> None:
    try:
        for done in keystore.step():
            log.write("info", "keys.step", detail=done)
    except CronosError as error:
        log.write("error", error.code, detail=error.sentence, remedy=error.remedy)
    except Exception as error:  # noqa: BLE001 - leases are kept though a rotation fails
        log.write("error", "keys.fault", detail=type(error).__name__)


ROLES: Final[dict[str, Callable[[Spec, Clock], None]]] = {
    "parser": _serve_parser,
    "scorer": _serve_scorer,
    "ledger": _serve_ledger,
    "enforcer": _serve_enforcer,
    "executor": _serve_executor,
    "keys": _serve_keys,
    "service": _serve_service,
    "mesh": _serve_mesh,
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
    gc.set_threshold(50_000, 20, 50)  # as the reflex process: most of what is made lives long
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
        _tell_parent(path.with_suffix(".error"), msgspec.json.encode(failure))
        return 2
    return 0


def _tell_parent(path: Path, failure: bytes) -> None:
    """Write down why this worker ended; on a full disk an empty file says at least that."""
    new = path.with_suffix(".told")
    try:
        new.write_bytes(failure)
        new.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            new.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            path.touch(mode=0o600)


def enforcer_main(arguments: list[str] | None = None) -> int:
    """Be the enforcer alone (`cronos-enforcer`), as a system service that nodes connect to."""
    # No worker process has a command line of its own to read, nor time to import one.
    import argparse  # noqa: PLC0415 - no other worker needs it

    from cronos.front import settings  # noqa: PLC0415
    from cronos.front.cli import explain  # noqa: PLC0415

    parser = argparse.ArgumentParser(prog="cronos-enforcer", description=enforcer_main.__doc__)
    settings.shared(parser)
    options = parser.parse_args(arguments)
    try:
        folder = settings.state_of(options) / "enforcer"
        socket = str(folder / "enforcer.sock")
        config = settings.config_of(options)
        spec = Spec("enforcer", config, str(folder), "", str(folder), socket, live=True)
        _serve_enforcer(spec, SystemClock())
    except CronosError as error:
        return explain(error, json_wanted=False)
    return 0


if __name__ == "__main__":
    sys.exit(worker_main())
