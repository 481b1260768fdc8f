"""How often a peer may ask for what is dear: key agreements, cards to verify, cards to be given.

Each of these costs this node more than it costs who sends it: signatures, key pairs, threads. A
bucket of each kind for each peer holds what an honest one may need at once, a link that flaps
included, and fills again slowly. What is beyond is dropped before any work is done for it, counted,
and told: at once, and then once a minute with how often.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Final

import msgspec

from cronos.ports import Clock

CODE: Final = "mesh.too_often"
_NS: Final = 1_000_000_000
_MINUTE_NS: Final = 60 * _NS
_MOST: Final = 8_192

# What may come at once, and how many of it a second after that.
LIMITS: Final[dict[str, tuple[float, float]]] = {
    "offers of keys": (16, 1),
    "cards": (32, 1),
    "newer cards": (4_096, 4),
    "questions for cards": (4_096, 64),
    "greetings about bulk": (16, 1),
    "messages": (4_096, 256),
}

Told = Callable[[str, str, str], None]


class _Bucket(msgspec.Struct):
    left: float
    at_ns: int
    dropped: int = 0
    told_ns: int = -_MINUTE_NS


class Rates:
    """The buckets of all peers.

    Args:
        clock: the time.
        told: takes a peer, a sentence and `CODE` when something of it was dropped.
    """

    def __init__(self, clock: Clock, told: Told) -> None:
        self._clock = clock
        self._told = told
        self._buckets: OrderedDict[tuple[str, str], _Bucket] = OrderedDict()
        self.dropped = 0

    def take(self, peer: str, kind: str, count: float = 1) -> bool:
        """Take from a bucket, one of `LIMITS`; False, and told, where it is empty."""
        bucket = self._bucket(peer, kind)
        if bucket.left >= 1:
            bucket.left = max(bucket.left - count, -LIMITS[kind][0])
            return True
        bucket.dropped += 1
        self.dropped += 1
        if bucket.at_ns - bucket.told_ns >= _MINUTE_NS:
            often = f"{bucket.dropped} {kind}" if bucket.dropped > 1 else kind
            bucket.told_ns, bucket.dropped = bucket.at_ns, 0
            self._told(peer, f"{peer} sends {kind} too often: {often} left out.", CODE)
        return False

    def charge(self, peer: str, kind: str, count: float) -> None:
        """Take more for what turned out to be worth nothing; what is owed is waited for."""
        bucket = self._bucket(peer, kind)
        bucket.left = max(bucket.left - count, -LIMITS[kind][0])

    def has(self, peer: str, kind: str) -> bool:
        """Say whether there is something left in a bucket."""
        return self._bucket(peer, kind).left >= 1

    def _bucket(self, peer: str, kind: str) -> _Bucket:
        most, each_s = LIMITS[kind]
        now_ns = self._clock.now().boot_ns
        bucket = self._buckets.get((peer, kind))
        if bucket is None:
            bucket = self._buckets[peer, kind] = _Bucket(most, now_ns)
            while len(self._buckets) > _MOST:
                self._buckets.popitem(last=False)
        bucket.left = min(most, bucket.left + each_s * (now_ns - bucket.at_ns) / _NS)
        bucket.at_ns = now_ns
        return bucket
