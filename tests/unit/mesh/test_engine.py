"""Bulk by an engine that may lose, repeat, change and stand still: all arrives, once, in order."""

import asyncio
import random

import pytest
from tests.unit.mesh import engines as made
from tests.unit.mesh.nodes import until

from cronos.errors import UnreachableError
from cronos.mesh import engine, enginewire
from cronos.mesh.enginewire import MAGIC, Arrived, Keys, Notice
from cronos.testing.conformance.mesh import Mailbox, MeshConformance
from cronos.testing.memory_bulk import MemoryStream
from cronos.types import Lane


class TestEngineMeshConformance(MeshConformance):
    async def make(self):
        _, nodes = made.in_memory(MemoryStream())
        return nodes


class Spoilt(MemoryStream):
    """An engine that does to what it carries whatever a test wants."""

    def __init__(self):
        super().__init__()
        self.seen = []
        self.away = False
        self.change = lambda found: found

    async def publish(self, subject, data):
        if self.away:
            raise UnreachableError("mesh.engine_away", "It is away.", "Wait.")
        self.seen.append((subject, data))
        return await super().publish(subject, data)

    async def fetch(self, subject, after, count):
        if self.away:
            raise UnreachableError("mesh.engine_away", "It is away.", "Wait.")
        return self.change(list(await super().fetch(subject, after, count)))


def test_a_flood_of_greetings_and_offers_makes_no_keys():
    async def story():
        _, nodes, _ = await pair(MemoryStream())
        alpha, made = nodes["alpha"], []
        offer = alpha._keys.offer

        async def counted(peer):
            made.append(peer)
            return await offer(peer)

        alpha._keys.offer = counted
        for n in range(300):
            await alpha._heard("beta", Lane.BULK, enginewire.pack(enginewire.Hello(n + 1)))
        await until(lambda: len(made) >= 14)
        assert len(made) <= 18
        assert alpha.reports.count("mesh.too_often") == 1
        for mesh in nodes.values():
            await mesh.stop()

    asyncio.run(story())


async def pair(stream):
    network, nodes = made.in_memory(stream, "alpha", "beta")
    boxes = {name: Mailbox() for name in nodes}
    for name, mesh in nodes.items():
        await mesh.start(boxes[name].receive, boxes[name].linked)
    nodes["alpha"].connect("beta", "beta")
    await until(lambda: all(ready(nodes[a], b) for a, b in (("alpha", "beta"), ("beta", "alpha"))))
    return network, nodes, boxes


def ready(mesh, peer):
    known = mesh._peers.get(peer)
    agreed = known is not None and mesh._keys.ready(peer)
    return agreed and all(out.open for out in known.out.values())


async def stop(nodes):
    for mesh in nodes.values():
        await mesh.stop()
        await mesh.tasks.cancel()
        assert mesh.tasks.errors == []


async def sent(mesh, first=0, last=60):
    every = [b"secret %d" % n for n in range(first, last)]
    for n, data in enumerate(every):
        await mesh.send("beta", (Lane.RECORDS, Lane.BULK)[n % 2], data)
    return every


async def arrived(boxes, every):
    await until(lambda: len(boxes["beta"].received) >= len(every), 20)
    for lane, of in ((Lane.RECORDS, every[::2]), (Lane.BULK, every[1::2])):
        assert boxes["beta"].arrived("alpha", lane) == of


def story(stream, *acts):
    async def told():
        network, nodes, boxes = await pair(stream)
        for act in acts:
            await act(network, nodes, boxes)
        counts = dict(nodes["alpha"].counts), dict(nodes["beta"].counts)
        reports = list(nodes["alpha"].reports)
        await stop(nodes)
        return counts, reports

    return asyncio.run(told())


async def all_arrives(_network, nodes, boxes):
    await arrived(boxes, await sent(nodes["alpha"]))


def test_the_engine_carries_it_and_cannot_read_it():
    stream = Spoilt()
    (alpha, beta), _ = story(stream, all_arrives)

    assert alpha["engine"] == 60
    assert beta["unopened"] == 0
    assert {subject for subject, _ in stream.seen} == {
        "mesh.alpha.beta.records", "mesh.alpha.beta.bulk",
    }  # fmt: skip
    assert not any(b"secret" in data for _, data in stream.seen)


