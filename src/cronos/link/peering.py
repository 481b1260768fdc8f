"""What the reflex process owes the mesh: bulletins until they are durable there, receipts once due.

Rule 1: a bulletin is given again to a mesh process that was restarted, until that process said that
it is durable; its id makes repetition harmless. Rule 2: a receipt leaves when the record of what it
acknowledges is durable here; before that its sender has to keep it. Receipts are cumulative, so of
those for one peer the latest stands for all.
"""

from collections import OrderedDict, deque
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from cronos.types import (
    Bulletin,
    Datum,
    Defect,
    Members,
    Publish,
    Receipt,
    Reproach,
    Roles,
    Unknown,
)

_MOST_UNPOSTED: Final = 20_000

Send: TypeAlias = Callable[[Datum], bool]
Heard: TypeAlias = Bulletin | Receipt | Members | Reproach | Defect


def _silent(*_: object, **__: object) -> None:
    """Stand where nobody logs."""


class Peering:
    """Keeps what is owed.

    Args:
        log: hears which roles are held and what peers are reproached with.

    Attributes:
        send: gives the mesh process a datum; None where this node is alone.
    """

    def __init__(self, log: Callable[..., Any] = _silent) -> None:
        self.send: Send | None = None
        self._log = log
        self._unposted: OrderedDict[int, Publish] = OrderedDict()
        self._receipts: dict[str, Publish] = {}
        self._owed: deque[tuple[int, Publish]] = deque()
        self._roles: Roles | None = None

    @property
    def owing(self) -> bool:
        """Say whether peers wait for the receipt of what they told."""
        return bool(self._receipts or self._owed)

    def hear(self, datum: Datum | Unknown) -> Heard | None:
        """Give what the mesh process said, if it is for the kernel.

        A receipt of this node for itself says up to where its own bulletins are durable there.
        """
        if isinstance(datum, Receipt) and datum.peer == datum.origin:
            while self._unposted and next(iter(self._unposted)) <= datum.sequence:
                self._unposted.popitem(last=False)
            return None
        return datum if isinstance(datum, Heard) else None

    def note(self, body: Datum) -> None:
        """Tell what is noted of roles and peers to whom it concerns."""
        if isinstance(body, Roles):
            self._roles = body
            self._give(body)
            self._log("info", "node.roles", detail=", ".join(body.held))
        elif isinstance(body, Reproach):
            # The mesh process keeps what a peer's word is worth over this one's end.
            self._give(body)
            if body.why:
                self._log("warning", "peer.reproached", peer=body.peer, detail=body.why)

    def publish(self, said: Publish) -> None:
        """Give a bulletin to the mesh; keep a receipt until `stored`."""
        if isinstance(said.message, Receipt):
            self._receipts[said.to] = said
        elif self.send is not None:
            self._unposted[said.message.sequence] = said
            if len(self._unposted) > _MOST_UNPOSTED:
                self._unposted.popitem(last=False)
            self._give(said)

    def mark(self, request: int) -> None:
        """Let the receipts so far wait until all records up to `request` are durable."""
        self._owed.extend([(request, one) for one in self._receipts.values()])
        self._receipts = {}

    def stored(self, oldest: int) -> None:
        """Give the receipts that waited for nothing from record `oldest` on."""
        while self._owed and self._owed[0][0] < oldest:
            self._give(self._owed.popleft()[1])

    def resend(self) -> None:
        """Give again what the mesh has not made durable: it has just been (re)started."""
        if self._roles is not None:
            self._give(self._roles)
        for said in self._unposted.values():
            self._give(said)

    def _give(self, datum: Datum) -> None:
        if self.send is not None:
            self.send(datum)
