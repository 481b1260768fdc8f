"""Concurrent work on the running event loop, with every error kept for the test to see."""

import asyncio
from collections.abc import Coroutine
from typing import Any


class InlineTasks:
    """Spawns on the event loop of the test itself.

    Attributes:
        errors: ``(name, exception)`` of all work that failed, in the order in which it ended.
    """

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()
        self.errors: list[tuple[str, BaseException]] = []

    def spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        """Run `work` beside the caller; its reference is kept until it ends."""
        # This is the Tasks port itself, so it may do what the port exists to forbid elsewhere.
        task = asyncio.get_running_loop().create_task(work, name=name)
        self._running.add(task)
        task.add_done_callback(self._ended)

    async def cancel(self) -> None:
        """Cancel all that runs and wait for it to end."""
        while running := list(self._running):
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)
            # Done callbacks run one turn of the loop later.
            await asyncio.sleep(0)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._running.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None:
            self.errors.append((task.get_name(), error))
