"""Run a tap as a process of its own: the configuration comes as JSON, the port goes to stdout."""

import asyncio
import json
import signal
import sys

import uvloop

from cronos.config import convert
from cronos.gateway.tap import Tap, TapConfig
from cronos.runtime.tasks import AsyncTasks
from cronos.runtime.world import SystemClock


async def main(config: TapConfig) -> None:
    tasks = AsyncTasks(lambda name, error: sys.stderr.write(f"{name}: {error!r}\n"))
    tap = Tap(config, clock=SystemClock(), tasks=tasks)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await tap.start()
    sys.stdout.write(json.dumps({"port": tap.port}) + "\n")
    sys.stdout.flush()
    await stop.wait()
    await tap.stop()
    await tasks.cancel()


if __name__ == "__main__":
    uvloop.run(main(convert(json.loads(sys.argv[1]), TapConfig, "argv")))
