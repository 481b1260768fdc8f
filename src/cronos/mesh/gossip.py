"""What each neighbour has yet to be told: every change once, again until it was acknowledged.

A change gets a number. For each neighbour the names are kept whose last number it did not
acknowledge; a ping carries some of them, and its answer strikes those off that have not changed
meanwhile. So news travels on what is sent anyway, survives loss, and costs nothing when nothing
happens.
"""

from collections.abc import Callable, Sequence
from typing import Final

from cronos.types import Peer, PeerStatus

# What one datagram may take of updates, beside the rest of a ping that is sealed and relayed.
MAX_UPDATES: Final = 12
MAX_UPDATE_BYTES: Final = 900
_FIXED_BYTES: Final = 40

Carried = tuple[tuple[str, int], ...]


class Gossip:
    """The news that waits for each neighbour.

    Args:
        told: gives what is to be said of a member.
    """

    def __init__(self, told: Callable[[str], Peer]) -> None:
        self._told = told
        self._number = 0
        self._waiting: dict[str, dict[str, int]] = {}

    def follow(self, neighbours: Sequence[str]) -> None:
        """Keep news for exactly these from now on."""
        for name in [one for one in self._waiting if one not in neighbours]:
            del self._waiting[name]
        for name in neighbours:
            self._waiting.setdefault(name, {})

    def changed(self, name: str) -> None:
        """Tell everyone of this member, anew."""
        self._number += 1
        for waiting in self._waiting.values():
            waiting[name] = self._number

    def drop(self, name: str) -> None:
        """Tell nobody of this member any more."""
        for waiting in self._waiting.values():
            waiting.pop(name, None)

    def waits(self, neighbour: str) -> bool:
        """Say whether there is news for a neighbour."""
        return bool(self._waiting.get(neighbour))

    def pick(self, neighbour: str, first: Sequence[str]) -> tuple[tuple[Peer, ...], Carried]:
        """Give what fits: those named `first`, then the troubled, then other news."""
        waiting = self._waiting.get(neighbour, {})
        names = list(dict.fromkeys(first))
        others = [self._told(name) for name in waiting if name not in names]
        others.sort(key=lambda peer: peer.status is PeerStatus.ALIVE)
        chosen: list[Peer] = []
        room = MAX_UPDATE_BYTES
        for peer in [*(self._told(name) for name in names), *others]:
            size = size_of(peer)
            if len(chosen) >= MAX_UPDATES or size > room:
                break
            room -= size
            chosen.append(peer)
        carried = tuple(
            (peer.instance, waiting[peer.instance]) for peer in chosen if peer.instance in waiting
        )
        return tuple(chosen), carried

    def acknowledged(self, neighbour: str, carried: Carried) -> None:
        """Strike off what a neighbour has heard and what has not changed since."""
        waiting = self._waiting.get(neighbour, {})
        for name, number in carried:
            if waiting.get(name) == number:
                del waiting[name]


def size_of(peer: Peer) -> int:
    """Bound the bytes that a member takes in a message."""
    return _FIXED_BYTES + len(peer.instance) + len(peer.address) + len(peer.claim)
