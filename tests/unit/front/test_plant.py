"""The demo's cast: what an actor tells is collected, and none is left behind."""

import asyncio
import sys

import pytest

from cronos.errors import UnreachableError
from cronos.front.plant import Actor


def playing(program, story):
    """Play a story with an actor that runs `program` in place of the plant's."""

    async def play():
        actor = Actor("server")
        actor._process = await asyncio.create_subprocess_exec(
            sys.executable, "-c", program, stdout=asyncio.subprocess.PIPE
        )
        listening = asyncio.get_running_loop().create_task(actor.listen())
        try:
            await story(actor)
        finally:
            await actor.end()
            await listening

    asyncio.run(play())


TELLS = (
    "import json, time\n"
    "for n in range(3): print(json.dumps({'event': 'read', 'n': n}), flush=True)\n"
    "print(json.dumps({'event': 'cut', 'at_boot_ns': 5}), flush=True)\n"
    "time.sleep(60)\n"
)


def test_what_it_tells_is_found_and_counted():
    async def story(actor):
        cut = await actor.must("cut", 20)
        assert cut["at_boot_ns"] == 5
        assert actor.count("read") == 3
        assert actor.count("read", n=1) == 1
        assert actor.find("read")["n"] == 0
        assert actor.find("nothing") is None

    playing(TELLS, story)


def test_waiting_ends_when_the_actor_has_ended():
    async def story(actor):
        assert await actor.wait_for("cut", 60) is None
        with pytest.raises(UnreachableError) as silent:
            await actor.must("cut", 60)
        assert silent.value.code == "demo.actor_silent"

    playing("pass", story)


def test_waiting_ends_when_time_is_up():
    async def story(actor):
        await actor.must("cut", 20)
        assert await actor.wait_for("never", 0.05) is None

    playing(TELLS, story)


def test_ending_an_actor_that_never_began_is_harmless():
    async def story():
        actor = Actor("server")
        await actor.listen()
        await actor.end()
        assert actor.told == []

    asyncio.run(story())
