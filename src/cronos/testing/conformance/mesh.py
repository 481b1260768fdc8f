"""What every `Mesh` must do."""

from collections.abc import Sequence

from cronos.errors import InputError, UnreachableError
from cronos.ports import Mesh
from cronos.testing.conformance.base import eventually, require, run, same
from cronos.types import MAX_FRAME_BYTES, Lane

_MESSAGES = 50
_MOST_WAITING = 1 << 20


class Mailbox:
    """Keeps what a node receives; delivery is at least once, so repetitions count as one.

    Attributes:
        received: ``(sender, bytes)``, in the order of arrival.
        lanes: the lane of each.
        links: ``(peer, up)``, in the order in which the node was told.
    """

    def __init__(self) -> None:
        self.received: list[tuple[str, bytes]] = []
        self.lanes: list[Lane] = []
        self.links: list[tuple[str, bool]] = []

    async def receive(self, sender: str, lane: Lane, data: bytes) -> None:
        """Keep a message that is not there yet."""
        if (sender, data) not in self.received:
            self.received.append((sender, data))
            self.lanes.append(lane)

    def linked(self, peer: str, up: bool) -> None:
        """Keep what became of a link."""
        self.links.append((peer, up))

    def arrived(self, sender: str, lane: Lane | None = None) -> list[bytes]:
        """Give the messages of one sender, of one lane or all."""
        mail = zip(self.received, self.lanes, strict=True)
        return [data for (by, data), way in mail if by == sender and lane in (way, None)]


