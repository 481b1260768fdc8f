"""What every `Tasks` must do."""

import asyncio
from collections.abc import Sequence

from cronos.ports import Tasks
from cronos.testing.conformance.base import eventually, require, run


class TasksConformance:
    """Subclass and write `make` and `reported`."""

    def make(self) -> Tasks:
        """Give tasks for the running event loop."""
        raise NotImplementedError

    def reported(self, tasks: Tasks) -> Sequence[str]:
        """Name the work whose error was reported."""
        raise NotImplementedError

    def test_work_runs_beside_its_caller(self) -> None:
        """Spawn two that need each other."""
        run(self._beside())

    def test_an_error_is_reported_and_stops_nothing_else(self) -> None:
        """Spawn one that fails and one that does not."""
        run(self._an_error())

    def test_cancelling_waits_until_all_has_ended(self) -> None:
        """Cancel work that cleans up behind itself, then cancel again."""
        run(self._cancelling())

    async def _beside(self) -> None:
        tasks, one, two = self.make(), asyncio.Event(), asyncio.Event()

        async def first() -> None:
            one.set()
            await two.wait()

        async def second() -> None:
            await one.wait()
            two.set()

        tasks.spawn(first(), "first")
        tasks.spawn(second(), "second")
        await eventually(two.is_set, "Spawned work runs.")
        await tasks.cancel()

    async def _an_error(self) -> None:
        tasks, done = self.make(), asyncio.Event()

        async def fails() -> None:
            raise ValueError("on purpose")

        async def works() -> None:
            done.set()

        tasks.spawn(fails(), "fails")
        tasks.spawn(works(), "works")
        await eventually(lambda: "fails" in self.reported(tasks), "An error is reported by name.")
        await eventually(done.is_set, "Other work goes on.")
        await tasks.cancel()

    async def _cancelling(self) -> None:
        tasks, began, ended = self.make(), asyncio.Event(), asyncio.Event()

        async def works() -> None:
            began.set()
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)
                ended.set()

        tasks.spawn(works(), "works")
        await eventually(began.is_set, "Spawned work runs.")
        await tasks.cancel()
        require(ended.is_set(), "`cancel` waits until work has cleaned up.")
        await tasks.cancel()
