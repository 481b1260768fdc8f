"""Blind relay: a member passes on a sealed datagram for another, whom alone it opens for.

::

    record for the relay = sealed( channel 0 | hops u8 | length u8 | destination | inner datagram )

The destination is in the clear for the relay and for nobody else, the inner datagram is sealed end
to end, and only a member can ask. Each member may have so many passed on in a second, and all
together so many, so that nobody is made a weapon; hops end it where the members pass in a circle.
"""

from typing import Final, NamedTuple

import msgspec

from cronos.crypto.refusal import refused

MAX_HOPS: Final = 2
HEADER_BYTES: Final = 2
MAX_NAME_BYTES: Final = 63
EACH_PER_S: Final = 400
ALL_PER_S: Final = 4_000
_MAX_MEMBERS: Final = 4096
_NS: Final = 1_000_000_000


class Passing(NamedTuple):
    """What is to be passed on, to whom, and how often it may be passed on after that."""

    hops: int
    destination: str
    inner: bytes


def wrap(hops: int, destination: str, inner: bytes) -> bytes:
    """Give what a relay is asked with."""
    name = destination.encode()
    return bytes((hops, len(name))) + name + inner


def unwrap(data: bytes) -> Passing:
    """Read what a relay was asked with.

    Raises:
        DeniedError: it is nothing of the kind, or wants more hops than there may be.
    """
    if len(data) < HEADER_BYTES or not 1 <= data[0] <= MAX_HOPS or data[1] > MAX_NAME_BYTES:
        raise refused()
    end = HEADER_BYTES + data[1]
    try:
        name = data[HEADER_BYTES:end].decode()
    except UnicodeDecodeError:
        raise refused() from None
    if len(data) <= end or not name:
        raise refused()
    return Passing(data[0], name, bytes(data[end:]))


class _Bucket(msgspec.Struct):
    left: int
    at_ns: int

    def take(self, now_ns: int, per_s: int) -> bool:
        """Take one of at most a second's worth."""
        gained = (now_ns - self.at_ns) * per_s // _NS
        if gained > 0:
            self.left = min(per_s, self.left + gained)
            self.at_ns = now_ns
        if self.left <= 0:
            return False
        self.left -= 1
        return True


class RelayBudget:
    """How much is passed on, for each member and for all."""

    def __init__(self, each_per_s: int = EACH_PER_S, all_per_s: int = ALL_PER_S) -> None:
        self._each_per_s = each_per_s
        self._all_per_s = all_per_s
        self._all = _Bucket(all_per_s, 0)
        self._each: dict[str, _Bucket] = {}

    def take(self, member: str, now_ns: int) -> bool:
        """Say whether one more datagram of a member may be passed on, and count it."""
        bucket = self._each.get(member)
        if bucket is None:
            if len(self._each) >= _MAX_MEMBERS:
                return False
            bucket = self._each[member] = _Bucket(self._each_per_s, now_ns)
        return bucket.take(now_ns, self._each_per_s) and self._all.take(now_ns, self._all_per_s)

    def forget(self, member: str) -> None:
        """Drop a member's count."""
        self._each.pop(member, None)
