"""Whether a node is behind itself: peers remember a later stream of it than it does.

That is so where its folder was lost while its clock was set back, or an old copy of the folder was
put back. It then begins a stream beyond theirs, or nobody would hear it. Nobody may drive it up
alone: one peer's word counts for a small step, and a leap takes two, where two are linked.
"""

from typing import Final

from cronos.types import Now

_ANEW_NS: Final = 60_000_000_000
# Streams are numbers of starts, or seconds since 1970: twelve days of them.
_STEP: Final = 1 << 20
_HIGHEST: Final = 1 << 40
_MAX_PEERS: Final = 4_096
_NS: Final = 1_000_000_000


class Claims:
    """What peers say that they know of this node's streams."""

    def __init__(self) -> None:
        self._said: dict[str, int] = {}
        self._anew_ns = 0

    def believed(self, peer: str, stream: int, own: int, now: Now, linked: int) -> int:
        """Give the stream to go beyond, at most once a minute; 0 for none.

        Args:
            peer: says that it knows `stream`.
            stream: the one, not before `own`.
            own: the one that this node is in.
            now: the time.
            linked: how many peers could say so.
        """
        if now.boot_ns < self._anew_ns or not own <= stream < _HIGHEST:
            return 0
        self._said.pop(peer, None)
        self._said[peer] = stream
        if len(self._said) > _MAX_PEERS:
            del self._said[next(iter(self._said))]
        found = stream
        if stream - max(own, now.wall_ns // _NS) > _STEP and linked > 1:
            # The lower of the two highest: a liar moves it no further than somebody honest does.
            found = sorted(self._said.values(), reverse=True)[1] if len(self._said) > 1 else 0
        if found < own or not found:
            return 0
        self._anew_ns = now.boot_ns + _ANEW_NS
        self._said.clear()
        return found
