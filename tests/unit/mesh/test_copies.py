"""The threat lane: once, in order, whatever way was first, and quick where streams hang."""

import asyncio
import random

import pytest
from tests.unit.mesh.nodes import cluster, stop, until

from cronos.errors import UnreachableError
from cronos.mesh.copies import (
    MAX_EARLY,
    MAX_PARTIAL,
    MAX_WAITING,
    CopyingMesh,
    _Incoming,
    _Outgoing,
)
from cronos.mesh.copywire import Answer, Part
from cronos.ports import Mesh
from cronos.testing.clock import VirtualClock
from cronos.testing.conformance.mesh import MeshConformance
from cronos.testing.memory_mesh import MemoryNetwork
from cronos.testing.tasks import InlineTasks
from cronos.types import Lane


class Nowhere:
    """Datagrams of a network that lets none pass."""

    cards = None

    def listen(self, channel, listener):
        pass

    def send(self, peer, channel, data, via=""):
        return False

    def heard_ns(self, peer):
        return -(10**18)


class TestCopyingMesh(MeshConformance):
    async def make(self) -> dict[str, Mesh]:
        network = MemoryNetwork()
        clock = VirtualClock()
        return {
            name: CopyingMesh(network.join(name), Nowhere(), clock, InlineTasks())
            for name in ("a", "b", "c")
        }


def stalled(node):
    """Let a node's threat lane hang in its streams, as TCP does when it lost a packet."""
    send = node.streams.send

    async def hangs(peer, lane, data):
        if lane is not Lane.THREAT:
            await send(peer, lane, data)

    node.streams.send = hangs


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_what_hangs_in_a_stream_arrives_by_datagram_once_and_in_order(share):
    async def story():
        _, nodes = await cluster("alpha", "beta", "gamma")
        alpha, beta = nodes["alpha"], nodes["beta"]
        drawn = random.Random(5)
        for node in nodes.values():
            node.wire.drops = lambda _address, _data: drawn.random() < share
        stalled(alpha)
        sent = [b"bulletin %d" % n + bytes(n * 40) for n in range(60)]
        for data in sent:
            await alpha.mesh.send("beta", Lane.THREAT, data)
            await asyncio.sleep(0.002)
        await until(lambda: len(beta.threats) == len(sent))
        assert beta.threats == [("alpha", data) for data in sent]
        await until(lambda: not alpha.mesh._to["beta"].waiting)
        await stop(nodes)

    asyncio.run(story())


def test_both_ways_make_one_message_and_an_answer_ends_the_copies():
    async def story():
        _, nodes = await cluster("alpha", "beta")
        alpha, beta = nodes["alpha"], nodes["beta"]
        for n in range(50):
            await alpha.mesh.send("beta", Lane.THREAT, b"%d" % n)
        await until(lambda: len(beta.threats) == 50)
        await until(lambda: not alpha.mesh._to["beta"].waiting)
        copies = alpha.mesh.copies
        await asyncio.sleep(0.3)
        assert beta.threats == [("alpha", b"%d" % n) for n in range(50)]
        assert alpha.mesh.copies == copies
        await stop(nodes)

    asyncio.run(story())


def test_a_long_message_goes_by_stream_alone_and_keeps_its_place():
    async def story():
        _, nodes = await cluster("alpha", "beta")
        alpha, beta = nodes["alpha"], nodes["beta"]
        sent = [b"one", bytes(200_000), b"three"]
        for data in sent:
            await alpha.mesh.send("beta", Lane.THREAT, data)
        await until(lambda: [data for _, data in beta.threats] == sent)
        await stop(nodes)

    asyncio.run(story())


def test_the_lanes_below_are_left_alone():
    async def story():
        network = MemoryNetwork()
        clock = VirtualClock()
        heard = []

        async def receive(peer, lane, data):
            heard.append((peer, lane, data))

        meshes = {
            name: CopyingMesh(mesh, Nowhere(), clock, InlineTasks())
            for name, mesh in network.mesh("a", "b").items()
        }
        for mesh in meshes.values():
            await mesh.start(receive, lambda _peer, _up: None)
        await meshes["a"].send("b", Lane.BULK, b"\x01 as it is")
        assert heard == [("a", Lane.BULK, b"\x01 as it is")]
        with pytest.raises(UnreachableError):
            await meshes["a"].send("nobody", Lane.THREAT, b"?")
        for mesh in meshes.values():
            await mesh.stop()

    asyncio.run(story())


