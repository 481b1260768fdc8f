"""The worker that carries the mesh: an event loop, the links by their catalogue name, and peers."""

import asyncio
import functools
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NamedTuple

from cronos.config import Config
from cronos.front.membership import holder_of
from cronos.front.plugins import load, make
from cronos.link.egress import EgressGate
from cronos.ports import Clock, Ids, KeyProvider, Sealer
from cronos.runtime.tasks import AsyncTasks
from cronos.runtime.telemetry import Log
from cronos.runtime.world import SequenceIds

_SWITCH_S: Final = 0.0005


class Place(NamedTuple):
    """The folder of the node's sockets, its own folder, and its incarnation."""

    run: Path
    home: Path
    incarnation: int


def serve(
    config: Config, place: Place, sealer: Sealer, keys: Callable[[], KeyProvider], clock: Clock
) -> None:
    """Carry the mesh until told to stop, or until the reflex process is gone.

    Args:
        config: of the node.
        place: where it is.
        sealer: of what lies at rest.
        keys: connects to the key agent.
        clock: its time.

    Raises:
        CronosError: it cannot begin.
    """
    # A thread that seals or verifies must not keep the loop waiting for five milliseconds each time
    # it has let go of the interpreter, which it does with every datagram.
    sys.setswitchinterval(_SWITCH_S)
    with asyncio.Runner(loop_factory=_loop) as runner:
        runner.run(_serve(config, place, sealer, keys, clock))


async def _serve(
    config: Config, place: Place, sealer: Sealer, keys: Callable[[], KeyProvider], clock: Clock
) -> None:
    core = load("entry", "mesh-core-log")()  # before anything is written, and gRPC imported
    log = Log(config.node.instance, clock)
    tasks = AsyncTasks(
        lambda task, error: log.write("error", "task.failed", task=task, detail=repr(error))
    )
    holder = functools.partial(holder_of, config, place.home.parent, clock)
    process: Any = None

    def report(level: str, event: str, /, **more: object) -> None:
        told: Callable[..., None] = log.write if process is None else process.report
        told(level, event, **more)

    mesh = make(
        "mesh",
        "grpc",
        config,
        given={"listen": config.mesh.listen},
        clock=clock,
        tasks=tasks,
        egress=EgressGate(config.egress),
        ids=SequenceIds(config.node.instance, place.incarnation),
        holder=holder,
        report=report,
    )
    told = load("entry", "mesh-place")(
        config.node.instance,
        place.incarnation,
        place.run,
        place.home,
        config.mesh.join,
        config.mesh.roles,
        config.mesh.listen,
        config.mesh.copies,
    )
    ports = load("entry", "mesh-ports")(
        mesh,
        holder,
        keys(),
        sealer,
        load("entry", "ledger-source")(place.home / "ledger"),
        load("entry", "ledger-copy"),
        clock,
        tasks,
        log.write,
        _registry(config),
        bulk=_engine(config, SequenceIds(config.node.instance, place.incarnation)),
        core=core,
    )
    process = load("entry", "mesh-process")(told, ports)
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    try:
        await process.run(stopped)
    finally:
        await tasks.cancel()


def _registry(config: Config) -> Any:
    """Make the registry in which nodes find one another; None where there is none."""
    if not config.mesh.registry:
        return None
    return make("registry", config.mesh.registry, config, egress=EgressGate(config.egress))


def _engine(config: Config, ids: Ids) -> Any:
    """Make the engine of bulk; None where the nodes' own streams carry it."""
    if config.mesh.bulk == "grpc":
        return None
    egress = EgressGate(config.egress)
    return make("stream", config.mesh.bulk, config, egress=egress, ids=ids)


def _loop() -> asyncio.AbstractEventLoop:
    """Make the loop: uvloop where it is installed, asyncio's own elsewhere."""
    try:
        import uvloop  # noqa: PLC0415 - only this process needs it here
    except ModuleNotFoundError:
        return asyncio.new_event_loop()
    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop
