"""Time, identifiers and tasks of the shell keep the promises of their ports."""

import asyncio

from cronos.runtime.world import AsyncTasks, SequenceIds, SystemClock


def test_boot_time_never_goes_back_and_the_boot_has_one_name():
    clock = SystemClock()
    readings = [clock.now().boot_ns for _ in range(100)]

    assert readings == sorted(readings)
    assert clock.boot_id() == clock.boot_id() != ""


def test_identifiers_carry_instance_and_incarnation_and_never_repeat():
    ids = SequenceIds("north", 7)
    drawn = [ids.next("q") for _ in range(100)]

    assert drawn[0] == "north-7-q1"
    assert len(set(drawn)) == 100


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
