"""One timer of the loop for many events: in order, early ones first, none lost to a fault."""

import asyncio

import pytest

from cronos.runtime.timers import Timers
from cronos.types import Deadline

MS = 1_000_000


def played(story):
    loop = asyncio.new_event_loop()
    try:
        return loop.run_until_complete(story(loop))
    finally:
        loop.close()


def test_events_ring_in_the_order_in_which_they_come_due():
    async def story(_loop):
        rung, done = [], asyncio.Event()

        def ring(event):
            rung.append(event.version)
            if len(rung) == 4:
                done.set()

        timers = Timers(ring)
        for delay, version in ((30, 3), (5, 1), (60, 4), (15, 2)):
            timers.after(delay * MS, Deadline("case", version))
        await asyncio.wait_for(done.wait(), 10)
        return rung

    assert played(story) == [1, 2, 3, 4]


def test_an_event_may_ask_for_another():
    async def story(_loop):
        rung, done = [], asyncio.Event()

        def ring(event):
            rung.append(event.version)
            if event.version < 3:
                timers.after(0, Deadline("case", event.version + 1))
            else:
                done.set()

        timers = Timers(ring)
        timers.after(0, Deadline("case", 1))
        await asyncio.wait_for(done.wait(), 10)
        return rung

    assert played(story) == [1, 2, 3]


def test_ten_thousand_hold_one_timer_of_the_loop():
    async def story(loop):
        made = []
        at = loop.call_at
        loop.call_at = lambda when, call: made.append(when) or at(when, call)
        timers = Timers(lambda _event: None)
        for n in range(10_000):
            timers.after((3600 + n) * 1_000 * MS, Deadline("case", n))
        return len(made)

    assert played(story) == 1


@pytest.mark.parametrize("faulty", [1, 2, 3])
def test_what_one_fault_keeps_from_being_rung_rings_afterwards(faulty):
    async def story(loop):
        rung, done, faults = [], asyncio.Event(), []
        loop.set_exception_handler(lambda _loop, context: faults.append(context))

        def ring(event):
            rung.append(event.version)
            if len(rung) == 3:
                done.set()
            if event.version == faulty:
                raise ValueError

        timers = Timers(ring)
        for version in (1, 2, 3):
            timers.after(0, Deadline("case", version))
        await asyncio.wait_for(done.wait(), 10)
        await asyncio.sleep(0)
        return rung, len(faults)

    assert played(story) == ([1, 2, 3], 1)
