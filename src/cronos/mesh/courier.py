"""The courier: what the mesh process does between the reflex process and the peers.

It joins three machines: the `Mesh` that carries bytes, the delivery that loses nothing, and the
membership that knows who lives. Rule 1: nothing is taken from a peer before the reflex process is
there to take it. Rule 2: who speaks is whom the link has verified; a message in another's name is
its carrier's forgery. Rule 3: when the reflex process is gone, so is this one.
"""

from collections.abc import Callable, Sequence
from typing import Final, Protocol

from cronos.ports import Mesh
from cronos.types import (
    Bulletin,
    Datum,
    Lane,
    Members,
    Peer,
    PeerStatus,
    Publish,
    Receipt,
    Reproach,
    Roles,
)

_GONE: Final = frozenset({PeerStatus.DEAD, PeerStatus.LEFT})
_MEMBERSHIP: Final = frozenset({Lane.KEYS, Lane.MEMBERS})
FORGED: Final = "it spoke in another's name"


class Delivers(Protocol):
    """What the courier asks of the delivery."""

    async def post(self, message: Bulletin | Receipt, to: str = "") -> None:
        """Send to one peer, or to all; returns once it is durable."""
        ...

    async def receive(self, peer: str, lane: Lane, data: bytes) -> None:
        """Take what a peer's delivery sent."""
        ...

    def linked(self, peer: str, up: bool) -> None:
        """Learn that a peer can be reached, or no more."""
        ...

    def members(self, instances: tuple[str, ...]) -> None:
        """Learn who lives: to whom `all` goes."""
        ...


class KnowsMembers(Protocol):
    """What the courier asks of the membership."""

    def join(self, seeds: Sequence[str]) -> None:
        """Begin, with the addresses that are known."""
        ...

    async def receive(self, peer: str, lane: Lane, data: bytes) -> None:
        """Take what a peer's membership sent."""
        ...

    def linked(self, peer: str, up: bool) -> None:
        """Learn that a peer can be reached, or no more."""
        ...

    def members(self) -> tuple[Peer, ...]:
        """Give all that is known of the others, the dead too."""
        ...

    def allowed(self) -> dict[str, tuple[str, ...]]:
        """Give the roles that each member's certificate lets it take, this node's own too."""
        ...

    def claim(self, roles: tuple[str, ...]) -> None:
        """Tell the others which roles this node holds from now on."""
        ...


class Courier:
    """Carries what the reflex process says to the peers, and back.

    Args:
        me: this node.
        mesh: the links.
        tell: gives the reflex process a datum.

    Attributes:
        delivery: set before `start`.
        members: set before `start`.
    """

    delivery: Delivers
    members: KnowsMembers

    def __init__(self, me: Peer, mesh: Mesh, tell: Callable[[Datum], None]) -> None:
        self._me = me
        self._mesh = mesh
        self._tell = tell
        self._view = Members(())

    async def start(self, seeds: Sequence[str]) -> None:
        """Begin to take from peers; the reflex process must be there."""
        await self._mesh.start(self._receive, self._linked)
        self.members.join(seeds)
        self.changed(self._me, False)

    async def hear(self, said: Sequence[Datum]) -> None:
        """Take what the reflex process says, in its order."""
        posted = 0
        for datum in said:
            if isinstance(datum, Roles):
                self.members.claim(datum.held)
            elif isinstance(datum, Publish):
                await self.delivery.post(datum.message, datum.to)
                if isinstance(datum.message, Bulletin):
                    posted = max(posted, datum.message.sequence)
        if posted:
            # In its own name: so far this node itself holds what it tells, for good.
            self._tell(Receipt(self._me.instance, self._me.instance, posted))

    def heard(self, peer: str, datum: Datum, signed: bool) -> None:
        """Hand on what a peer's delivery brought, if it speaks for itself."""
        del signed
        match datum:
            case Bulletin(origin=speaker) | Receipt(peer=speaker) if speaker == peer:
                self._tell(datum)
            case Bulletin() | Receipt():
                self._tell(Reproach(peer, FORGED))
            case _:
                pass

    def reproach(self, peer: str, why: str) -> None:
        """Report what a peer was caught at."""
        self._tell(Reproach(peer, why))

    def changed(self, peer: Peer, unwitnessed: bool) -> None:
        """Take a change of the membership."""
        del peer, unwitnessed
        known = {one.instance: one for one in self.members.members()}
        alive = [one for one in known.values() if one.status not in _GONE]
        instances = tuple(
            sorted(one.instance for one in alive if one.instance != self._me.instance)
        )
        roles = {one.instance: one.roles for one in alive}
        view = Members(instances, roles, self.members.allowed())
        if view != self._view:
            self._view = view
            self.delivery.members(instances)
            self._tell(view)

    async def stop(self) -> None:
        """End: what is queued is sent first."""
        await self._mesh.stop()

    async def _receive(self, peer: str, lane: Lane, data: bytes) -> None:
        machine = self.members if lane in _MEMBERSHIP else self.delivery
        await machine.receive(peer, lane, data)

    def _linked(self, peer: str, up: bool) -> None:
        self.members.linked(peer, up)
        self.delivery.linked(peer, up)
