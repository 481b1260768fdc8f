"""What is shared just now: isolations that peers, or this node, have told and that still count."""

from collections import OrderedDict
from typing import Any, Final

from cronos.mesh.entries import MAX_TTL_NS
from cronos.mesh.stix import Shared, bundle
from cronos.ports import Clock
from cronos.types import Bulletin, BulletinKind

_MOST: Final = 4_096  # of one origin: a flood of one must not hide what others have told
_MOST_SHOWN: Final = 500  # an answer has to fit a frame


class Board:
    """Bulletins until they run out or are taken back; of each origin its oldest give way.

    Args:
        clock: the time.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._shared: dict[str, OrderedDict[str, Shared]] = {}

    def put(self, bulletin: Bulletin) -> None:
        """Take a bulletin up, or let it take back what its origin told before."""
        told = self._shared.setdefault(bulletin.origin, OrderedDict())
        if bulletin.kind is BulletinKind.RELEASED:
            told.pop(bulletin.incident_id, None)
        elif bulletin.kind is BulletinKind.ISOLATED and bulletin.confidence > 0:
            now = self._clock.now().wall_ns
            ends = now + min(max(0, bulletin.ttl_ns), MAX_TTL_NS)
            told[bulletin.incident_id] = Shared(bulletin, now, ends)
            if len(told) > _MOST:
                told.popitem(last=False)

    def indicators(self, first: int = 0) -> dict[str, Any]:
        """Give a STIX bundle of the newest that count: 500 from `first` on, and the sum."""
        now = self._clock.now().wall_ns
        for told in self._shared.values():
            for key in [key for key, one in told.items() if one.until_wall_ns <= now]:
                del told[key]
        every = [one for told in self._shared.values() for one in told.values()]
        newest = sorted(every, key=lambda one: one.from_wall_ns, reverse=True)
        made = bundle(newest[first : first + _MOST_SHOWN], now)
        return {**made, "x_total": len(newest)}
