"""Communication: tells every peer, and knows when all of them have been told.

Delivery is at least once; receipts are cumulative for each origin, and an incident is confirmed
when every live member of the view holds its bulletin. A lone node confirms alone, and says so:
its view is 1. Who has let a deadline pass is *silent*, and waited for no more until it holds what
the others hold: a confirmation counts those who answered, and names who did not.
"""

from collections import OrderedDict
from hashlib import blake2b
from typing import Final

from msgspec.structs import replace

from cronos.types import Bulletin, BulletinKind, Confirm, Effect, Members, Publish, Receipt, encode

_REMEMBERED: Final = 100_000
_NAMED: Final = 64


class Communication:
    """The agency that speaks to peers; its state is sequences, receipts and what is pending."""

    def __init__(self, instance: str, incarnation: int) -> None:
        self._instance = instance
        # Beyond all that was sent before a restart: a receipt for that confirms nothing of now.
        self._sequence = incarnation << 32
        self._members: frozenset[str] = frozenset()
        self._held: dict[str, int] = {}
        self._pending: OrderedDict[int, str] = OrderedDict()
        self._silent: frozenset[str] = frozenset()
        self._seen: OrderedDict[tuple[str, str], None] = OrderedDict()
        self.recorded: set[tuple[str, str]] = set()
        """What the ledger of an earlier life holds: weighed again, for that life may have died.

        By what it says: an id is its origin's choice, and may come again with another story.
        """

    def number(self, bulletin: Bulletin) -> Bulletin:
        """Give a bulletin of this node its place in the sequence its peers acknowledge."""
        self._sequence += 1
        self.lacks(bulletin)
        return replace(bulletin, sequence=self._sequence)

    def lacks(self, bulletin: Bulletin) -> bool:
        """Say, once, whether a bulletin of this node has no record; from then on it has."""
        fresh = self.is_new(bulletin) and not self.is_recorded(bulletin)
        self._see(bulletin)
        return fresh

    def is_recorded(self, bulletin: Bulletin) -> bool:
        """Say whether the ledger of an earlier life holds just this."""
        digest = blake2b(encode(bulletin), digest_size=16).hexdigest()
        return (bulletin.origin, digest) in self.recorded

    def _see(self, bulletin: Bulletin) -> None:
        self._seen[bulletin.origin, bulletin.bulletin_id] = None
        if len(self._seen) > _REMEMBERED:
            self._seen.popitem(last=False)

    def on_sent(self, bulletin: Bulletin) -> list[Effect]:
        """Wait for the receipts of a bulletin of this node; with no peers it is confirmed now."""
        if bulletin.kind is not BulletinKind.ISOLATED:
            return []
        self._pending[bulletin.sequence] = bulletin.incident_id
        if len(self._pending) > _REMEMBERED:
            self._pending.popitem(last=False)
        return self._confirmed()

    def on_bulletin(self, bulletin: Bulletin) -> list[Effect]:
        """Acknowledge a peer's bulletin, each time it comes."""
        self._see(bulletin)
        receipt = Receipt(self._instance, bulletin.origin, bulletin.sequence)
        return [Publish(receipt, bulletin.origin)]

    def is_new(self, bulletin: Bulletin) -> bool:
        """Say whether a bulletin comes for the first time."""
        return (bulletin.origin, bulletin.bulletin_id) not in self._seen

    def on_receipt(self, receipt: Receipt) -> list[Effect]:
        """Take a member's word that it holds our bulletins up to a sequence."""
        if receipt.origin != self._instance or receipt.peer not in self._members:
            return []
        # A receipt for what was never sent is a lie, or of an earlier incarnation.
        sequence = min(receipt.sequence, self._sequence)
        self._held[receipt.peer] = held = max(sequence, self._held.get(receipt.peer, 0))
        if held >= next(iter(self._pending), self._sequence):
            self._silent -= {receipt.peer}
        return self._confirmed()

    def on_members(self, members: Members) -> list[Effect]:
        """Take the view: who left it need not confirm any more."""
        self._members = frozenset(members.instances)
        self._held = {peer: n for peer, n in self._held.items() if peer in self._members}
        self._silent &= self._members
        return self._confirmed()

    def overdue(self, incident_id: str) -> list[Effect]:
        """Confirm an incident in the view of those who answered in time; empty if it is."""
        late = [sequence for sequence, one in self._pending.items() if one == incident_id]
        return [*map(self._confirm, late), *self._confirmed()]

    def _confirm(self, sequence: int) -> Confirm:
        behind = [peer for peer in sorted(self._members) if self._held.get(peer, 0) < sequence]
        self._silent = self._silent.union(behind)
        view = len(self._members) + 1 - len(behind)
        return Confirm(self._pending.pop(sequence), view, tuple(behind[:_NAMED]))

    def _confirmed(self) -> list[Effect]:
        waited_for = self._members - self._silent
        held_by_all = min((self._held.get(peer, 0) for peer in waited_for), default=None)
        effects: list[Effect] = []
        while self._pending:
            sequence = next(iter(self._pending))
            if held_by_all is not None and sequence > held_by_all:
                break
            effects.append(self._confirm(sequence))
        return effects