def test_what_gives_way_raises_the_floor_and_the_receiver_goes_on():
    incoming = _Incoming(1, 0)

    incoming.take(0, 0, b"a")
    incoming.take(2, 0, b"c")
    waited = list(incoming.ready)
    incoming.take(5, 4, b"f")
    incoming.take(4, 4, b"e")

    assert waited == [b"a"]
    assert list(incoming.ready) == [b"a", b"c", b"e", b"f"]
    assert incoming.answer() == Answer(1, 6, 0)


def test_answers_are_cumulative_and_name_what_came_early():
    out = _Outgoing()
    for n in range(5):
        out.put(b"%d" % n, 0)
    incoming = _Incoming(1, 1)
    incoming.take(1, 1, b"0")
    incoming.take(4, 1, b"3")

    overtaken = out.answered(incoming.answer(), 7)

    assert list(out.waiting) == [2, 3, 5]
    assert overtaken == [2, 3]
    assert out.floor() == 2
    assert out.moved_ns == 7


def test_a_stream_that_answers_carries_alone_and_one_that_hung_is_doubted_for_a_while():
    async def story():
        _, nodes = await cluster("alpha", "beta")
        alpha, beta = nodes["alpha"], nodes["beta"]
        for n in range(50):
            await alpha.mesh.send("beta", Lane.THREAT, b"%d" % n)
        await until(lambda: not alpha.mesh._to["beta"].waiting)
        assert alpha.mesh.copies == 0

        stalled(alpha)
        await alpha.mesh.send("beta", Lane.THREAT, b"hung")
        await until(lambda: beta.threats[-1:] == [("alpha", b"hung")])
        copied = alpha.mesh.copies
        assert copied
        await alpha.mesh.send("beta", Lane.THREAT, b"at once")
        assert alpha.mesh.copies == copied + 1
        out = alpha.mesh._to["beta"]
        assert out.hangs(out.doubted_ns - 1)
        out.moved_ns = out.doubted_ns
        assert not out.hangs(out.doubted_ns)
        await stop(nodes)

    asyncio.run(story())


def test_a_receiver_that_takes_what_comes_and_answers_late_is_sent_no_copies():
    async def story():
        _, nodes = await cluster("alpha", "beta")
        alpha, beta = nodes["alpha"], nodes["beta"]
        stalled(alpha)
        alpha.mesh.stalled_ns = lambda _peer: 59_000_000
        await alpha.mesh.send("beta", Lane.THREAT, b"taken, and not worked off")
        out = alpha.mesh._to["beta"]
        await asyncio.sleep(0.3)
        assert out.hangs(alpha.clock.now().boot_ns)
        assert not out.asked
        assert not alpha.mesh.copies
        # Nor where it takes nothing, and does not answer the datagram at once either.
        alpha.mesh.stalled_ns = lambda _peer: 100_000_000
        answers, beta.wire.send = beta.wire.send, lambda *_: None
        await until(lambda: out.asked == 1)
        asked = out.asked_ns
        await until(lambda: out.asked_ns > asked)
        assert not alpha.mesh.copies
        beta.wire.send = answers
        await until(lambda: beta.threats == [("alpha", b"taken, and not worked off")])
        assert alpha.mesh.copies
        await stop(nodes)

    asyncio.run(story())


def test_an_answer_is_prompt_measured_by_the_quickest_of_late():
    out = _Outgoing()
    ms = 1_000_000
    assert out.is_prompt(80 * ms)  # nothing is known of the way yet
    assert out.is_prompt(170 * ms)
    assert not out.is_prompt(300 * ms)
    assert out.is_prompt(2 * ms)
    assert not out.is_prompt(25 * ms)
    for _ in range(40):
        out.is_prompt(60 * ms)
    assert out.is_prompt(60 * ms)


def test_intervals_grow_with_what_answers_take_at_best_and_not_with_single_late_ones():
    out, ms = _Outgoing(), 1_000_000

    def answers(took_ms, times=1, copied=1):
        for _ in range(times):
            number = out.put(b"x", 0)
            out.waiting[number].copied_ns = copied
            out.answered(Answer(1, number + 1, 0), copied + took_ms * ms)

    answers(300, copied=0)  # by stream alone: that takes as long as it takes
    assert out.takes_ns == 0
    # What was answered for only after its second copy says nothing of the time before that.
    answers(4, 60, copied=500 * ms)
    assert out.slowness() == 1
    for took in (2, 3, 400, 2, 90, 5):
        answers(took)
    assert out.slowness() == 1
    answers(100, 60)
    assert out.slowness() == 10
    answers(5_000, 200)
    assert out.slowness() == 20
    answers(4)
    assert out.slowness() == 1


