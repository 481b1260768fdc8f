"""Workers that crash come back; one that always crashes is given up; all of them end."""

import asyncio
import sys

from cronos.config import Pipeline
from cronos.runtime.supervise import Supervisor, Worker
from cronos.runtime.telemetry import Log
from cronos.runtime.world import SystemClock

TERMS = Pipeline(restart_backoff_ms=1, max_restarts_per_minute=3)


def supervise(story):
    async def run():
        gave_up = []
        clock = SystemClock()
        supervisor = Supervisor(TERMS, clock, Log("n", clock, least="error"), gave_up.append)
        await story(supervisor, gave_up)

    asyncio.run(run())


async def started(worker):
    for _ in range(1000):
        if worker.process is not None:
            return
        await asyncio.sleep(0.01)


def python(program):
    return (sys.executable, "-c", program)


def test_a_worker_that_crashed_is_started_again(tmp_path, capfd):
    marker = tmp_path / "crashed"
    program = (
        f"import pathlib, sys; p = pathlib.Path({str(marker)!r})\n"
        "if not p.exists():\n"
        "    p.touch()\n"
        "    sys.exit(1)"
    )

    async def story(supervisor, gave_up):
        worker = Worker("phoenix", python(program), once=True)
        await supervisor.run(worker)
        assert (worker.restarts, worker.failed, gave_up) == (1, False, [])

    supervise(story)
    assert "worker.crashed" in capfd.readouterr().err


def test_a_worker_that_always_crashes_is_given_up(capfd):
    async def story(supervisor, gave_up):
        worker = Worker("doomed", python("import sys; sys.exit(7)"))
        await supervisor.run(worker)
        assert gave_up == [worker]
        assert worker.done.is_set()

    supervise(story)
    capfd.readouterr()


def test_stopping_ends_every_worker():
    async def story(supervisor, _gave_up):
        willing = Worker("willing", python("import time; time.sleep(60)"))
        running = asyncio.get_running_loop().create_task(supervisor.run(willing))
        await started(willing)
        await supervisor.stop()
        await running
        assert willing.process.returncode is not None

    supervise(story)


def test_a_worker_that_outlives_is_left_alone():
    async def story(supervisor, _gave_up):
        keeper = Worker("keeper", python("import time; time.sleep(60)"), outlives=True)
        running = asyncio.get_running_loop().create_task(supervisor.run(keeper))
        await started(keeper)
        await supervisor.stop()
        assert keeper.process.returncode is None
        keeper.process.kill()
        await running

    supervise(story)
