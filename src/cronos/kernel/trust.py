"""Trust: what a peer's word is worth as evidence here, which falls when it was wrong.

A bulletin is evidence, never a command. All of one peer's word in a minute can spend at most half
of this node's budget of actions, and the more it tells the longer it waits: what this node saw
itself, and its answers to all peers, come first. What goes beyond is noted and decides nothing.
"""

from collections.abc import Callable
from typing import Final

from cronos import types as t
from cronos.config import Config
from cronos.kernel.assets import address_number
from cronos.kernel.budget import MINUTE_NS

HEARD: Final = "peer:"  # begins the detector's name of what a peer said
_FLOODED: Final = "it told more in a minute than is listened to"
_PROTECTED: Final = "it named what is protected here"
_MISTAKEN: Final = "a person found a false alarm in its word"
# From 0.85 on a word acts, up to 0.84 it asks an analyst.
_FALLS, _RECOVERS, _ACTS, _ASKS = 0.5, 0.1, 0.85, 0.84
_TURN_NS, _MANY, _LATER_NS = 2_000_000, 16, 300_000_000


class Trust:
    """Remembers what each peer's word is worth; the mesh process keeps that over restarts.

    Args:
        config: what a word is worth at first, and the budget of actions.
        protects: says what no action may name.
    """

    def __init__(self, config: Config, protects: Callable[[t.Entity], bool]) -> None:
        self._protects = protects
        self._first = config.mesh.trust
        self._of: dict[str, float] = {}
        policy = config.policy
        self._most = max(1, int(policy.actions_per_minute * policy.budget_share / 2))
        self._told: dict[str, tuple[int, int]] = {}  # in which minute, and how much in it
        self._members: frozenset[tuple[int, int]] = frozenset()

    def of(self, peer: str) -> float:
        """Give what a peer's word is worth, in [0, 1]."""
        return self._of.get(peer, self._first)

    def on_members(self, members: t.Members) -> None:
        """Learn where peers are: one peer's word alone must not cut another off."""
        self._members = frozenset(map(address_number, members.addresses)) - {(0, 0)}

    def moves(self, bulletin: t.Bulletin, now: t.Now) -> bool:
        """Count an isolation told; say whether workloads follow it: not what would only ask."""
        peer, minute = bulletin.origin, now.boot_ns // MINUTE_NS
        before, count = self._told.get(peer, (0, 0))
        self._told[peer] = minute, count + 1 if before == minute else 1
        return self._told[peer][1] <= 2 * self._most and self.of(peer) >= _ACTS

    def weigh(self, bulletin: t.Bulletin, now: t.Now) -> list[t.Effect]:
        """Take a new bulletin, counted, as evidence, for later; or note why it is none."""
        actor, peer, confidence = bulletin.actor, bulletin.origin, bulletin.confidence
        if bulletin.kind is not t.BulletinKind.ISOLATED or actor is None or not 0 < confidence <= 1:
            return []
        count = self._told[peer][1]
        if count > self._most:
            return self.blame(peer, _FLOODED, 1.0) if count == self._most + 1 else []
        if self._protects(actor):
            return self.blame(peer, _PROTECTED)
        if address_number(actor.value) in self._members:
            confidence = min(confidence, _ASKS)
        finding = t.Finding(
            f"{HEARD}{peer}/{bulletin.bulletin_id}",
            HEARD + peer,
            f"{peer} isolated it",
            f"{peer} isolated it in its incident {bulletin.incident_id}.",
            t.EvidenceClass.DECLARED,
            t.Provenance.AUTHENTICATED,
            confidence * self.of(peer),
            min(max(bulletin.severity, 1), 5),
            now.wall_ns,
            bulletin.techniques,
            actor,
            bulletin.target,
            detected_boot_ns=now.boot_ns,
        )
        return [t.After(_TURN_NS * count + (count > _MANY) * _LATER_NS, finding)]

    def blame(self, peer: str, why: str, fall: float = _FALLS) -> list[t.Effect]:
        """Believe a peer less, and report it."""
        self._of[peer] = self.of(peer) * fall
        return [t.Note("reproach", "", t.Reproach(peer, why, self._of[peer]))]

    def on_reproach(self, reproach: t.Reproach, _now: t.Now) -> list[t.Effect]:
        """Learn what the mesh caught a peer at; without a reason, what was known before a start."""
        known = reproach.trust / max(self.of(reproach.peer), reproach.trust, 1e-9)
        return self.blame(reproach.peer, reproach.why, _FALLS if reproach.why else known)

    def judge(self, claims: tuple[t.Evidence, ...], malicious: bool) -> list[t.Effect]:
        """Learn what a person made of an incident that peers have spoken about."""
        peers = [one.detector[len(HEARD) :] for one in claims if one.detector.startswith(HEARD)]
        if not malicious:
            return [note for peer in peers for note in self.blame(peer, _MISTAKEN)]
        self._of |= {peer: min(self._first, self.of(peer) + _RECOVERS) for peer in peers}
        return [t.Note("trust", "", t.Reproach(peer, "", self._of[peer])) for peer in peers]