def test_where_answers_are_late_a_second_copy_waits_for_them():
    async def story():
        _, nodes = await cluster("alpha", "beta")
        alpha, beta = nodes["alpha"], nodes["beta"]
        stalled(alpha)
        await alpha.mesh.send("beta", Lane.THREAT, b"hung")
        await until(lambda: not alpha.mesh._to["beta"].waiting)
        out, copies = alpha.mesh._to["beta"], alpha.mesh.copies
        out.takes_ns = 200_000_000
        beta.wire.send = lambda *_: None
        await alpha.mesh.send("beta", Lane.THREAT, b"at once, and not again for long")
        await asyncio.sleep(0.3)
        assert alpha.mesh.copies == copies + 1
        await stop(nodes)

    asyncio.run(story())


def test_what_was_never_copied_is_looked_at_as_soon_as_ever_however_slow_answers_are():
    async def story():
        _, nodes = await cluster("alpha", "beta")
        alpha, beta = nodes["alpha"], nodes["beta"]
        await alpha.mesh.send("beta", Lane.THREAT, b"first")
        out = alpha.mesh._to["beta"]
        await until(lambda: beta.threats and not out.waiting)
        stalled(alpha)
        out.takes_ns = 1_000_000_000
        assert out.slowness() == 20
        await alpha.mesh.send("beta", Lane.THREAT, b"hangs")
        (number,) = out.waiting
        (due_ns,) = [at for at, _, n in alpha.mesh._due if n == number]
        assert due_ns == out.waiting[number].sent_ns + 25_000_000
        await until(lambda: len(beta.threats) == 2)
        await stop(nodes)

    asyncio.run(story())


def test_a_first_one_that_is_too_long_to_copy_holds_up_none_behind_it():
    async def story():
        _, nodes = await cluster("alpha", "beta")
        alpha, beta = nodes["alpha"], nodes["beta"]

        async def refuses(peer, lane, data):
            raise UnreachableError("testing.no_peer", "No stream.", "None.")

        stalled(alpha)
        await alpha.mesh.send("beta", Lane.THREAT, bytes(500_000))
        alpha.streams.send = refuses
        alpha.mesh.stalled_ns = lambda _peer: 1 << 62
        beta.wire.send = lambda *_: None
        alpha.datagrams.heard_ns = lambda _peer: -(1 << 62)
        await alpha.mesh.send("beta", Lane.THREAT, b"brief")
        out = alpha.mesh._to["beta"]
        await until(lambda: out.waiting[out.number - 1].tries > 3)
        await stop(nodes)

    asyncio.run(story())


def test_of_what_waits_for_a_peer_that_is_gone_and_silent_only_the_first_is_copied():
    async def story():
        _, nodes = await cluster("alpha", "beta")
        alpha, beta = nodes["alpha"], nodes["beta"]

        async def refuses(peer, lane, data):
            raise UnreachableError("testing.no_peer", "No stream.", "None.")

        alpha.streams.send = refuses
        alpha.mesh.stalled_ns = lambda _peer: 1 << 62
        answers, beta.wire.send = beta.wire.send, lambda *_: None
        alpha.datagrams.heard_ns, heard = (lambda _peer: -(1 << 62)), alpha.datagrams.heard_ns
        for n in range(20):
            await alpha.mesh.send("beta", Lane.THREAT, b"%d" % n)
        out = alpha.mesh._to["beta"]
        await asyncio.sleep(0.4)
        tries = [each.tries for each in out.waiting.values()]
        assert tries[0] > 2
        assert max(tries[1:]) <= 2
        alpha.datagrams.heard_ns, beta.wire.send = heard, answers
        await until(lambda: len(beta.threats) == 20)
        await stop(nodes)

    asyncio.run(story())


def test_a_stream_that_is_gone_is_not_asked_for():
    async def story():
        _, nodes = await cluster("alpha", "beta")
        alpha, beta = nodes["alpha"], nodes["beta"]
        stalled(alpha)
        alpha.mesh.stalled_ns = lambda _peer: 1 << 62
        await alpha.mesh.send("beta", Lane.THREAT, b"x")
        await until(lambda: beta.threats == [("alpha", b"x")])
        assert not alpha.mesh._to["beta"].asked_ns
        await stop(nodes)

    asyncio.run(story())


def test_where_no_stream_is_left_the_datagrams_carry_it_alone():
    async def story():
        _, nodes = await cluster("alpha", "beta", "gamma")
        alpha, beta = nodes["alpha"], nodes["beta"]

        async def refuses(peer, lane, data):
            raise UnreachableError("testing.no_peer", "No stream.", "None.")

        alpha.streams.send = refuses
        for n in range(100):
            await alpha.mesh.send("beta", Lane.THREAT, b"%d" % n)
        await until(lambda: len(beta.threats) == 100)
        assert beta.threats == [("alpha", b"%d" % n) for n in range(100)]
        await stop(nodes)

    asyncio.run(story())


