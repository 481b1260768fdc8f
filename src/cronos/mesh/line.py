"""What a delivery knows of one link: what was sent on it, and what is to be sent again."""

import asyncio
from collections import deque
from typing import Final

RESEND_NS: Final = 2_000_000_000
# A flood has passed when nothing of it came for so long; beyond the second it is no flood any more.
_PASSED_NS: Final = 300_000_000
_FLOOD_NS: Final = 1_500_000_000


class Line:
    """A link that stands: how far it was used. The next link gets another.

    Attributes:
        up: whether it stands.
        wake: set when there may be something to send.
        greeted: whether the peer has said where to begin.
        since_ns: when it stood first.
        moved_ns: when the peer last held more than before.
        signed_ns: when it last had more signed.
        patience_ns: for how long nothing may move before it is sent again.
        sent: the last position that was sent.
        signed: the last of which the signature was.
        flying: positions that were sent and are not held.
        kids: keys that were announced on it.
        owes_ack: whether the peer is to be told how far it is held here.
    """

    def __init__(self, now_ns: int) -> None:
        self.up = True
        self.wake = asyncio.Event()
        self.wake.set()
        self.greeted = False
        self.since_ns = now_ns
        self.moved_ns = now_ns
        self.signed_ns = now_ns
        self.patience_ns = RESEND_NS
        self.sent = 0
        self.signed = 0
        self.flying: deque[int] = deque()
        self.kids: set[bytes] = set()
        self.owes_ack = True
        self._flood_ns = (-_FLOOD_NS, -_PASSED_NS)

    def flooded(self, now_ns: int) -> None:
        """Note that many messages go at once."""
        began_ns, last_ns = self._flood_ns
        self._flood_ns = (began_ns if now_ns - last_ns < _PASSED_NS else now_ns, now_ns)

    def is_flooded(self, now_ns: int) -> bool:
        """Say whether many messages went just now, and not for so long that nothing can wait."""
        began_ns, last_ns = self._flood_ns
        return now_ns - last_ns < _PASSED_NS and now_ns - began_ns < _FLOOD_NS

    def rewind(self, held: int, signed: int) -> None:
        """Begin again from where the peer stands."""
        self.sent, self.signed = held, signed
        self.flying.clear()
        self.kids.clear()

    def landed(self, held: int) -> None:
        """Take what is held for no longer on its way."""
        while self.flying and self.flying[0] <= held:
            self.flying.popleft()
