"""Tasks of the shell keep the promises of their port."""

import asyncio

from cronos.runtime.tasks import AsyncTasks


def test_a_task_that_fails_is_reported_by_name():
    reported = []

    async def story():
        tasks = AsyncTasks(lambda name, error: reported.append((name, str(error))))
        tasks.spawn(fail(), "doomed")
        await asyncio.sleep(0.01)
        await tasks.cancel()

    async def fail():
        raise RuntimeError("broke")

    asyncio.run(story())

    assert reported == [("doomed", "broke")]


def test_cancelling_waits_until_everything_has_ended():
    ended = []

    async def work():
        try:
            await asyncio.sleep(60)
        finally:
            ended.append(True)

    async def story():
        tasks = AsyncTasks(lambda _name, _error: ended.append(False))
        tasks.spawn(work(), "long")
        await asyncio.sleep(0)
        await tasks.cancel()

    asyncio.run(story())

    assert ended == [True]
