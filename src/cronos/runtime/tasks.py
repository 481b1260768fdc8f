"""Concurrent work, for those who may not start tasks themselves.

Apart from the clock, so that a process without an event loop imports none: it takes 40 ms.
"""

import asyncio
from collections.abc import Callable, Coroutine


class AsyncTasks:
    """Concurrent work on the running event loop; the `Tasks` of the reflex process.

    Args:
        report: called with the task's name and what it raised.
    """

    def __init__(self, report: Callable[[str, BaseException], None]) -> None:
        self._report = report
        self._running: set[asyncio.Task[None]] = set()

    def spawn(self, work: Coroutine[object, object, None], name: str) -> None:
        """Run `work` beside the caller; see `Tasks.spawn`."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._report(task.get_name(), error)

    async def cancel(self) -> None:
        """Cancel all that runs and wait for it to end."""
        running = list(self._running)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)
