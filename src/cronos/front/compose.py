"""The one composition root: here names become plug-ins, and plug-ins become a running node.

`Node` is the reflex process with its workers around it; `cronos.front.workers` is what each of
them runs, `cronos.front.plugins` where their plug-ins come from.
"""

import asyncio
import contextlib
import gc
import hashlib
import importlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Coroutine, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import msgspec
from msgspec.structs import replace

from cronos.config import Config, SourceEntry
from cronos.errors import CronosError, DeniedError, InputError, UnreachableError
from cronos.front.desk import Desk, Heard
from cronos.front.federation import MESH_SOCKET, require_safe
from cronos.front.layout import Layout
from cronos.front.losses import losses_of
from cronos.front.plugins import load, make, settings_of
from cronos.front.reception import Reception
from cronos.front.result import DefectView, IncidentView, show
from cronos.front.sealed import seals
from cronos.front.workers import Spec
from cronos.kernel.node import Kernel
from cronos.link.frames import connect
from cronos.link.urgency import ORDINARY_PRIORITY, REMEDY, take_priority
from cronos.runtime.channel import Channel
from cronos.runtime.reflex import Case, Reflex
from cronos.runtime.supervise import Supervisor, Worker
from cronos.runtime.tasks import AsyncTasks
from cronos.runtime.telemetry import Log
from cronos.runtime.world import SystemClock
from cronos.types import (
    Checkpoint,
    Datum,
    Defect,
    Hello,
    Incident,
    Kill,
    Members,
    Report,
    Unknown,
)

_READY_S: Final = 20.0
_RECALLED_HOURS: Final = 24
_SETTLE_S: Final = 30.0
_REFUSED_NS: Final = 5_000_000_000
_TERMINATED: Final = 128 + signal.SIGTERM
_MAX_DEFECTS: Final = 1_000
_POLL_S: Final = 0.01
_WATCH_S: Final = 0.5
_FOLLOW_S: Final = 2.0

# How a worker's error comes back to life here, by the name it was written down under.
_KINDS: Final = {kind.__name__: kind for kind in (DeniedError, UnreachableError, InputError)}

ResultT = TypeVar("ResultT")


