"""Supervision: starts the worker processes, restarts the ones that crash, and stops them all.

A worker that keeps crashing is given up after a stated number of restarts in a minute: the node
says so and goes on with the rest.
"""

import asyncio
import contextlib
import os
import signal
from collections import deque
from collections.abc import Callable
from typing import Final

from cronos.config import Pipeline
from cronos.ports import Clock
from cronos.runtime.telemetry import Log

_MINUTE_NS: Final = 60_000_000_000
_STOP_S: Final = 5.0


class Worker:
    """One supervised process.

    Args:
        name: for logs.
        arguments: what to execute, program first.
        once: it ends by itself with status 0 when its work is done, and stays ended.
        outlives: it is left running when the rest stops, because its work is not done.
        descriptors: open files that it inherits, at every start.
    """

    def __init__(
        self,
        name: str,
        arguments: tuple[str, ...],
        once: bool = False,
        outlives: bool = False,
        descriptors: tuple[int, ...] = (),
    ) -> None:
        self.name = name
        self.arguments = arguments
        self.once = once
        self.outlives = outlives
        self.descriptors = descriptors
        self.process: asyncio.subprocess.Process | None = None
        self.restarts = 0
        self.done = asyncio.Event()
        self.failed = False


class Supervisor:
    """Keeps workers running until `stop`.

    Args:
        terms: back-off and the most restarts in a minute.
        clock: the time.
        log: where starts and crashes are told.
        gave_up: called with a worker that crashed too often.
    """

    def __init__(
        self, terms: Pipeline, clock: Clock, log: Log, gave_up: Callable[[Worker], None]
    ) -> None:
        self._terms = terms
        self._clock = clock
        self._log = log
        self._gave_up = gave_up
        self._stop = asyncio.Event()
        self.workers: list[Worker] = []

    async def run(self, worker: Worker) -> None:
        """Start a worker, and start it again whenever it crashes."""
        self.workers.append(worker)
        crashes: deque[int] = deque()
        while not self._stop.is_set():
            # Workers say what they have to say on standard error: one that outlives this process
            # must not keep the reader of our output waiting for its end.
            worker.process = await asyncio.create_subprocess_exec(
                *worker.arguments,
                stdout=asyncio.subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=worker.descriptors,
            )
            status = await worker.process.wait()
            if self._stop.is_set() or (worker.once and status in (0, 2)):
                break
            worker.restarts += 1
            crashes.append(now_ns := self._clock.now().boot_ns)
            while crashes[0] < now_ns - _MINUTE_NS:
                crashes.popleft()
            self._log.write("error", "worker.crashed", worker=worker.name, status=status)
            if len(crashes) > self._terms.max_restarts_per_minute:
                worker.failed = True
                self._gave_up(worker)
                break
            await asyncio.sleep(self._terms.restart_backoff_ms / 1000 * len(crashes))
        worker.done.set()

    async def stop(self) -> None:
        """Ask workers to end, the last started first, and end those that do not."""
        self._stop.set()
        for worker in reversed(self.workers):
            if not worker.outlives:
                await _end(worker)


async def _end(worker: Worker) -> None:
    process = worker.process
    if process is None or process.returncode is not None:
        return
    with contextlib.suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGTERM)
    try:
        await asyncio.wait_for(process.wait(), _STOP_S)
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
