import asyncio

import pytest
from tests.unit.mesh.test_outbox import outbox, say

from cronos.errors import DeniedError
from cronos.mesh.storing import Storing
from cronos.testing.clock import VirtualClock
from cronos.testing.tasks import InlineTasks


def test_many_who_wait_share_one_sync(tmp_path):
    async def story():
        box, _ = outbox(tmp_path)
        stores = []
        store = box.store
        box.store = lambda batch: (stores.append(len(batch[0])), store(batch))
        storing = Storing(box, VirtualClock(), InlineTasks(), str, str)

        async def one():
            say(box)
            await storing.wait()

        await asyncio.gather(*(one() for _ in range(100)))
        assert sum(stores) == 100
        assert len(stores) <= 2
        await storing.stop()

    asyncio.run(story())


def test_a_peers_stream_is_told_once_it_is_on_the_disk(tmp_path):
    async def story():
        box, _ = outbox(tmp_path)
        told = []
        storing = Storing(box, VirtualClock(), InlineTasks(), told.append, str)
        storing.begin()
        box.inbox.begin("two", 1)
        box.inbox.passed("two", 5, 0)
        storing.owe("two")
        assert storing.durable("two").held == 0
        await storing.wait()
        assert told == ["two"]
        assert storing.durable("two").held == 5
        storing.forget("two")
        assert storing.durable("two").held == 0
        await storing.stop()

    asyncio.run(story())


def test_what_peers_told_is_gathered_and_who_posts_ends_the_gathering(tmp_path):
    async def story():
        box, _ = outbox(tmp_path)
        stores, told = [], []
        store = box.store
        box.store = lambda batch: (stores.append(len(batch[0])), store(batch))
        storing = Storing(box, VirtualClock(), InlineTasks(), told.append, str)
        storing.begin()
        box.inbox.begin("two", 1)
        for position in (1, 2, 3):
            box.inbox.passed("two", position, position - 1)
            storing.owe("two")
            await asyncio.sleep(0)
        assert stores == []
        say(box)
        await storing.wait()
        assert stores == [2]
        assert told == ["two"]
        await storing.stop()

    asyncio.run(story())


def test_who_waits_is_told_of_a_failure_and_it_is_tried_again(tmp_path):
    async def story():
        box, _ = outbox(tmp_path)
        clock, failures = VirtualClock(), []
        store = box.store
        full = DeniedError("testing.full", "Full.", "Make room.")

        def refuse(batch):
            raise full

        box.store = refuse
        storing = Storing(box, clock, InlineTasks(), str, failures.append)
        say(box)
        with pytest.raises(DeniedError):
            await storing.wait()
        assert failures == [full]
        storing.tick()
        await asyncio.sleep(0.02)
        assert failures == [full]
        box.store = store
        clock.advance(1_000_000_000)
        storing.tick()
        await storing.stop()
        assert not box.unwritten
        box.close()
        assert len(list(outbox(tmp_path)[0].posted())) == 1

    asyncio.run(story())
