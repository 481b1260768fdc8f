"""The post room: messages and copies of records behind one door.

Whoever owns the links knows one thing to start, to tell of links and members, and to hand frames
to; which lane is whose is decided here.
"""

from collections.abc import Iterator, Sequence

from cronos.mesh.delivery import Delivery
from cronos.mesh.replica import Positions, Replica
from cronos.mesh.standing import Counts, Standing
from cronos.types import Bulletin, Lane, Receipt


class PostRoom:
    """Delivers messages, and has this node's ledger kept by peers.

    Args:
        delivery: of bulletins and receipts.
        replica: of the ledger's records; it also keeps those of peers.
    """

    def __init__(self, delivery: Delivery, replica: Replica) -> None:
        self._delivery = delivery
        self._replica = replica

    @property
    def counts(self) -> Counts:
        """What became of messages, since this process began."""
        return self._delivery.counts

    def positions(self) -> Positions:
        """Up to where this node's records are acknowledged, and replicated."""
        return self._replica.positions()

    def holders(self) -> dict[str, int]:
        """How far each peer's copy of this node's ledger goes."""
        return self._replica.holders()

    async def start(self) -> None:
        """Open what is kept, hand over again what still counts, begin to copy; see `Delivery`."""
        await self._delivery.start()
        await self._replica.start()

    async def stop(self) -> None:
        """End; what was posted is stored."""
        await self._delivery.stop()
        await self._replica.stop()

    async def post(self, message: Bulletin | Receipt, to: str = "") -> int:
        """Tell one peer, or all; see `Delivery.post`."""
        return await self._delivery.post(message, to)

    async def post_all(self, messages: Sequence[tuple[Bulletin | Receipt, str]]) -> list[int]:
        """Tell several at once; see `Delivery.post_all`."""
        return await self._delivery.post_all(messages)

    def own(self) -> Iterator[Bulletin]:
        """Give the bulletins of this node that wait for peers; see `Delivery.own`."""
        return self._delivery.own()

    async def post_again(self, messages: Sequence[tuple[Bulletin | Receipt, str]]) -> None:
        """Post what was refused; see `Delivery.post_again`."""
        await self._delivery.post_again(messages)

    async def receive(self, peer: str, lane: Lane, data: bytes) -> None:
        """Take a frame of a peer; never raises for what is in it."""
        machine = self._replica if lane is Lane.RECORDS else self._delivery
        await machine.receive(peer, lane, data)

    def linked(self, peer: str, up: bool) -> None:
        """Take word of a link that stands, or broke."""
        self._delivery.linked(peer, up)
        self._replica.linked(peer, up)

    def members(self, instances: Sequence[str]) -> None:
        """Wait for these peers, from now on."""
        self._delivery.members(instances)

    def forget(self, peer: str) -> None:
        """Wait for a peer no more; the copy that is kept for it stays."""
        self._delivery.forget(peer)
        self._replica.linked(peer, up=False)

    def standings(self) -> tuple[Standing, ...]:
        """Say how each peer is doing."""
        return self._delivery.standings()