def test_what_the_engine_was_given_by_others_changed_or_repeats_is_nothing():
    stream = Spoilt()
    stream.change = lambda found: [
        *found, *found, b"", b"x" * 40, *(one[:-1] + bytes((one[-1] ^ 1,)) for one in found),
    ]  # fmt: skip
    (_, beta), _ = story(stream, all_arrives)

    assert beta["unopened"] > 20


def test_what_the_engine_keeps_back_comes_by_stream(monkeypatch):
    monkeypatch.setattr(engine, "PATIENCE_NS", 200_000_000)
    stream = Spoilt()
    stream.change = lambda found: found[1:]
    (alpha, _), reports = story(stream, all_arrives)

    assert alpha["direct"] > 10
    assert "mesh.parts_late" in reports


def test_an_engine_that_is_away_costs_nothing_but_its_way_and_is_taken_up_again(monkeypatch):
    monkeypatch.setattr(engine, "_REST_NS", 1_000_000)
    monkeypatch.setattr(engine, "PATIENCE_NS", 200_000_000)
    stream = Spoilt()

    async def away(_network, nodes, boxes):
        stream.away = True
        await arrived(boxes, await sent(nodes["alpha"], 0, 20))
        stream.away = False

    async def back(_network, nodes, boxes):
        before, every = nodes["alpha"].counts["engine"], [b"secret %d" % n for n in range(20)]
        alpha = nodes["alpha"]
        await until(lambda: alpha._awake(alpha._peers["beta"], alpha._clock.now().boot_ns))
        every += await sent(nodes["alpha"], 20, 40)
        await arrived(boxes, every)
        assert nodes["alpha"].counts["engine"] > before

    (alpha, _), reports = story(stream, away, back)
    assert alpha["direct"] >= 20
    assert reports == ["mesh.engine_away", "mesh.engine_back"]


def test_a_link_that_breaks_loses_nothing_and_repeats_nothing():
    async def broken(network, nodes, boxes):
        every = await sent(nodes["alpha"], 0, 30)
        network.partition(frozenset(("alpha",)), frozenset(("beta",)))
        every += await sent(nodes["alpha"], 30, 60)
        await network.heal()
        await arrived(boxes, every)

    story(Spoilt(), broken)


def test_a_peer_that_is_started_anew_gets_what_waited_for_it():
    async def restarted(network, nodes, boxes):
        await nodes["beta"].stop()
        every = await sent(nodes["alpha"], 0, 30)
        await nodes["beta"].start(boxes["beta"].receive, boxes["beta"].linked)
        await arrived(boxes, every)
        every += await sent(nodes["alpha"], 30, 60)
        await arrived(boxes, every)

    story(Spoilt(), restarted)


async def flood(mesh):
    for _ in range(600):
        await mesh.send("beta", Lane.BULK, bytes(20_000))


def test_what_waits_for_a_peer_that_is_away_is_bounded_and_told():
    async def away(_network, nodes, _boxes):
        await nodes["beta"].stop()
        await until(lambda: nodes["alpha"].peers() == ())
        sending = flood(nodes["alpha"])
        with pytest.raises(UnreachableError) as full:
            await sending
        assert full.value.code == "mesh.queue_full"

    story(Spoilt(), away)


def test_a_node_without_an_engine_is_served_by_stream(monkeypatch):
    monkeypatch.setattr(engine, "_SILENT_NS", 100_000_000)

    async def told():
        network, nodes, boxes = await pair(Spoilt())
        plain, box = network.join("gamma"), Mailbox()
        await plain.start(box.receive, box.linked)
        nodes["alpha"].connect("gamma", "gamma")
        await nodes["alpha"].send("gamma", Lane.RECORDS, b"as ever")
        await plain.send("alpha", Lane.RECORDS, b"and back")
        await until(lambda: b"as ever" in box.arrived("alpha", Lane.RECORDS))
        await until(lambda: boxes["alpha"].arrived("gamma") == [b"and back"])
        # One that had an engine and is started without one is served so again after a while.
        await nodes["beta"].stop()
        bare = nodes["beta"]._mesh
        await bare.start(boxes["beta"].receive, boxes["beta"].linked)
        await until(lambda: "beta" not in nodes["alpha"]._peers)
        await nodes["alpha"].send("beta", Lane.RECORDS, b"plain")
        await until(lambda: b"plain" in boxes["beta"].arrived("alpha"))
        await plain.stop()
        await stop(nodes)

    asyncio.run(told())


