"""Audit: sees that no step goes unrecorded.

The other agencies note what they decide; audit notes what passes between them: every bulletin,
sent or received, every receipt, every change of the membership.
"""

from cronos.types import Bulletin, Effect, Members, Note, Receipt


class Audit:
    """The agency that records; it keeps no state, so that nothing can be lost with it."""

    def on_bulletin(self, bulletin: Bulletin) -> list[Effect]:
        """Note a bulletin, whoever wrote it."""
        return [Note("bulletin", bulletin.incident_id, bulletin)]

    def on_receipt(self, receipt: Receipt) -> list[Effect]:
        """Note that a peer holds our bulletins."""
        return [Note("receipt", "", receipt)]

    def on_members(self, members: Members) -> list[Effect]:
        """Note who is alive."""
        return [Note("members", "", members)]
