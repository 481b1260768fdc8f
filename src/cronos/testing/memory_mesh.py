"""A federation in one process: nodes, links that fail when told to, and nothing left to chance.

A network delivers at least once and in order for each pair. What is sent across a partition, or
lost, waits at its sender as it would in an outbox, and follows when `heal` is called.
"""

from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, TypeAlias

from cronos.errors import UnreachableError

Receiver: TypeAlias = Callable[[str, bytes], Awaitable[None]]

_MAX_QUEUED: Final = 1024


class MemoryNetwork:
    """The wire between `MemoryMesh` nodes.

    Attributes:
        lose: how many of the next sendings are lost at first; they follow at `heal`.
        twice: whether everything is delivered twice, as a resent message may be.
    """

    def __init__(self) -> None:
        self.lose = 0
        self.twice = False
        self._receivers: dict[str, Receiver] = {}
        self._members: set[str] = set()
        self._islands: tuple[frozenset[str], ...] = ()
        self._queues: dict[tuple[str, str], deque[bytes]] = {}
        self._held: set[tuple[str, str]] = set()
        self._draining = False

    def join(self, instance: str) -> "MemoryMesh":
        """Make a member; it can be reached once it has started."""
        self._members.add(instance)
        return MemoryMesh(self, instance)

    def partition(self, *islands: frozenset[str]) -> None:
        """Cut the links between islands; a member that is on none is alone."""
        self._islands = islands

    async def heal(self) -> None:
        """Restore every link, lose nothing more, and deliver what waited."""
        self._islands = ()
        self.lose = 0
        self._held.clear()
        await self._drain()

    def reachable(self, instance: str) -> tuple[str, ...]:
        """Give the started members that `instance` has a link to, sorted."""
        return tuple(
            sorted(
                other
                for other in self._receivers
                if other != instance and self._linked(instance, other)
            )
        )

    def attach(self, instance: str, receive: Receiver) -> None:
        """Let a member receive."""
        self._receivers[instance] = receive

    def detach(self, instance: str) -> None:
        """Let a member receive no more."""
        self._receivers.pop(instance, None)

    async def carry(self, sender: str, peer: str, data: bytes) -> None:
        """Queue a message and deliver what can be delivered.

        Raises:
            UnreachableError: `peer` is no member, or too much waits for it.
        """
        queue = self._queues.setdefault((sender, peer), deque())
        if peer not in self._members or peer == sender or len(queue) >= _MAX_QUEUED:
            raise UnreachableError(
                "testing.no_peer",
                f"{peer!r} is not another member of the network, or {len(queue)} messages wait.",
                "Join it to the network, or heal the network.",
            )
        queue.append(data)
        if self.lose > 0:
            self.lose -= 1
            # Those behind it wait as well: each pair keeps its order.
            self._held.add((sender, peer))
        await self._drain()

    async def _drain(self) -> None:
        # A receiver may send: its message then joins the queue of the drain that runs already.
        if self._draining:
            return
        self._draining = True
        try:
            while (ready := self._next_ready()) is not None:
                sender, peer = ready
                data = self._queues[ready].popleft()
                for _ in range(1 + self.twice):
                    await self._receivers[peer](sender, data)
        finally:
            self._draining = False

    def _next_ready(self) -> tuple[str, str] | None:
        for pair, queue in self._queues.items():
            ready = pair not in self._held and pair[1] in self._receivers
            if queue and ready and self._linked(*pair):
                return pair
        return None

    def _linked(self, one: str, other: str) -> bool:
        return not self._islands or any(one in isle and other in isle for isle in self._islands)


class MemoryMesh:
    """One node's view of a `MemoryNetwork`, which makes it with `join`."""

    def __init__(self, network: MemoryNetwork, instance: str) -> None:
        self._network = network
        self.instance = instance

    async def start(self, receive: Receiver) -> None:
        """Begin to receive."""
        self._network.attach(self.instance, receive)

    async def send(self, peer: str, data: bytes) -> None:
        """Send to one peer; without a link the message waits.

        Raises:
            UnreachableError: `peer` is no member, or too much waits for it.
        """
        await self._network.carry(self.instance, peer, data)

    def peers(self) -> tuple[str, ...]:
        """Give the members that can be reached now."""
        return self._network.reachable(self.instance)

    async def stop(self) -> None:
        """End; what others send from now on waits at them."""
        self._network.detach(self.instance)