class MeshConformance:
    """Subclass and write `make`; also `address`, where it is not the instance."""

    async def make(self) -> dict[str, Mesh]:
        """Give three nodes of one federation by instance, not yet started, in a new network."""
        raise NotImplementedError

    def address(self, instance: str, mesh: Mesh) -> str:  # noqa: ARG002 - others look at the mesh
        """Say where a started node can be reached."""
        return instance

    def test_every_node_sees_the_others(self) -> None:
        """Start and connect all three."""
        run(self._every_node_sees_the_others())

    def test_messages_arrive_in_order_under_the_name_of_their_sender(self) -> None:
        """Send many to one, from two, on every lane."""
        run(self._messages_arrive_in_order())

    def test_a_receiver_may_answer_at_once(self) -> None:
        """Send from within `receive`."""
        run(self._a_receiver_may_answer())

    def test_a_stranger_cannot_be_reached(self) -> None:
        """Send to a name that nobody has."""
        run(self._a_stranger_cannot_be_reached())

    def test_two_that_connect_to_each_other_have_one_link(self) -> None:
        """Connect each to the other at the same time."""
        run(self._two_have_one_link())

    def test_who_is_forgotten_or_stops_is_linked_no_more(self) -> None:
        """Forget one, stop another."""
        run(self._linked_no_more())

    def test_a_seed_is_whoever_is_there(self) -> None:
        """Connect to an address alone."""
        run(self._a_seed_is_whoever_is_there())

    def test_what_waits_follows_when_a_peer_is_back_the_urgent_first(self) -> None:
        """Send to a node that has stopped, and start it again."""
        run(self._what_waits_follows())

    def test_what_waits_is_bounded(self) -> None:
        """Send to a node that has stopped until no more is taken."""
        run(self._what_waits_is_bounded())

    def test_the_longest_message_passes_and_a_longer_one_does_not(self) -> None:
        """Send 1 MiB, and a byte more."""
        run(self._long_messages())

    def _connect(self, nodes: dict[str, Mesh], pairs: Sequence[tuple[str, str]]) -> None:
        for one, other in pairs:
            nodes[one].connect(other, self.address(other, nodes[other]))

    async def _started(self) -> tuple[dict[str, Mesh], dict[str, Mailbox]]:
        nodes, boxes = await self._alone()
        one, two, three = sorted(nodes)
        self._connect(nodes, [(one, two), (three, one), (two, three)])
        await eventually(
            lambda: all(len(mesh.peers()) == 2 for mesh in nodes.values()), "All nodes meet."
        )
        return nodes, boxes

    async def _alone(self) -> tuple[dict[str, Mesh], dict[str, Mailbox]]:
        nodes = await self.make()
        same(len(nodes), 3, "The suite needs three nodes.")
        boxes = {name: Mailbox() for name in nodes}
        for name, mesh in nodes.items():
            await mesh.start(boxes[name].receive, boxes[name].linked)
        return nodes, boxes

    async def _every_node_sees_the_others(self) -> None:
        nodes, boxes = await self._started()
        for name, mesh in nodes.items():
            others = tuple(sorted(set(nodes) - {name}))
            same(mesh.peers(), others, "`peers` is sorted, and leaves this node out.")
            told = sorted(boxes[name].links)
            same(told, [(other, True) for other in others], "Each link is told, once.")
        await _stop(nodes)

    async def _messages_arrive_in_order(self) -> None:
        nodes, boxes = await self._started()
        one, two, three = sorted(nodes)
        sent = {lane: [b"%s %d" % (lane.encode(), n) for n in range(_MESSAGES)] for lane in Lane}
        for n in range(_MESSAGES):
            for lane in Lane:
                await nodes[one].send(three, lane, sent[lane][n])
                await nodes[two].send(three, lane, sent[lane][n])
        every = 2 * len(Lane) * _MESSAGES
        await eventually(lambda: len(boxes[three].received) == every, "All arrive.")
        for sender in (one, two):
            for lane in Lane:
                arrived = boxes[three].arrived(sender, lane)
                same(arrived, sent[lane], "Each peer's messages arrive in order, lane by lane.")
        require(not boxes[one].received, "Nobody else receives them.")
        await _stop(nodes)

    async def _a_receiver_may_answer(self) -> None:
        nodes = await self.make()
        one, two, _three = sorted(nodes)
        box = Mailbox()

        async def answer(sender: str, lane: Lane, data: bytes) -> None:
            await nodes[two].send(sender, lane, b"got " + data)

        await nodes[one].start(box.receive, box.linked)
        await nodes[two].start(answer, Mailbox().linked)
        self._connect(nodes, [(one, two)])
        await eventually(lambda: two in nodes[one].peers(), "The nodes meet.")
        for lane in Lane:
            await nodes[one].send(two, lane, lane.encode())
        answers = sorted(b"got " + lane.encode() for lane in Lane)
        await eventually(lambda: sorted(box.arrived(two)) == answers, "The answers arrive.")
        await _stop({name: nodes[name] for name in (one, two)})

    async def _a_stranger_cannot_be_reached(self) -> None:
        nodes, _ = await self._started()
        try:
            await next(iter(nodes.values())).send("nobody", Lane.THREAT, b"?")
        except UnreachableError:
            pass
        else:
            raise AssertionError("Sending to a stranger raises UnreachableError.")
        finally:
            await _stop(nodes)

    async def _two_have_one_link(self) -> None:
        nodes, boxes = await self._alone()
        one, two, _three = sorted(nodes)
        self._connect(nodes, [(one, two), (two, one)])
        await eventually(
            lambda: nodes[one].peers() == (two,) and nodes[two].peers() == (one,), "They meet."
        )
        sent = [b"%d" % n for n in range(_MESSAGES)]
        for data in sent:
            await nodes[one].send(two, Lane.KEYS, data)
            await nodes[two].send(one, Lane.KEYS, data)
        await eventually(lambda: boxes[two].arrived(one) == sent, "All arrive, in order.")
        await eventually(lambda: boxes[one].arrived(two) == sent, "All arrive, in order.")
        same(boxes[one].links, [(two, True)], "Two dials make one link.")
        same(boxes[two].links, [(one, True)], "Two dials make one link.")
        await _stop(nodes)

    async def _linked_no_more(self) -> None:
        nodes, boxes = await self._alone()
        one, two, three = sorted(nodes)
        self._connect(nodes, [(one, two), (one, three)])
        await eventually(lambda: nodes[one].peers() == (two, three), "They meet.")
        await eventually(lambda: nodes[two].peers() == (one,), "They meet.")
        nodes[one].forget(two)
        same(nodes[one].peers(), (three,), "Who is forgotten is linked no more.")
        await eventually(lambda: boxes[two].links == [(one, True), (one, False)], "It is told.")
        await nodes[three].stop()
        await eventually(lambda: nodes[one].peers() == (), "Who has stopped is linked no more.")
        same(boxes[one].links[-2:], [(two, False), (three, False)], "Both are told.")
        await _stop({name: nodes[name] for name in (one, two)})

    async def _a_seed_is_whoever_is_there(self) -> None:
        nodes, boxes = await self._alone()
        one, two, _three = sorted(nodes)
        nodes[one].connect("", self.address(two, nodes[two]))
        await eventually(lambda: nodes[one].peers() == (two,), "The seed is met under its name.")
        await nodes[one].send(two, Lane.MEMBERS, b"hello")
        await eventually(lambda: boxes[two].arrived(one) == [b"hello"], "It receives.")
        await _stop(nodes)

    async def _what_waits_follows(self) -> None:
        nodes, boxes = await self._started()
        one, two, _three = sorted(nodes)
        await nodes[two].stop()
        await eventually(lambda: two not in nodes[one].peers(), "The end is noticed.")
        for lane in reversed(Lane):
            await nodes[one].send(two, lane, lane.encode())
        await nodes[two].start(boxes[two].receive, boxes[two].linked)
        self._connect(nodes, [(one, two)])
        await eventually(lambda: len(boxes[two].received) == len(Lane), "What waited follows.")
        urgent, others = boxes[two].lanes[:3], boxes[two].lanes[3:]
        same(urgent, list(Lane)[:3], "The urgent lanes come first, the most urgent before all.")
        same(others, list(Lane)[3:], "Records come before bulk.")
        await _stop(nodes)

    async def _what_waits_is_bounded(self) -> None:
        nodes, _ = await self._started()
        one, two, _three = sorted(nodes)
        await nodes[two].stop()
        await eventually(lambda: two not in nodes[one].peers(), "The end is noticed.")
        for _ in range(_MOST_WAITING):
            try:
                await nodes[one].send(two, Lane.THREAT, bytes(1024))
            except UnreachableError:
                break
        else:
            raise AssertionError("What waits for a peer is bounded.")
        await _stop(nodes)

    async def _long_messages(self) -> None:
        nodes, boxes = await self._started()
        one, two, _three = sorted(nodes)
        for lane in Lane:
            try:
                await nodes[one].send(two, lane, bytes(MAX_FRAME_BYTES + 1))
            except InputError:
                pass
            else:
                raise AssertionError("A message longer than a frame is refused.")
            longest = lane.encode() + bytes(MAX_FRAME_BYTES - len(lane))
            await nodes[one].send(two, lane, longest)
            await eventually(lambda: boxes[two].received[-1:] == [(one, longest)], "It arrives.")  # noqa: B023 - awaited at once
        await _stop(nodes)


async def _stop(nodes: dict[str, Mesh]) -> None:
    for mesh in nodes.values():
        await mesh.stop()
