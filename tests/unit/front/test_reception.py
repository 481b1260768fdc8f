"""Where a node hears people: its socket answers, and its switch reaches the kernel."""

import asyncio

import pytest
from tests.integration.product import remove, short_folder

from cronos.config import Config
from cronos.front.desk import Desk
from cronos.front.layout import Layout
from cronos.front.reception import Reception
from cronos.link.asking import SOCKET_NAME
from cronos.runtime.tasks import AsyncTasks
from cronos.runtime.world import SystemClock


@pytest.fixture
def layout():
    folder = short_folder()
    ours = Layout(folder, "local", session=False)
    yield ours
    ours.close()
    remove(folder)


def reception_of(layout, kills):
    desk = Desk({}, {}, lambda _incident: None, list, lambda _heard: None)
    return Reception(Config(), layout, desk, SystemClock(), kills.append, lambda _sentence: None)


def test_it_serves_until_it_is_stopped(layout):
    async def story():
        tasks = AsyncTasks(lambda *_: None)
        ours = reception_of(layout, [])
        await ours.start(tasks)
        assert (layout.run / SOCKET_NAME).is_socket()
        await ours.stop()
        await ours.stop()
        await tasks.cancel()

    asyncio.run(story())
    assert not (layout.run / SOCKET_NAME).exists()


def test_a_file_that_is_touched_reaches_the_kernel_once_and_its_removal_too(layout):
    kills = []
    ours = reception_of(layout, kills)
    ours.look()
    (layout.state / "KILL").touch()
    ours.look()
    ours.look()
    (layout.state / "KILL").unlink()
    ours.look()

    assert [kill.engaged for kill in kills] == [True, False]
    assert kills[0].generation < kills[1].generation