class Node:
    """The reflex process and its workers, from `start` to `stop`.

    Args:
        config: the whole configuration.
        layout: where it keeps what it keeps.
        sources: what is read.
        live: the sources do not end by themselves.
    """

    def __init__(
        self,
        config: Config,
        layout: Layout,
        sources: Sequence[SourceEntry],
        *,
        live: bool,
        log_level: str = "warning",
    ) -> None:
        self._config = config
        self._layout = layout
        self._sources = tuple(sources)
        self._live = live
        self._clock = SystemClock()
        self._log = Log(config.node.instance, self._clock, least=log_level)
        self._tasks = AsyncTasks(self._task_failed)
        self._supervisor = Supervisor(config.pipeline, self._clock, self._log, self._gave_up)
        self._failure: CronosError | None = None
        self._last_kill: Kill | None = None
        self._parsers: list[Worker] = []
        self._bound: list[socket.socket] = []
        self.listening: dict[str, int] = {}
        self.processed: dict[str, int] = {}
        self.ended: set[str] = set()
        self.defects: list[DefectView] = []
        self.broken: set[str] = set()  # sources that could not be read to their end
        self._stored_ns = 0  # when the ledger was last known to store
        self._listed: set[DefectView] = set()
        points = {name: load("executor", name).manifest.abilities for name in config.executors}
        run = layout.run
        self._enforcer = Channel(layout.enforcer_socket, self._on_enforcer, self._enforcer_up)
        self._ledger = Channel(run / "ledger.sock", self._on_ledger, self._ledger_up)
        self._scorer = Channel(run / "scorer.sock", self._on_scorer, self._scorer_up)
        self._channels = [self._ledger, self._enforcer, self._scorer]
        self._incarnation = incarnation = layout.incarnation(
            self._clock.now().wall_ns, remembered=bool(config.mesh.listen)
        )
        self._reflex = Reflex(
            Kernel(config, incarnation, points, losses_of(config, layout.home)),
            config.node.instance,
            self._clock,
            self._log,
            self._enforcer.send,
            self._ledger.send,
        )
        self._reflex.planners = [
            make("planner", name, config, abilities=points, assets=config.asset)
            for name in config.planners
        ]
        if config.mesh.listen:
            require_safe(config)
            self._mesh = Channel(run / MESH_SOCKET, self._reflex.on_mesh, self._mesh_up)
            self._reflex.peering.send = self._mesh.send
            self._channels.append(self._mesh)
        self._followed: list[Any] = [
            one for one in self._reflex.planners if live and hasattr(one, "poll")
        ]
        self._reception = self._receive() if live else None
        # A run reads everything anew and acts on nobody's behalf; a node goes on where it was.
        self._reflex.recall_hours = _RECALLED_HOURS if live else 0

    # --- life ----------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start the workers; returns when all of them answer.

        Raises:
            CronosError: what a worker said when it could not start.
        """
        await self._start_workers()
        await self._until_ready()
        await self._open_to_people()
        for number, sources in enumerate(self._shares()):
            self._parsers.append(self._parse(f"parser-{number}", sources))
        self._log.write("info", "node.ready", sources=len(self._sources))

    async def _start_workers(self) -> None:
        if self._reception is not None:
            self._reception.look()  # before any finding is taken
        if not self._live:
            # A run reads everything anew, whatever an earlier one in this folder has read.
            for left in ("scorer.state", "scorer.sealed", "scorer.mark"):
                (self._layout.run / left).unlink(missing_ok=True)
        if seals(self._config):
            # First to start and last to end: the others ask it for keys until they have ended.
            self._work("keys", self._spec("keys"))
        for name in self._config.services:
            self._work(name, replace(self._spec("service"), service=name))
        self._work("ledger", self._spec("ledger"))
        await self._start_enforcer()
        self._work("scorer", self._spec("scorer"))
        if self._config.mesh.listen:
            self._work("mesh", replace(self._spec("mesh"), incarnation=self._incarnation))
        for channel in self._channels:
            self._tasks.spawn(channel.run(), "channel")

    async def _open_to_people(self) -> None:
        if self._reception is not None:
            await self._reception.start(self._tasks)
        if self._followed:
            self._tasks.spawn(self._follow_planners(), "planners")

    async def _until_ready(self) -> None:
        """Wait until all workers answer; as long as it takes while a big ledger is being sealed."""
        waited, moved = 0.0, ""
        while not all(channel.up for channel in self._channels):
            self._raise_failure()
            await asyncio.sleep(_POLL_S)
            waited += _POLL_S
            if waited < _READY_S:
                continue
            before, moved = moved, self._sealing()
            if moved == before:
                raise UnreachableError(
                    "front.not_ready",
                    f"The worker processes did not answer within {_READY_S:.0f} s.",
                    "See the log lines above; a machine without free memory or processes is usual.",
                )
            waited = 0.0

    def _sealing(self) -> str:
        """Say how far the ledger's move to a sealed one has come; "" where none is under way."""
        with contextlib.suppress(OSError):
            return (self._layout.run / "ledger.progress").read_text(encoding="ascii")
        return ""

    def _parse(self, name: str, sources: tuple[SourceEntry, ...]) -> Worker:
        """Start a parser; a socket it listens on is bound here, and outlasts its restarts."""
        descriptor: int | None = None
        for entry in sources:
            plugin = load("source", entry.kind)
            if hasattr(plugin, "bind"):
                own = settings_of(plugin, entry.kind, self._config, entry.given)
                bound: socket.socket = plugin.bind(own)
                self._bound.append(bound)
                descriptor = bound.fileno()
                self.listening[entry.kind] = int(bound.getsockname()[1])
                self._log.write(
                    "info", "source.listening", source=entry.kind, detail=self.listening
                )
        spec = replace(self._spec("parser"), sources=sources, descriptor=descriptor)
        return self._work(name, spec, once=not self._live)

    async def _start_enforcer(self) -> None:
        """Start the enforcer, or go on with the one that an earlier node left behind.

        One that was left with other settings is asked to end: its leases are in its book, which
        the new one takes over. A system's own enforcer (`cronos-enforcer`) keeps its settings.
        """
        told = self._layout.enforcer / "told.json"
        spec = replace(self._spec("enforcer"), linger=self._lingers())
        # Only their hash: what an enforcer was told is nobody's to read from the disk.
        settings = _digest(msgspec.json.encode((spec.config, spec.run, spec.linger)))
        pid = _serving(self._layout.enforcer_socket)
        if pid and told.exists():
            # One that does not linger is about to leave with the node that started it.
            if spec.linger and told.read_bytes() == settings:
                return
            os.kill(pid, signal.SIGTERM)
            for _ in range(int(_READY_S / _POLL_S)):
                if not _serving(self._layout.enforcer_socket):
                    break
                await asyncio.sleep(_POLL_S)
        elif pid:
            return
        told.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._layout.write(told, settings)
        self._work("enforcer", spec)

    def _lingers(self) -> bool:
        """Say whether effects may outlast this process, so that the enforcer must as well."""
        acts = any(name != "recording" for name in self._config.executors)
        return acts or bool(self._config.workload)

    def _shares(self) -> list[tuple[SourceEntry, ...]]:
        """Deal sources out: a live one has a parser of its own, files share the configured few."""
        if self._live:
            return [(source,) for source in self._sources]
        parsers = min(self._config.pipeline.parsers, len(self._sources))
        return [self._sources[number::parsers] for number in range(parsers)]

    def _spec(self, role: str) -> Spec:
        """Begin what a worker is told with what all of them are."""
        layout = self._layout
        return Spec(
            role,
            self._config,
            str(layout.run),
            str(layout.ledger),
            str(layout.enforcer),
            str(layout.enforcer_socket),
            live=self._live,
            parent=os.getpid(),
            keys=str(layout.keys),
            agent_socket=str(layout.agent_socket),
        )

    def _work(self, name: str, spec: Spec, *, once: bool = False) -> Worker:
        """Write a worker's `Spec` and have it supervised."""
        layout = self._layout
        path = layout.run / f"{name}.json"
        layout.write(path, msgspec.json.encode(spec))
        # What an earlier node of this folder left says nothing about this one.
        beside = (".error", ".progress")
        for stale in (*map(path.with_suffix, beside), layout.run / f"{spec.service}.port"):
            stale.unlink(missing_ok=True)
        arguments = (sys.executable, "-m", "cronos.front.workers", str(path))
        descriptors = () if spec.descriptor is None else (spec.descriptor,)
        worker = Worker(name, arguments, once, spec.linger, descriptors)
        self._tasks.spawn(self._supervisor.run(worker), name)
        return worker

    async def finish(self, progress: Callable[[], None]) -> None:
        """Wait until every source has been processed and every case has gone as far as it can.

        Raises:
            CronosError: a worker crashed too often.
        """
        while not all(parser.done.is_set() for parser in self._parsers):
            self._raise_failure()
            self._raise_unrecorded()
            progress()
            await asyncio.sleep(_POLL_S)
        for _ in range(int(_SETTLE_S / _POLL_S)):
            self._raise_failure()
            self._raise_unrecorded()
            if self._reflex.settled():
                break
            await asyncio.sleep(_POLL_S)
        progress()

    def _raise_unrecorded(self) -> None:
        """End a run whose ledger has refused for a while: what is not on record is not shown."""
        now_ns = self._clock.now().boot_ns
        if not self._reflex.refused:
            self._stored_ns = now_ns
        elif now_ns - self._stored_ns > _REFUSED_NS:
            raise DeniedError(
                "front.not_recorded",
                f"What happened could not be recorded: {self._reflex.refused}",
                "Nothing is shown that is not on record; put that right and run it again.",
            )

    async def watch(self, stopped: asyncio.Event) -> None:
        """Wait until told to stop.

        Raises:
            CronosError: a worker crashed too often.
        """
        while not stopped.is_set():
            self._raise_failure()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(stopped.wait(), _WATCH_S)

    async def stop(self) -> None:
        """End the workers, the reading ones first; what was acknowledged is durable."""
        if self._reception is not None:
            await self._reception.stop()
        await self._supervisor.stop()
        for channel in reversed(self._channels):
            channel.close()
        await self._tasks.cancel()
        for bound in self._bound:
            bound.close()

    def port(self, service: str) -> int | None:
        """Give the port that a service of this node listens on; None until it does."""
        with contextlib.suppress(OSError, ValueError):
            return int((self._layout.run / f"{service}.port").read_text(encoding="ascii"))
        return None

    @property
    def restarts(self) -> int:
        """Count how often a worker had to be started again."""
        return sum(worker.restarts for worker in self._supervisor.workers)

    def metrics(self) -> dict[str, float]:
        """Give the reflex process's metrics by name."""
        return self._reflex.metrics.read()

    def hurry(self) -> None:
        """Take real-time priority for this thread, if that is wanted and allowed; else say so.

        Not in a federation: what peers tell is weighed here, and must not go before all else.
        """
        wanted = self._config.node.realtime and not self._config.mesh.listen
        if wanted and not take_priority():
            self._log.write(
                "info", "node.ordinary_priority", detail=ORDINARY_PRIORITY, remedy=REMEDY
            )

    def workers(self) -> dict[str, int]:
        """Give the workers' process numbers, for those that run now."""
        running = {worker.name: worker.process for worker in self._supervisor.workers}
        return {
            name: process.pid
            for name, process in running.items()
            if process is not None and process.returncode is None
        }

    def incidents(self) -> tuple[IncidentView, ...]:
        """Give all incidents as people are shown them."""
        return tuple(self._view(incident) for incident in self._reflex.incidents())

    def _view(self, incident: Incident) -> IncidentView:
        case = self._reflex.cases.get(incident.incident_id) or Case()
        positions = (case.first_position, case.last_position, case.recorded_boot_ns)
        question = next(reversed(case.questions.values()), None)
        return show(incident, case.findings, case.outcomes, question, positions)

    # --- from people -----------------------------------------------------------------------------

    def _receive(self) -> Reception:
        cases = self._reflex.kernel.cases
        desk = Desk(cases.open, cases.closed, self._view, self._reflex.questions, self._hear)
        desk.state, desk.reread = self._standing, self._reread

        def report(sentence: str) -> None:
            self._log.write("warning", "control.report", detail=sentence)

        return Reception(self._config, self._layout, desk, self._clock, self._reflex.take, report)

    def _hear(self, heard: Heard) -> None:
        """Take what a person said; a kill goes to the enforcer as it came, and at once."""
        if isinstance(heard, Kill):
            self._last_kill = heard
            self._enforcer.send(heard)
            if self._reception is not None:
                self._reception.look()
        else:
            self._reflex.take(heard)

    def _standing(self) -> dict[str, Any]:
        """Say how the node stands."""
        cases = self._reflex.kernel.cases
        return {
            "node": self._config.node.instance,
            "open": len(cases.open),
            "active": cases.active,
            "closed": len(cases.closed),
            "waiting": len(self._reflex.questions()),
            "recorded": not self._reflex.refused,
            "roles": sorted(self._reflex.kernel.duties.held),
            "epoch": self._reflex.kernel.defense.epoch,
            "workers": self.workers(),
            "metrics": self.metrics(),
        }

    def _reread(self) -> str:
        """Let planners read their files anew; settings of the node wait for its next start."""
        changed = [planner.manifest.name for planner in self._followed if planner.poll()]
        told = f"Read anew: {', '.join(changed)}." if changed else "No playbook has changed."
        return f"{told} The settings of [policy] are read when the node starts."

    async def _follow_planners(self) -> None:
        """Let planners take up changed files; what does not hold leaves the former in force."""
        while True:
            await asyncio.sleep(_FOLLOW_S)
            for planner in self._followed:
                try:
                    if await asyncio.to_thread(planner.poll):
                        self._log.write("info", "planner.read", detail=planner.manifest.name)
                except CronosError as error:
                    self._log.write("error", error.code, detail=error.sentence)

    # --- from the workers ------------------------------------------------------------------------

    def _on_enforcer(self, datum: Datum | Unknown) -> None:
        self._reflex.on_enforcer(datum)

    def _on_ledger(self, datum: Datum | Unknown) -> None:
        self._reflex.on_ledger(datum)

    def _on_scorer(self, datum: Datum | Unknown) -> None:
        if not isinstance(datum, Report):
            return
        self.processed.update(datum.processed)
        self.ended.update(datum.ended)
        for defect in datum.defects:
            self._add_defect(defect)
        self._reflex.on_report(datum, self._scorer.send)

    def _add_defect(self, defect: Defect) -> None:
        """Note a defect once: a source that is read again tells of all its defects again."""
        shown = DefectView(defect.source, defect.position, defect.reason, defect.remedy)
        if defect.position == 0:
            self.broken.add(defect.source)
        if shown not in self._listed and len(self._listed) < _MAX_DEFECTS:
            self._listed.add(shown)
            self.defects.append(shown)
            self._log.write("info", "source.defect", source=defect.source, reason=defect.reason)

    def _enforcer_up(self) -> None:
        self._enforcer.send(Hello("reflex", os.getpid()))
        if self._last_kill is not None:
            # It may have been away when that was ordered; an older one changes nothing there.
            self._enforcer.send(self._last_kill)
        self._reflex.resend_orders()

    def _ledger_up(self) -> None:
        self._ledger.send(Hello("reflex", os.getpid()))
        self._reflex.resend_records()

    def _scorer_up(self) -> None:
        self._scorer.send(Hello("reflex", os.getpid()))

    def _mesh_up(self) -> None:
        self._mesh.send(Hello("reflex", os.getpid()))
        self._reflex.peering.resend()

    def _gave_up(self, worker: Worker) -> None:
        """A parser that cannot go on loses its source; without the others there is no node."""
        if worker.name.startswith("parser"):
            reason = f"its parser crashed {worker.restarts} times"
            remedy = "Leave the source out, and report it."
            self.defects.append(DefectView(worker.name, 0, reason, remedy))
            return
        if worker.name == "mesh":
            # Alone it is still a complete Cronos: it isolates, records and confirms in a view of 1.
            self._log.write("error", "mesh.lost", detail="This node goes on without its peers.")
            self._reflex.take(Members(()))
            return
        self._failure = UnreachableError(
            "front.worker_lost",
            f"The {worker.name} process crashed {worker.restarts} times within a minute.",
            "See its log lines above.",
        )

    def _task_failed(self, name: str, error: BaseException) -> None:
        self._log.write("error", "task.failed", task=name, detail=repr(error))

    def _raise_failure(self) -> None:
        """Raise what keeps the node from going on: a worker's own words, or that it is lost."""
        for path in self._layout.run.glob("*.error"):
            written = path.read_bytes()
            if not written:
                raise DeniedError(
                    "state.unwritable",
                    f"The {path.stem} process ended and could not write why to {path}: no space?",
                    "Make room or choose another folder with --state.",
                )
            told = msgspec.json.decode(written, type=dict[str, str])
            kind = _KINDS.get(told["kind"])
            if kind is None:
                raise CronosError(told["code"], told["sentence"], told["remedy"])
            raise kind(told["code"], told["sentence"], told["remedy"])
        if self._failure is not None:
            raise self._failure


