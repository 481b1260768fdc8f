"""The worker that runs a service, on an event loop of its own; no other worker has one."""

import asyncio
import contextlib
import functools
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from cronos.config import Config
from cronos.front.learner import launch
from cronos.front.membership import bound_of, holder_of
from cronos.front.plugins import make
from cronos.front.profiles import node_store
from cronos.front.recorded import tracked_of
from cronos.link.asking import SOCKET_NAME
from cronos.link.egress import EgressGate
from cronos.ports import Clock, KeyProvider
from cronos.runtime.tasks import AsyncTasks
from cronos.runtime.telemetry import Log


class Place(NamedTuple):
    """Where a service runs: the folder that its port is written to, the state, the node's keys."""

    run: Path
    state: Path
    keys: Callable[[], KeyProvider]


def serve(name: str, config: Config, given: dict[str, Any], place: Place, clock: Clock) -> None:
    """Run a service until told to stop; its port, if it has one, is written down.

    Args:
        name: of the service.
        config: holds its table.
        given: settings over those of its table.
        place: its folders, and the keys of a service that keeps something sealed.
        clock: its time.
    """
    asyncio.run(_serve(name, config, given, place, clock))


async def _serve(
    name: str, config: Config, given: dict[str, Any], place: Place, clock: Clock
) -> None:
    run, state, keys = place
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
        learning=(functools.partial(node_store, config, state, clock, keys), launch()),
        gauges=functools.partial(_gauges, run),
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


def _gauges(run: Path) -> dict[str, float]:
    """Read what the services beside this one wrote down of how they do."""
    found: dict[str, float] = {}
    for path in sorted(run.glob("*.gauges")):
        with contextlib.suppress(OSError, msgspec.DecodeError):
            found |= msgspec.json.decode(path.read_bytes(), type=dict[str, float])
    return found
