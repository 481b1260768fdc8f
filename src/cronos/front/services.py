"""The worker that runs a service, on an event loop of its own; no other worker has one."""

import asyncio
import functools
import signal
from pathlib import Path
from typing import Any

from cronos.config import Config
from cronos.front.membership import bound_of, holder_of
from cronos.front.plugins import make
from cronos.front.recorded import tracked_of
from cronos.link.asking import SOCKET_NAME
from cronos.link.egress import EgressGate
from cronos.ports import Clock
from cronos.runtime.tasks import AsyncTasks
from cronos.runtime.telemetry import Log


def serve(
    name: str, config: Config, given: dict[str, Any], run: Path, state: Path, clock: Clock
) -> None:
    """Run a service until told to stop; its port, if it has one, is written down.

    Args:
        name: of the service.
        config: holds its table.
        given: settings over those of its table.
        run: the folder that its port is written to.
        state: the state folder, for a service that has to do with the node's own credential.
        clock: its time.
    """
    asyncio.run(_serve(name, config, given, run, state, clock))


async def _serve(
    name: str, config: Config, given: dict[str, Any], run: Path, state: Path, clock: Clock
) -> None:
    log = Log(config.node.instance, clock)
    tasks = AsyncTasks(
        lambda task, error: log.write("error", "task.failed", task=task, detail=repr(error))
    )
    service = make(
        "service",
        name,
        config,
        given=given,
        clock=clock,
        tasks=tasks,
        egress=EgressGate(config.egress),
        report=log.write,
        holder=functools.partial(holder_of, config, state, clock),
        bound=functools.partial(bound_of, config, state),
        control=run / SOCKET_NAME,
        rates=functools.partial(tracked_of, config, state),
    )
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    await service.start()
    port = getattr(service, "port", None)
    if port is not None:
        (run / f"{name}.port").write_text(str(port), encoding="ascii")
    await stopped.wait()
    await service.stop()
