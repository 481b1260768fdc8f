"""Trust: what a peer's word is worth as evidence here, which falls when it was wrong.

A bulletin is evidence, never a command. All of one peer's word in a minute can spend at most half
of this node's budget of actions; what comes beyond that is noted and decides nothing.
"""

from typing import Final

from cronos.config import Config
from cronos.kernel.budget import MINUTE_NS
from cronos.types import (
    Bulletin,
    BulletinKind,
    Evidence,
    EvidenceClass,
    Finding,
    Now,
    Provenance,
    Reproach,
)

HEARD: Final = "peer:"  # begins the detector's name of what a peer said
FLOODED: Final = "it told more in a minute than is listened to"
_FALLS: Final = 0.5
_RECOVERS: Final = 0.1


class Trust:
    """Remembers what each peer's word is worth; it begins anew with each start."""

    def __init__(self, config: Config) -> None:
        self._first = config.mesh.trust
        self._of: dict[str, float] = {}
        policy = config.policy
        self._most = max(1, int(policy.actions_per_minute * policy.budget_share / 2))
        self._told: dict[str, tuple[int, int]] = {}  # in which minute, and how much in it

    def of(self, peer: str) -> float:
        """Give what a peer's word is worth, in [0, 1]."""
        return self._of.get(peer, self._first)

    def evidence(self, bulletin: Bulletin, now: Now) -> Finding | Reproach | None:
        """Give what a new bulletin amounts to here; a reproach once it is too much."""
        told = bulletin.kind is BulletinKind.ISOLATED and bulletin.actor is not None
        if not told or not 0.0 < bulletin.confidence <= 1.0:
            return None
        minute, count = self._told.get(bulletin.origin, (0, 0))
        count = count + 1 if minute == now.boot_ns // MINUTE_NS else 1
        self._told[bulletin.origin] = now.boot_ns // MINUTE_NS, count
        if count > self._most:
            first = count == self._most + 1
            return self.blame(bulletin.origin, FLOODED, fall=1.0) if first else None
        return Finding(
            HEARD + bulletin.bulletin_id,
            HEARD + bulletin.origin,
            f"{bulletin.origin} isolated it",
            f"{bulletin.origin} isolated it in its incident {bulletin.incident_id}.",
            EvidenceClass.DECLARED,
            Provenance.AUTHENTICATED,
            bulletin.confidence * self.of(bulletin.origin),
            min(max(bulletin.severity, 1), 5),
            now.wall_ns,
            bulletin.techniques,
            bulletin.actor,
            bulletin.target,
            detected_boot_ns=now.boot_ns,
        )

    def blame(self, peer: str, why: str, fall: float = _FALLS) -> Reproach:
        """Believe a peer less."""
        self._of[peer] = self.of(peer) * fall
        return Reproach(peer, why, self._of[peer])

    def judge(self, claims: tuple[Evidence, ...], *, malicious: bool) -> list[Reproach]:
        """Learn what a person made of an incident that peers have spoken about."""
        peers = [one.detector[len(HEARD) :] for one in claims if one.detector.startswith(HEARD)]
        if not malicious:
            return [self.blame(peer, "a person found a false alarm in its word") for peer in peers]
        for peer in peers:
            self._of[peer] = min(self._first, self.of(peer) + _RECOVERS)
        return []