def test_a_peer_stays_linked_while_its_datagrams_come_and_a_break_is_told_at_once():
    async def story():
        network, nodes = await cluster("alpha", "beta")
        alpha = nodes["alpha"]
        told, broken, heard = [], [], alpha.datagrams.heard_ns
        alpha.datagrams.heard_ns = lambda _peer: alpha.clock.now().boot_ns
        alpha.mesh._linked = lambda peer, up: told.append((peer, up))
        alpha.mesh.broken = broken.append
        network.partition(frozenset(("alpha",)), frozenset(("beta",)))
        assert broken == ["beta"]
        await asyncio.sleep(0.3)
        assert told == []
        await alpha.mesh.send("beta", Lane.THREAT, b"all the same")
        await until(lambda: nodes["beta"].threats == [("alpha", b"all the same")])
        await network.heal()
        assert told == [("beta", False), ("beta", True)]
        network.partition(frozenset(("alpha",)), frozenset(("beta",)))
        for node in nodes.values():
            node.wire.drops = lambda _address, _data: True
        alpha.datagrams.heard_ns = heard
        await until(lambda: told[2:] == [("beta", False)])
        await stop(nodes)

    asyncio.run(story())


def test_memory_is_bounded_on_both_ends():
    out = _Outgoing()
    for n in range(3 * MAX_WAITING):
        out.put(bytes(100), n)
    incoming = _Incoming(1, 0)
    for n in range(1, 5_000):
        incoming.take(n, 0, bytes(100))
        incoming.gather(Part(1, 10_000 + n, 0, 0, 2, b"half"))
    for n in range(20):
        incoming.take(100_000 + n, 0, bytes(1 << 20))

    assert len(out.waiting) == MAX_WAITING
    assert out.size == 100 * MAX_WAITING
    assert len(incoming.early) <= MAX_EARLY
    assert len(incoming.parts) <= MAX_PARTIAL


def test_a_peer_that_starts_anew_is_heard_and_its_former_process_is_not_any_more():
    async def story():
        network = MemoryNetwork()
        mesh = CopyingMesh(network.join("a"), Nowhere(), VirtualClock(), InlineTasks())
        first = mesh._heard("b", Part(1, 7, 7, 0, 1, b"old"))
        second = mesh._heard("b", Part(2, 0, 0, 0, 1, b"new"))
        late = mesh._heard("b", Part(1, 8, 7, 0, 1, b"too late"))
        assert list(first.ready) == [b"old"]
        assert list(second.ready) == [b"old", b"new"]
        assert late is None

    asyncio.run(story())


def test_no_answer_draws_more_datagrams_than_may_leave():
    class Counted(Nowhere):
        sent = 0

        def send(self, peer, channel, data, via=""):
            self.sent += 1
            return True

    async def story():
        clock, datagrams = VirtualClock(), Counted()
        mesh = CopyingMesh(MemoryNetwork().join("a"), datagrams, clock, InlineTasks())
        out = mesh._to["b"] = _Outgoing()
        for _ in range(60):
            out.put(bytes(40_000), 0)
        for _ in range(100):
            clock.advance(10_000_000)
            mesh._heard("b", Answer(mesh._session, 0, 1 << 59))
        assert 0 < datagrams.sent <= 400 + 100

    asyncio.run(story())


def test_copies_follow_the_traffic_however_late_the_answers_are():
    """Else those who are too busy to answer are sent more, and never get out of it."""

    async def story():
        _, nodes = await cluster("alpha", "beta")
        alpha, beta = nodes["alpha"], nodes["beta"]
        stalled(alpha)
        alpha.mesh.stalled_ns = lambda _peer: 1 << 62
        beta.datagrams.send = lambda *_: False  # it answers nothing
        for n in range(200):
            await alpha.mesh.send("beta", Lane.THREAT, b"%d" % n)
            await asyncio.sleep(0.005)
        sent, began = len(alpha.wire.sent), alpha.clock.now().boot_ns
        await asyncio.sleep(1)
        took_s = (alpha.clock.now().boot_ns - began) / 1e9
        assert alpha.mesh.copies <= 400 + 200 * 8 + 100 * (took_s + 3)
        assert len(alpha.wire.sent) - sent <= 100 * took_s + 150
        await stop(nodes)

    asyncio.run(story())
