"""What is shared just now: isolations that peers, or this node, have told and that still count."""

from collections import OrderedDict
from typing import Any, Final

from cronos.mesh.stix import Shared, bundle
from cronos.ports import Clock
from cronos.types import Bulletin, BulletinKind

_MOST: Final = 65_536
_MOST_SHOWN: Final = 500  # an answer has to fit a frame


class Board:
    """Bulletins until they run out or are taken back; the oldest give way.

    Args:
        clock: the time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._shared: OrderedDict[tuple[str, str], Shared] = OrderedDict()

    def put(self, bulletin: Bulletin) -> None:
        """Take a bulletin up, or let it take back what its origin told before."""
        key = (bulletin.origin, bulletin.incident_id)
        if bulletin.kind is BulletinKind.RELEASED:
            self._shared.pop(key, None)
        elif bulletin.kind is BulletinKind.ISOLATED and bulletin.confidence > 0:
            now = self._clock.now().wall_ns
            self._shared[key] = Shared(bulletin, now, now + max(0, bulletin.ttl_ns))
            while len(self._shared) > _MOST:
                self._shared.popitem(last=False)

    def indicators(self, first: int = 0) -> dict[str, Any]:
        """Give a STIX bundle of the newest that count: 500 from `first` on, and the sum."""
        now = self._clock.now().wall_ns
        for key in [key for key, one in self._shared.items() if one.until_wall_ns <= now]:
            del self._shared[key]
        newest = list(reversed(self._shared.values()))
        made = bundle(newest[first : first + _MOST_SHOWN], now)
        return {**made, "x_total": len(newest)}
