"""A link and its streams, with pipes in memory: which stream is kept, lanes, room, beats."""

import asyncio
import itertools

import pytest
from tests.unit.mesh.grpc_nodes import Reports

from cronos.crypto.pki.chain import Identity
from cronos.errors import DeniedError, UnreachableError
from cronos.mesh.streams_link import Attachment, Link, Surroundings, Terms
from cronos.mesh.streams_session import Bounds
from cronos.mesh.streams_wire import Hello, encode
from cronos.testing.clock import VirtualClock
from cronos.testing.conformance.base import eventually
from cronos.testing.conformance.mesh import Mailbox
from cronos.testing.tasks import InlineTasks
from cronos.types import Lane

SMALL = Bounds(batch_bytes=400, waiting_bytes=2_000, windows=(4_000, 4_000, 4_000, 600, 300))


class PipeDouble:
    """Half of a stream in memory."""

    def __init__(self):
        self.inbox = asyncio.Queue()
        self.other = None
        self.cancelled = False
        self.broken = False

    async def read(self):
        return await self.inbox.get()

    async def write(self, data):
        if self.broken or self.cancelled:
            raise RuntimeError("the stream is over")
        self.other.inbox.put_nowait(data)

    def cancel(self):
        self.cancelled = True
        self.inbox.put_nowait(b"")
        self.other.inbox.put_nowait(b"")


class End:
    """One node's link to the other, with what it received."""

    def __init__(self, me, peer, receive=None, bounds=SMALL):
        self.box, self.reports, self.tasks = Mailbox(), Reports(), InlineTasks()
        self.clock = VirtualClock()
        around = Surroundings(
            me=me,
            life=f"{me}-1",
            counter=itertools.count(1),
            bounds=bounds,
            clock=self.clock,
            tasks=self.tasks,
            report=self.reports,
            receive=receive or self.box.receive,
            linked=self.box.linked,
        )
        self.me, self.link = me, Link(peer, around)

    def attach(self, pipe, dialler, hello, version=2):
        identity = Identity("node", self.link.peer, (), b"", "0", 0, "i", "0", "p-384")
        terms = Terms(dialler, version, identity, (), 0, 0, 0)
        stream = Attachment(pipe, terms, hello.session, self.clock.now().boot_ns)
        return stream if self.link.attach(stream, hello) else None

    def run(self, stream):
        async def read():
            try:
                await self.link.read(stream)
            except DeniedError as error:
                self.reports("warning", error.code)
            self.link.detach(stream)

        self.tasks.spawn(read(), "read")

    async def end(self):
        self.link.close()
        await self.tasks.cancel()
        assert self.tasks.errors == []


def connect(dialling, other, version=2):
    """Make a stream; gives both attachments, None where an end keeps another one."""
    near, far = PipeDouble(), PipeDouble()
    near.other, far.other = far, near
    hellos = [
        Hello(2, end.me, *end.link.session.greeting(), bytes(16)) for end in (dialling, other)
    ]
    there = other.attach(far, dialling.me, hellos[0], version)
    here = dialling.attach(near, dialling.me, hellos[1], version)
    for end, stream in ((dialling, here), (other, there)):
        if stream is not None:
            end.run(stream)
    return here, there


def story(work):
    async def run():
        one, two = End("a", "b"), End("b", "a")
        try:
            await work(one, two)
        finally:
            await one.end()
            await two.end()

    asyncio.run(run())


def test_a_stream_that_takes_the_place_of_another_is_no_new_link():
    async def work(one, two):
        first, _ = connect(one, two)
        for n in range(30):
            await one.link.send(Lane.KEYS, b"%d" % n)
            if n % 10 == 5:
                connect(one, two)
            await asyncio.sleep(0)
        await eventually(lambda: len(two.box.received) == 30, "All arrive.")
        assert two.box.arrived("a") == [b"%d" % n for n in range(30)]
        assert one.box.links == [("b", True)]
        assert two.box.links == [("a", True)]
        assert first.closed
        await eventually(lambda: len(one.link.standing) == 1, "The old ones are gone.")

    story(work)


def test_of_two_dials_the_smaller_instances_is_kept_whichever_comes_first():
    async def work(one, two):
        by_two, _ = connect(two, one)
        by_one, _ = connect(one, two)
        assert by_two.closed
        assert one.link.active is by_one
        assert connect(two, one) == (None, None)
        assert one.link.active is by_one
        assert (one.box.links, two.box.links) == ([("b", True)], [("a", True)])

    story(work)


def test_a_broken_stream_is_told_at_once_and_the_next_carries_on():
    async def work(one, two):
        here, _ = connect(one, two)
        await one.link.send(Lane.RECORDS, b"before")
        await eventually(lambda: two.box.arrived("a") == [b"before"], "It arrives.")
        here.pipe.broken = True
        await one.link.send(Lane.RECORDS, b"meanwhile")
        await eventually(lambda: one.box.links == [("b", True), ("b", False)], "It is told.")
        await eventually(lambda: two.box.links == [("a", True), ("a", False)], "To both.")
        assert one.reports.events() == ["mesh.write_ended"]
        connect(one, two)
        await eventually(lambda: two.box.arrived("a") == [b"before", b"meanwhile"], "It follows.")

    story(work)