def _digest(settings: bytes) -> bytes:
    return hashlib.sha256(settings).hexdigest().encode()


def _serving(path: Path) -> int:
    """Give the process that serves an enforcer's socket; 0 when none does."""
    with contextlib.suppress(CronosError):
        connection = connect(path)
        try:
            return connection.peer_pid()
        finally:
            connection.close()
    return 0


def run_loop(main: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Run the reflex process's loop: uvloop where it is installed, asyncio's own elsewhere."""
    factory = None
    with contextlib.suppress(ModuleNotFoundError):
        factory = importlib.import_module("uvloop").new_event_loop
    # Incidents are long-lived: what start-up made is left out of every later collection.
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)
    with asyncio.Runner(loop_factory=factory) as runner:
        try:
            return runner.run(_until_terminated(main))
        except asyncio.CancelledError:
            raise SystemExit(_TERMINATED) from None


async def _until_terminated(main: Coroutine[Any, Any, ResultT]) -> ResultT:
    """Let SIGTERM end the work as an interrupt does: workers first, nothing left behind."""
    task = asyncio.current_task()
    if task is not None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return await main


def verify_ledger(folder: Path) -> Checkpoint:
    """Recompute every hash of a ledger, with the verifier that stands apart from its writer.

    Keys are not needed for it; what is sealed stays closed.

    Raises:
        CronosError: there is no ledger, or it does not hold; names the first bad record.
    """
    checkpoint: Checkpoint = load("entry", "verify-ledger")(folder / "ledger.db")
    return checkpoint
