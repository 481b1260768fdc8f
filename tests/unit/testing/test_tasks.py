"""Errors of spawned work are kept with their names."""

import asyncio

from cronos.testing.tasks import InlineTasks


def test_errors_are_kept_in_the_order_in_which_work_ended():
    async def story() -> list[str]:
        tasks = InlineTasks()

        async def fails(sentence: str) -> None:
            raise ValueError(sentence)

        tasks.spawn(fails("one"), "first")
        tasks.spawn(fails("two"), "second")
        await asyncio.sleep(0)
        await tasks.cancel()
        return [f"{name}: {error}" for name, error in tasks.errors]

    assert asyncio.run(story()) == ["first: one", "second: two"]


def test_work_that_spawns_while_it_is_cancelled_is_cancelled_too():
    async def story() -> list[str]:
        tasks, seen = InlineTasks(), list[str]()

        async def child() -> None:
            await asyncio.Event().wait()

        async def parent() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                seen.append("parent")
                tasks.spawn(child(), "child")

        tasks.spawn(parent(), "parent")
        await asyncio.sleep(0)
        await tasks.cancel()
        return seen

    assert asyncio.run(story()) == ["parent"]