def test_a_peer_that_answers_for_nothing_takes_the_engine_from_no_other(monkeypatch):
    monkeypatch.setattr(engine, "PATIENCE_NS", 200_000_000)
    stream = Spoilt()

    async def told():
        _, nodes = made.in_memory(stream, "alpha", "beta", "gamma")
        boxes = {name: Mailbox() for name in nodes}
        for name, mesh in nodes.items():
            await mesh.start(boxes[name].receive, boxes[name].linked)
        for other in ("beta", "gamma"):
            nodes["alpha"].connect(other, other)
            await until(lambda other=other: ready(nodes["alpha"], other))
        alpha = nodes["alpha"]
        nodes["beta"]._answer = never
        await alpha.send("beta", Lane.RECORDS, b"lost?")
        await until(lambda: alpha._peers["beta"].failures > 0)
        before = alpha.counts["engine"]
        for n in range(20):
            await alpha.send("gamma", Lane.RECORDS, b"%d" % n)
        await until(lambda: len(boxes["gamma"].received) == 20)
        assert alpha.counts["engine"] == before + 20
        assert alpha.reports == ["mesh.parts_late"]
        await until(lambda: boxes["beta"].arrived("alpha") == [b"lost?"])
        await stop(nodes)

    async def never(_known, _lane):
        pass

    asyncio.run(told())


def test_a_peer_that_takes_in_no_answers_costs_one_task_for_each_lane():
    async def told():
        _, nodes, _ = await pair(Spoilt())
        beta, gate, spawned = nodes["beta"], asyncio.Event(), []
        spawn, say = beta._tasks.spawn, beta._say

        async def stuck(peer, said, lane=Lane.BULK):
            await gate.wait()
            return await say(peer, said, lane)

        beta._say = stuck
        beta._tasks.spawn = lambda work, name: spawned.append(name) or spawn(work, name)
        for n in range(50):
            part = enginewire.Part(Lane.BULK, 1 << 62, n, enginewire.WHOLE, b"x")
            await beta._take("alpha", part)
            await asyncio.sleep(0.004)
        assert len(spawned) == 1
        gate.set()
        await until(lambda: not beta._peers["alpha"].answers[Lane.BULK])
        await stop(nodes)

    asyncio.run(told())


def test_threats_never_come_near_the_engine():
    stream = Spoilt()

    async def threats(_network, nodes, boxes):
        for lane in (Lane.THREAT, Lane.KEYS, Lane.MEMBERS):
            await nodes["alpha"].send("beta", lane, lane.value.encode())
        await until(lambda: len(boxes["beta"].received) == 3)

    story(stream, threats)
    assert stream.seen == []


def test_nothing_that_a_peer_says_of_bulk_makes_a_node_raise_or_grow():
    drawn = random.Random(5)

    async def told():
        _, nodes, boxes = await pair(Spoilt())
        bare, huge = nodes["alpha"]._mesh, (1 << 64) - 1
        for _ in range(2_000):
            frame = MAGIC + drawn.randbytes(1) + drawn.randbytes(drawn.randrange(40))
            await bare.send("beta", drawn.choice((Lane.RECORDS, Lane.BULK)), frame)
        for said in (Notice(Lane.BULK, 0, huge), Arrived(Lane.BULK, 1, huge), Keys(b"")):
            await bare.send("beta", Lane.BULK, enginewire.pack(said))
        beta = nodes["beta"]
        assert set(beta._peers) == {"alpha"}
        await until(lambda: not beta._peers["alpha"].notices)
        # Whoever says that it was started anew is believed: what it says next is heard.
        await nodes["beta"].send("alpha", Lane.BULK, b"still here")
        await until(lambda: b"still here" in boxes["alpha"].arrived("beta"))
        await stop(nodes)

    asyncio.run(told())