def test_a_slow_receiver_holds_up_bulk_and_no_threat():
    async def work(one, _):
        gate = asyncio.Event()
        got = []

        async def slowly(_sender, lane, data):
            if lane is Lane.BULK:
                await gate.wait()
            got.append((lane, data))

        two = End("b", "a", slowly)
        connect(one, two)
        sent = []

        async def flood():
            for n in range(200):
                await one.link.send(Lane.BULK, b"%d" % n + bytes(100))
                sent.append(n)

        one.tasks.spawn(flood(), "flood")
        await asyncio.sleep(0.05)
        held = len(sent)
        assert 0 < held < 40
        await one.link.send(Lane.THREAT, b"now")
        await eventually(lambda: got == [(Lane.THREAT, b"now")], "The threat passes.")
        assert len(sent) == held
        gate.set()
        await eventually(lambda: len(got) == 201, "Then bulk flows on.")
        assert [int(data[:-100]) for lane, data in got if lane is Lane.BULK] == list(range(200))
        await two.end()

    story(work)


def test_who_waits_for_room_is_told_when_the_link_ends():
    async def work(one, _):
        two = End("b", "a", lambda *_: asyncio.Event().wait())
        connect(one, two)
        failed = []

        async def flood():
            try:
                while True:
                    await one.link.send(Lane.BULK, bytes(100))
            except UnreachableError as error:
                failed.append(error.code)

        one.tasks.spawn(flood(), "flood")
        await asyncio.sleep(0.02)
        assert failed == []
        one.link.close()
        await eventually(lambda: failed == ["mesh.queue_full"], "It is told.")
        await two.end()

    story(work)


def test_what_a_receiver_raises_is_reported_and_the_next_message_comes():
    async def work(one, _):
        got = []

        async def fail(_sender, _lane, data):
            got.append(data)
            if data == b"1":
                raise DeniedError("mesh.odd", "It is odd.", "Ask.")
            raise RuntimeError("a fault")

        two = End("b", "a", fail)
        connect(one, two)
        for data in (b"1", b"2", b"3"):
            await one.link.send(Lane.THREAT, data)
        await eventually(lambda: got == [b"1", b"2", b"3"], "All come.")
        assert two.reports.events() == ["mesh.odd", "mesh.receiver_fault", "mesh.receiver_fault"]
        await two.end()

    story(work)


@pytest.mark.parametrize("version", [1, 2])
def test_beats_measure_the_round_trip_with_whoever_knows_them(version):
    async def work(one, two):
        here, _ = connect(one, two, version)
        one.link.beat(here)
        await asyncio.sleep(0.02)
        one.clock.advance(8_000_000)
        one.link.beat(here)
        await asyncio.sleep(0.02)
        assert here.beats.maxlen == 4
        assert not here.beats
        assert one.reports == two.reports == []

    story(work)


def test_a_beat_that_came_back_after_a_while_says_so():
    async def work(one, two):
        here, there = connect(one, two)
        there.pipe.inbox.put_nowait(encode(Hello(2, "a", "s", 1, ("", 0), (0,) * 5, bytes(16))))
        await eventually(lambda: two.reports.events() == ["mesh.broken_stream"], "Refused.")
        await eventually(lambda: not one.link.up, "And ended.")
        here, _ = connect(one, two)
        real = one.link._around.clock.now
        one.link.beat(here)
        one.clock.advance(5_000_000)
        await eventually(lambda: one.link.rtt_ns == 5_000_000, "It is measured.")
        assert real().boot_ns > 5_000_000

    story(work)


def test_what_one_peer_sends_at_length_lets_others_have_their_turn():
    received = []

    async def run():
        async def slowly(peer, lane, data):
            received.append(data)
            two.clock.advance(2_000_000)

        roomy = Bounds(windows=(1 << 20,) * 5)
        one, two = End("a", "b", bounds=roomy), End("b", "a", slowly, roomy)
        connect(one, two)
        for _ in range(200):
            await one.link.send(Lane.THREAT, bytes(1_000))
        longest = before = 0
        while len(received) < 200:
            longest, before = max(longest, len(received) - before), len(received)
            await asyncio.sleep(0)
        await one.end()
        await two.end()
        return longest

    assert asyncio.run(run()) <= 8


def test_a_stream_stalls_while_its_receiver_takes_nothing_off_it_and_not_while_it_works_that_off():
    held, reads = asyncio.Event(), asyncio.Event()

    async def works(_peer, _lane, _data):
        await held.wait()

    async def run():
        one, two = End("a", "b"), End("b", "a", works)
        assert one.link.stalled_ns() > 10**15
        _, there = connect(one, two)
        assert one.link.stalled_ns() == 0
        taken = there.pipe.read

        async def later():
            await reads.wait()
            return await taken()

        there.pipe.read = later
        out = one.link.session.out
        await one.link.send(Lane.THREAT, b"x")
        await eventually(lambda: out.owed, "it is sent")
        one.clock.advance(3_000_000_000)
        await one.link.send(Lane.THREAT, b"y")
        assert one.link.stalled_ns() == 3_000_000_000
        reads.set()
        await eventually(lambda: not out.owed, "it is taken, and that is said")
        assert one.link.stalled_ns() == 0
        assert not two.link.session.incoming._worked[0]
        held.set()
        await one.end()
        await two.end()

    asyncio.run(run())
