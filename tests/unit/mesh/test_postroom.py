import asyncio

from tests.unit.mesh.copies import Owner
from tests.unit.mesh.mail import Node, bulletin, until

from cronos.mesh.postroom import PostRoom
from cronos.testing.memory_mesh import MemoryNetwork


async def room(network, name, folder):
    node, owner = Node(network, name, folder / name, signs=False), Owner(network, name, folder)
    await node.start()
    await node.mesh.stop()
    await owner.start()
    await owner.mesh.stop()
    made = PostRoom(node.delivery, owner.replica)
    await node.mesh.start(made.receive, made.linked)
    return made, node, owner


def test_messages_and_records_go_their_ways_through_one_door(tmp_path):
    async def story():
        network = MemoryNetwork()
        one, node, owner = await room(network, "one", tmp_path / "a")
        two, other, keeper = await room(network, "two", tmp_path / "b")
        node.mesh.connect("two", "two")
        owner.write(b"record")
        one.members(["two"])
        await one.post(bulletin("one", 1))
        await until(lambda: other.bulletins() == ["one-1-b1"])
        await until(lambda: one.positions().replicated == 1)
        assert one.holders() == {"two": 1}
        assert one.counts.posted == 1
        assert [one.peer for one in one.standings()] == ["two"]
        one.forget("two")
        assert one.standings() == ()
        for made, member, files in ((one, node, owner), (two, other, keeper)):
            await member.mesh.stop()
            await made.stop()
            await member.tasks.cancel()
            await files.tasks.cancel()
            assert member.tasks.errors == files.tasks.errors == []
        owner.ledger.close()

    asyncio.run(story())
