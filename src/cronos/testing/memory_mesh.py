"""A federation in one process: nodes, links that fail when told to, and nothing left to chance.

Two nodes are linked while both have started, no partition parts them, and one of them has
connected to the other; an address is the other's instance. What is sent across a partition, or
lost, waits at its sender, and follows when `heal` is called. One message is carried at a time: a
receiver that waits holds up all others.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from cronos.errors import InputError, UnreachableError
from cronos.ports import Linked
from cronos.types import MAX_FRAME_BYTES, Lane

Receiver: TypeAlias = Callable[[str, Lane, bytes], Awaitable[None]]

_MAX_QUEUED: Final = 1024
_Pair: TypeAlias = tuple[str, str]


class _Queue:
    """What waits between two nodes, in one direction."""

    def __init__(self) -> None:
        self._lanes: dict[Lane, deque[bytes]] = {lane: deque() for lane in Lane}

    def __len__(self) -> int:
        return sum(len(lane) for lane in self._lanes.values())

    def put(self, lane: Lane, data: bytes) -> None:
        self._lanes[lane].append(data)

    def take(self) -> tuple[Lane, bytes]:
        lane = next(lane for lane in Lane if self._lanes[lane])
        return lane, self._lanes[lane].popleft()


class MemoryNetwork:
    """The wire between `MemoryMesh` nodes.

    Attributes:
        lose: how many of the next sendings are lost at first; they follow at `heal`.
        twice: whether everything is delivered twice, as a resent message may be.
    """

    def __init__(self) -> None:
        self.lose = 0
        self.twice = False
        self._receivers: dict[str, tuple[Receiver, Linked]] = {}
        self._members: set[str] = set()
        self._wanted: set[_Pair] = set()
        self._islands: tuple[frozenset[str], ...] = ()
        self._queues: dict[_Pair, _Queue] = {}
        self._held: set[_Pair] = set()
        self._links: frozenset[_Pair] = frozenset()
        self._draining = False

    def join(self, instance: str) -> "MemoryMesh":
        """Make a member; it can be reached once it has started."""
        self._members.add(instance)
        return MemoryMesh(self, instance)

    def mesh(self, *instances: str) -> dict[str, "MemoryMesh"]:
        """Make members that are all connected to one another."""
        made = {instance: self.join(instance) for instance in instances}
        for instance in instances:
            for other in instances:
                if instance < other:
                    made[instance].connect(other, other)
        return made

    def partition(self, *islands: frozenset[str]) -> None:
        """Cut the links between islands; a member that is on none is alone."""
        self._islands = islands
        self.relink()

    async def heal(self) -> None:
        """Restore every link, lose nothing more, and deliver what waited."""
        self._islands = ()
        self.lose = 0
        self._held.clear()
        self.relink()
        await self._drain()

    def reachable(self, instance: str) -> tuple[str, ...]:
        """Give the members that `instance` has a link to, sorted."""
        return tuple(sorted(other for one, other in self._links if one == instance))

    def want(self, instance: str, peer: str) -> None:
        """Link two members, now or once both have started."""
        self._members.add(peer)
        self._wanted.add((instance, peer))
        self.relink()

    def drop(self, instance: str, peer: str) -> None:
        """Cut a link; it stands again at once if the other end still wants it."""
        self._wanted.discard((instance, peer))
        self._queues.pop((instance, peer), None)
        self.relink(frozenset({(instance, peer), (peer, instance)}))

    async def attach(self, instance: str, receive: Receiver, linked: Linked) -> None:
        """Let a member receive."""
        self._receivers[instance] = (receive, linked)
        self.relink()
        await self._drain()

    def detach(self, instance: str) -> None:
        """Let a member receive no more."""
        self._receivers.pop(instance, None)
        self.relink()

    async def carry(self, pair: _Pair, lane: Lane, data: bytes) -> None:
        """Queue a message and deliver what can be delivered.

        Raises:
            UnreachableError: nobody connected the two, or too much waits.
            InputError: the message is longer than a frame.
        """
        if len(data) > MAX_FRAME_BYTES:
            raise InputError(
                "testing.long_message",
                f"A message of {len(data)} bytes is longer than {MAX_FRAME_BYTES}.",
                "Send it in parts.",
            )
        queue = self._queues.get(pair, _Queue())
        if not (pair in self._wanted or pair in self._links) or len(queue) >= _MAX_QUEUED:
            raise UnreachableError(
                "testing.no_peer",
                f"{pair[1]!r} is not connected to {pair[0]!r}, or {len(queue)} messages wait.",
                "Connect the two, or heal the network.",
            )
        self._queues.setdefault(pair, queue).put(lane, data)
        if self.lose > 0:
            self.lose -= 1
            # Those behind it wait as well: each pair keeps its order.
            self._held.add(pair)
        await self._drain()

    def relink(self, cut: frozenset[_Pair] = frozenset()) -> None:
        """Find out who is linked now, and tell those for whom it has changed."""
        before, self._links = self._links, frozenset(self._linked())
        for one, other in sorted(before & cut | before - self._links):
            self._tell(one, other, up=False)
        for one, other in sorted(self._links & cut | self._links - before):
            self._tell(one, other, up=True)

    def _linked(self) -> set[_Pair]:
        found: set[_Pair] = set()
        for one, other in self._wanted:
            started = one in self._receivers and other in self._receivers
            if started and one != other and self._together(one, other):
                found |= {(one, other), (other, one)}
        return found

    def _tell(self, one: str, other: str, *, up: bool) -> None:
        if one in self._receivers:
            self._receivers[one][1](other, up)

    async def _drain(self) -> None:
        # A receiver may send: its message then joins the queue of the drain that runs already.
        if self._draining:
            return
        self._draining = True
        try:
            while (ready := self._next_ready()) is not None:
                sender, peer = ready
                lane, data = self._queues[ready].take()
                for _ in range(1 + self.twice):
                    await self._receivers[peer][0](sender, lane, data)
        finally:
            self._draining = False

    def _next_ready(self) -> _Pair | None:
        for pair, queue in self._queues.items():
            if len(queue) and pair not in self._held and pair in self._links:
                return pair
        return None

    def _together(self, one: str, other: str) -> bool:
        return not self._islands or any(one in isle and other in isle for isle in self._islands)


class MemoryMesh:
    """One node's view of a `MemoryNetwork`, which makes it with `join`."""

    def __init__(self, network: MemoryNetwork, instance: str) -> None:
        self._network = network
        self.instance = instance

    async def start(self, receive: Receiver, linked: Linked) -> None:
        """Begin to receive."""
        await self._network.attach(self.instance, receive, linked)

    def connect(self, peer: str, address: str) -> None:
        """Keep a link to `peer`, or to the member whose instance is `address`."""
        self._network.want(self.instance, peer or address)

    def forget(self, peer: str) -> None:
        """Drop the link and what waits for it."""
        self._network.drop(self.instance, peer)

    async def send(self, peer: str, lane: Lane, data: bytes) -> None:
        """Send to one peer; without a link the message waits.

        Raises:
            UnreachableError: neither connected to nor linked, or too much waits for it.
        """
        await self._network.carry((self.instance, peer), lane, data)

    def peers(self) -> tuple[str, ...]:
        """Give the members that are linked now."""
        return self._network.reachable(self.instance)

    async def stop(self) -> None:
        """End; what others send from now on waits at them."""
        self._network.detach(self.instance)
