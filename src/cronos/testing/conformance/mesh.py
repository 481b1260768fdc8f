"""What every `Mesh` must do."""

from cronos.errors import UnreachableError
from cronos.ports import Mesh
from cronos.testing.conformance.base import eventually, require, run, same

_MESSAGES = 50


class Mailbox:
    """Keeps what a node receives; delivery is at least once, so repetitions count as one."""

    def __init__(self) -> None:
        self.received: list[tuple[str, bytes]] = []

    async def receive(self, sender: str, data: bytes) -> None:
        """Keep a message that is not there yet."""
        if (sender, data) not in self.received:
            self.received.append((sender, data))


class MeshConformance:
    """Subclass and write `make`."""

    async def make(self) -> dict[str, Mesh]:
        """Give three nodes of one federation by instance, not yet started, in a new network."""
        raise NotImplementedError

    def test_every_node_sees_the_others(self) -> None:
        """Start all three."""
        run(self._every_node_sees_the_others())

    def test_messages_arrive_in_order_under_the_name_of_their_sender(self) -> None:
        """Send many to one, from two."""
        run(self._messages_arrive_in_order())

    def test_a_receiver_may_answer_at_once(self) -> None:
        """Send from within `receive`."""
        run(self._a_receiver_may_answer())

    def test_a_stranger_cannot_be_reached(self) -> None:
        """Send to a name that nobody has."""
        run(self._a_stranger_cannot_be_reached())

    async def _started(self) -> tuple[dict[str, Mesh], dict[str, Mailbox]]:
        nodes = await self.make()
        same(len(nodes), 3, "The suite needs three nodes.")
        boxes = {name: Mailbox() for name in nodes}
        for name, mesh in nodes.items():
            await mesh.start(boxes[name].receive)
        await eventually(
            lambda: all(len(mesh.peers()) == 2 for mesh in nodes.values()), "All nodes meet."
        )
        return nodes, boxes

    async def _every_node_sees_the_others(self) -> None:
        nodes, _ = await self._started()
        for name, mesh in nodes.items():
            others = tuple(sorted(set(nodes) - {name}))
            same(mesh.peers(), others, "`peers` is sorted, and leaves this node out.")
        await _stop(nodes)

    async def _messages_arrive_in_order(self) -> None:
        nodes, boxes = await self._started()
        one, two, three = sorted(nodes)
        sent = [b"%d" % n for n in range(_MESSAGES)]
        for data in sent:
            await nodes[one].send(three, data)
            await nodes[two].send(three, data)
        await eventually(lambda: len(boxes[three].received) == 2 * _MESSAGES, "All arrive.")
        for sender in (one, two):
            arrived = [data for by, data in boxes[three].received if by == sender]
            same(arrived, sent, "Each peer's messages arrive in order.")
        require(not boxes[one].received, "Nobody else receives them.")
        await _stop(nodes)

    async def _a_receiver_may_answer(self) -> None:
        nodes = await self.make()
        one, two, three = sorted(nodes)
        box = Mailbox()

        async def answer(sender: str, data: bytes) -> None:
            await nodes[two].send(sender, b"got " + data)

        await nodes[one].start(box.receive)
        await nodes[two].start(answer)
        await nodes[three].start(Mailbox().receive)
        await eventually(lambda: two in nodes[one].peers(), "The nodes meet.")
        await nodes[one].send(two, b"it")
        await eventually(lambda: (two, b"got it") in box.received, "The answer arrives.")
        await _stop(nodes)

    async def _a_stranger_cannot_be_reached(self) -> None:
        nodes, _ = await self._started()
        try:
            await next(iter(nodes.values())).send("nobody", b"?")
        except UnreachableError:
            pass
        else:
            raise AssertionError("Sending to a stranger raises UnreachableError.")
        finally:
            await _stop(nodes)


async def _stop(nodes: dict[str, Mesh]) -> None:
    for mesh in nodes.values():
        await mesh.stop()
