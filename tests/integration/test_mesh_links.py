"""Links between nodes over real sockets: renewal, revocation, ends without a word, strangers.

Times are asserted with room for a busy machine; the figures are those of `bench/`.
"""

import asyncio
import contextlib
import pathlib
import resource
import signal
import socket
import time

import pytest
from tests.integration.mesh_process import MeshProcess
from tests.unit.crypto.pki.plant import S_NS, Plant
from tests.unit.mesh.grpc_nodes import Node, plant, running

from cronos.crypto.pki import profile
from cronos.errors import UnreachableError
from cronos.mesh import streams
from cronos.runtime.world import SystemClock
from cronos.testing.conformance.base import eventually
from cronos.testing.conformance.mesh import Mailbox
from cronos.types import Lane

GARBAGE = [
    b"",
    b"\x16\x03\x01\x40\x00\x01",
    b"GET / HTTP/1.1\r\n\r\n",
    bytes(4096),
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


@pytest.fixture
def domain(tmp_path, monkeypatch):
    """A domain of one test, whose nodes look at their certificates all the time."""
    monkeypatch.setattr(streams, "_TICK_S", 0.02)
    return Plant(tmp_path / "plant", clock=SystemClock())


def pair(domain, **settings):
    """Two nodes that have joined, with their holders and mailboxes."""
    holders = {name: domain.joined(name) for name in ("alpha", "beta")}
    nodes = [Node(name, holds=holders[name], **settings) for name in holders]
    return holders, nodes, [Mailbox(), Mailbox()]


async def linked(nodes, boxes):
    nodes[0].mesh.connect("beta", nodes[1].mesh.address)
    await eventually(lambda: boxes[0].links == [("beta", True)], "They meet.")
    await eventually(lambda: boxes[1].links == [("alpha", True)], "They meet.")


async def flowing(nodes, boxes, until):
    """Send from both ends without a pause until something holds; then all must have come."""
    sent = 0
    while not until() or sent < 50:
        for node, peer in ((nodes[0], "beta"), (nodes[1], "alpha")):
            for lane in (Lane.THREAT, Lane.RECORDS, Lane.BULK):
                await node.mesh.send(peer, lane, b"%s %d" % (lane.encode(), sent))
        sent += 1
        await asyncio.sleep(0.001)
        assert sent < 20_000
    for box, peer in ((boxes[1], "alpha"), (boxes[0], "beta")):
        await eventually(lambda: len(box.received) == 3 * sent, "All come.")  # noqa: B023
        for lane in (Lane.THREAT, Lane.RECORDS, Lane.BULK):
            expected = [b"%s %d" % (lane.encode(), n) for n in range(sent)]
            assert box.arrived(peer, lane) == expected
    assert [box.links for box in boxes] == [[("beta", True)], [("alpha", True)]]


def renew(domain, holder):
    holder.renew(lambda data: domain.authority.renew(holder.own(), data))


def test_certificates_are_renewed_under_load_and_no_message_is_lost(domain):
    async def story():
        holders, nodes, boxes = pair(domain)
        async with running(*nodes, boxes=boxes):
            await linked(nodes, boxes)
            seen = {nodes[1].mesh._links["alpha"].active.terms.identity.serial}

            async def renewals():
                for _ in range(3):
                    for holder in holders.values():
                        await asyncio.to_thread(renew, domain, holder)

                    def renewed():
                        active = nodes[1].mesh._links["alpha"].active
                        return active is not None and active.terms.identity.serial not in seen

                    await eventually(renewed, "A stream with the new certificate stands.")
                    seen.add(nodes[1].mesh._links["alpha"].active.terms.identity.serial)

            await asyncio.gather(flowing(nodes, boxes, lambda: len(seen) == 4), renewals())

    asyncio.run(story())


def test_streams_are_replaced_before_their_age_and_no_message_is_lost(domain):
    async def story():
        _, nodes, boxes = pair(domain, max_age_s=1)
        async with running(*nodes, boxes=boxes):
            await linked(nodes, boxes)
            first = nodes[0].mesh._links["beta"].active
            ages = set()

            def replaced():
                active = nodes[0].mesh._links["beta"].active
                ages.add(active)
                return len(ages) >= 3

            await flowing(nodes, boxes, replaced)
            assert first.closed
            state = nodes[0].mesh.states()[0]
            assert (state.peer, state.up, state.dialler) == ("beta", True, "alpha")
            assert state.age_s < 1.3

    asyncio.run(story())


def test_a_stream_that_its_dialler_does_not_replace_is_cut(domain, monkeypatch):
    async def story():
        _, nodes, boxes = pair(domain, max_age_s=1)
        async with running(*nodes, boxes=boxes):
            monkeypatch.setattr(streams.Dialler, "_due", lambda self: not self.link.up)
            await linked(nodes, boxes)
            await eventually(lambda: ("alpha", False) in boxes[1].links, "It is cut.")
            told = nodes[0].reports.events() + nodes[1].reports.events()
            assert "mesh.too_old" in told
            await eventually(lambda: boxes[1].links[-1] == ("alpha", True), "And dialled anew.")

    asyncio.run(story())


def test_who_is_revoked_is_cut_at_once_and_comes_in_no_more(domain):
    async def story():
        holders, nodes, boxes = pair(domain)
        async with running(*nodes, boxes=boxes):
            await linked(nodes, boxes)
            domain.authority.revoke("beta", "key-compromise")
            began = time.monotonic()
            holders["alpha"].learn(domain.authority.lists())
            await eventually(lambda: boxes[0].links[-1] == ("beta", False), "It is cut.")
            assert time.monotonic() - began < 2
            assert "crypto.certificate_revoked" in nodes[0].reports.events()
            count = nodes[0].reports.events().count("crypto.certificate_revoked")
            await eventually(
                lambda: nodes[0].reports.events().count("crypto.certificate_revoked") > count,
                "Dialling it again is refused too, by what it shows.",
            )
            nodes[1].mesh.connect("alpha", nodes[0].mesh.address)
            await eventually(
                lambda: "mesh.refused" in nodes[1].reports.events(), "Its own dial is refused."
            )
            assert nodes[0].mesh.peers() == ()
            assert boxes[0].links[-1] == ("beta", False)

    asyncio.run(story())


@pytest.mark.parametrize("grace_s", [0, 3600])
def test_no_stream_outlives_its_certificate_but_for_a_stated_grace(domain, monkeypatch, grace_s):
    monkeypatch.setitem(profile.LIFE_NS, "node", 2 * S_NS)

    async def story():
        holders, nodes, boxes = pair(domain, grace_s=grace_s)
        ends_ns = min(holder.own().not_after_ns for holder in holders.values())
        async with running(*nodes, boxes=boxes):
            await linked(nodes, boxes)
            now_ns = SystemClock().now().wall_ns
            await asyncio.sleep(max(0, ends_ns - now_ns) / 1e9 + 0.3)
            if grace_s:
                await nodes[0].mesh.send("beta", Lane.THREAT, b"in the grace")
                await eventually(lambda: boxes[1].arrived("alpha") != [], "It still passes.")
                assert boxes[0].links == [("beta", True)]
            else:
                await eventually(lambda: boxes[0].links[-1] == ("beta", False), "It is cut.")
                # Whoever notices first cuts; the other may hear of it before that is told.
                await eventually(
                    lambda: any("crypto.certificate_expired" in n.reports.events() for n in nodes),
                    "It is told why.",
                )
            before = list(boxes[0].links)
            for node in nodes:
                for link in node.mesh._links.values():
                    for stream in tuple(link.standing):
                        link.detach(stream)
            await asyncio.sleep(0.3)
            assert nodes[0].mesh.peers() == ()
            assert boxes[0].links in (before, [*before, ("beta", False)])

    asyncio.run(story())


def test_a_peer_that_speaks_the_version_before_is_understood(domain):
    async def story():
        _, nodes, boxes = pair(domain)
        nodes[1].mesh.speaks = 1
        async with running(*nodes, boxes=boxes):
            await linked(nodes, boxes)
            await flowing(nodes, boxes, lambda: True)
            await asyncio.sleep(0.2)
            assert [node.mesh.states()[0].version for node in nodes] == [1, 1]
            assert nodes[0].mesh.states()[0].rtt_ms == 0
            await nodes[1].mesh.stop()
            await eventually(lambda: boxes[0].links[-1] == ("beta", False), "It stops.")
            nodes[1].mesh.speaks = 2
            await nodes[1].mesh.start(boxes[1].receive, boxes[1].linked)
            nodes[0].mesh.connect("beta", nodes[1].mesh.address)
            await eventually(lambda: boxes[0].links[-1] == ("beta", True), "It was upgraded.")
            await eventually(lambda: nodes[0].mesh.states()[0].rtt_ms > 0, "It answers beats.")
            assert nodes[0].mesh.states()[0].version == 2

    asyncio.run(story())


def with_process(story, **settings):
    """Link a node of this process with one of another."""

    async def run():
        there = await asyncio.to_thread(MeshProcess, "beta", plant().credential("beta"), **settings)
        node, box = Node("alpha", silence_s=1), Mailbox()
        try:
            async with running(node, boxes=[box]):
                node.mesh.connect("beta", there.address)
                await eventually(lambda: box.links == [("beta", True)], "They meet.")
                await story(node, box, there)
        finally:
            there.end()

    asyncio.run(run())


async def refused(mesh):
    try:
        await mesh.send("beta", Lane.BULK, bytes(1024))
    except UnreachableError:
        return True
    return False


def test_a_killed_peer_is_noticed_at_once(monkeypatch):
    async def story(node, box, there):
        began = time.monotonic()
        there.signal(signal.SIGKILL)
        while box.links[-1] != ("beta", False):
            await asyncio.sleep(0.001)
            assert time.monotonic() - began < 5
        assert time.monotonic() - began < 1  # 2 to 10 ms on a quiet machine
        assert any([await refused(node.mesh) for _ in range(1 << 13)])

    with_process(story)


def test_a_peer_that_stands_still_is_noticed_by_its_silence():
    async def story(node, box, there):
        there.signal(signal.SIGSTOP)
        await eventually(lambda: box.links[-1] == ("beta", False), "It is noticed.")
        assert "mesh.silent" in node.reports.events()
        there.signal(signal.SIGCONT)
        await eventually(lambda: box.links[-1] == ("beta", True), "It is back.")
        await node.mesh.send("beta", Lane.THREAT, b"and hears")
        await eventually(lambda: b"got and hears" in box.arrived("beta"), "It hears.")

    with_process(story)


def test_strangers_cost_no_memory_and_members_still_come_in():
    """Garbage, half a handshake, silence: hundreds of connections at once."""

    async def story():
        nodes = [Node("alpha", max_connections=32), Node("beta")]
        boxes = [Mailbox(), Mailbox()]
        async with running(*nodes, boxes=boxes), contextlib.AsyncExitStack() as stack:
            host, _, port = nodes[0].mesh.address.rpartition(":")
            before = rss()
            for n in range(300):
                stranger = stack.enter_context(socket.create_connection((host, int(port))))
                stranger.setblocking(False)
                with contextlib.suppress(OSError):
                    stranger.send(GARBAGE[n % len(GARBAGE)])
            await asyncio.sleep(0.2)
            nodes[1].mesh.connect("alpha", nodes[0].mesh.address)
            for _ in range(2):  # at the latest once the handshakes have run out of time
                with contextlib.suppress(AssertionError):
                    await eventually(lambda: nodes[0].mesh.peers() == ("beta",), "It comes in.")
            assert nodes[0].mesh.peers() == ("beta",)
            assert rss() - before < 64 << 20

    asyncio.run(story())


def rss():
    """Give the resident memory of this process, in bytes."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()
