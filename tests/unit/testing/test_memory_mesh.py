"""A federation in one process: what is lost or cut off waits, and follows in order."""

import asyncio

import pytest

from cronos.errors import UnreachableError
from cronos.testing.conformance.mesh import Mailbox
from cronos.testing.memory_mesh import MemoryMesh, MemoryNetwork
from cronos.types import Lane


async def _three() -> tuple[MemoryNetwork, dict[str, MemoryMesh], dict[str, Mailbox]]:
    network = MemoryNetwork()
    nodes = network.mesh("a", "b", "c")
    boxes = {name: Mailbox() for name in "abc"}
    for name, mesh in nodes.items():
        await mesh.start(boxes[name].receive, boxes[name].linked)
    return network, nodes, boxes


def test_a_partition_hides_peers_and_holds_messages_until_it_heals():
    async def story() -> None:
        network, nodes, boxes = await _three()
        network.partition(frozenset("ab"), frozenset("c"))
        assert [nodes[name].peers() for name in "abc"] == [("b",), ("a",), ()]
        assert boxes["c"].links[-2:] == [("a", False), ("b", False)]
        await nodes["a"].send("c", Lane.BULK, b"1")
        await nodes["a"].send("c", Lane.BULK, b"2")
        await nodes["a"].send("b", Lane.BULK, b"3")
        assert (boxes["c"].received, boxes["b"].received) == ([], [("a", b"3")])
        await network.heal()
        assert boxes["c"].received == [("a", b"1"), ("a", b"2")]
        assert nodes["c"].peers() == ("a", "b")
        assert boxes["c"].links[-2:] == [("a", True), ("b", True)]

    asyncio.run(story())


def test_a_lost_message_holds_back_those_behind_it():
    async def story() -> None:
        network, nodes, boxes = await _three()
        network.lose = 1
        for data in (b"1", b"2", b"3"):
            await nodes["a"].send("b", Lane.THREAT, data)
        assert boxes["b"].received == []
        await network.heal()
        assert [data for _, data in boxes["b"].received] == [b"1", b"2", b"3"]

    asyncio.run(story())


def test_a_network_that_repeats_delivers_everything_twice():
    async def story() -> None:
        network = MemoryNetwork()
        network.twice = True
        nodes = network.mesh("a", "b")
        seen: list[bytes] = []

        async def receive(_sender: str, _lane: Lane, data: bytes) -> None:
            seen.append(data)

        for mesh in nodes.values():
            await mesh.start(receive, Mailbox().linked)
        await nodes["a"].send("b", Lane.THREAT, b"x")
        assert seen == [b"x", b"x"]

    asyncio.run(story())


def test_a_link_that_the_other_end_still_wants_comes_back_at_once():
    async def story() -> None:
        _, nodes, boxes = await _three()
        nodes["b"].forget("a")
        assert boxes["a"].links == [("b", True), ("c", True), ("b", False), ("b", True)]
        assert nodes["b"].peers() == ("a", "c")

    asyncio.run(story())


def test_what_waits_for_a_node_is_bounded():
    async def story() -> None:
        _, nodes, _ = await _three()
        await nodes["b"].stop()
        for _ in range(1024):
            await nodes["a"].send("b", Lane.BULK, b"x")
        with pytest.raises(UnreachableError, match="1024 messages wait"):
            await nodes["a"].send("b", Lane.BULK, b"x")

    asyncio.run(story())


def test_a_node_that_was_away_catches_up():
    async def story() -> None:
        _, nodes, boxes = await _three()
        await nodes["b"].stop()
        await nodes["a"].send("b", Lane.BULK, b"while away")
        await nodes["b"].start(boxes["b"].receive, boxes["b"].linked)
        assert boxes["b"].received == [("a", b"while away")]

    asyncio.run(story())
