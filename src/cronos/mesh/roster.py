"""What one node believes of the others, and on whose word.

Rule 1: a higher incarnation beats a lower one; at the same incarnation left beats dead beats
suspect beats alive. Rule 2: a member's word about itself counts as it is. Of a third member one
member's word is a hint, and the word of min(2, live others) is news: so a single liar can neither
bury, nor invent, nor age anyone. Rule 3: accusers are *independent*: only who says that it found
out itself (`Peer.firsthand`) is one, and takes it back by not saying it any more. Rule 4: whoever
is heard is not accused by the one who hears it.

Source: Das, Gupta, Motivala, "SWIM" (DSN 2002), 4.2; rule 2 is certified propagation for one
fault: Koo, "Broadcast in Radio Networks Tolerating Byzantine Adversarial Behavior" (PODC 2004).
"""

import re
from typing import Final, TypeAlias

import msgspec
from msgspec.structs import replace

from cronos.mesh.overlay import Ring
from cronos.types import Peer, PeerStatus

_RANK: Final = {
    PeerStatus.ALIVE: 0,
    PeerStatus.SUSPECT: 1,
    PeerStatus.DEAD: 2,
    PeerStatus.LEFT: 3,
}
GONE: Final = frozenset({PeerStatus.DEAD, PeerStatus.LEFT})
# Nobody counts that far, so nobody can be talked past the end of what can be encoded.
MAX_INCARNATION: Final = 1 << 62
# How far one member's word sends this node ahead; it takes 2^46 of them to the end.
_STEP: Final = 1 << 16
MAX_MEMBERS: Final = 4096
MAX_EXCUSES: Final = 2
# Of how many strangers, and changed members, one member's word is kept, and of how many in all.
_MAX_TOLD: Final = 1024
_MAX_HEARSAY: Final = 16_384
_MAX_WITNESSES: Final = 64
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
_MAX_ADDRESS: Final = 270
_MAX_CLAIM: Final = 64


class Changed(msgspec.Struct, frozen=True):
    """Effect: what is known of a member changed; `unwitnessed` marks a lone verdict of death."""

    peer: Peer
    unwitnessed: bool = False


class Meet(msgspec.Struct, frozen=True):
    """Effect: one member, `sender`, speaks of this one: a reason to dial it and ask itself."""

    peer: Peer
    sender: str = ""


News: TypeAlias = Changed | Meet


class _Case(msgspec.Struct):
    """What speaks against a member: since when it is suspected, by whom, and who buried it."""

    since_ns: int
    accusers: set[str]
    verdicts: set[str]
    excused: int = 0


class Roster:
    """The members, as this node knows them.

    Attributes:
        me: this node, as its peers shall see it.
        peers: everybody else that was ever believed to be there, the dead ones too.
        ring: those that are not gone, this node included.
    """

    def __init__(self, me: Peer) -> None:
        self.me = me
        self.peers: dict[str, Peer] = {}
        self.ring = Ring()
        self.ring.add(me.instance)
        self._cases: dict[str, _Case] = {}
        self._hearsay: dict[str, dict[str, Peer]] = {}
        self._told_by: dict[str, dict[str, None]] = {}
        self._heard_ns: dict[str, int] = {}

    def alive(self) -> tuple[str, ...]:
        """Give the members that are not known to be gone, sorted."""
        return tuple(sorted(name for name, peer in self.peers.items() if peer.status not in GONE))

    def suspects(self) -> tuple[str, ...]:
        """Give those that are suspected, in the order in which they came to be."""
        return tuple(self._cases)

    def heard_ns(self, name: str) -> int:
        """Say when a member was last heard, by boot time; 0 for never."""
        return self._heard_ns.get(name, 0)

    def is_alive(self, name: str) -> bool:
        """Say whether a member is known and not gone."""
        return name in self.peers and self.peers[name].status not in GONE

    def told(self, name: str) -> Peer:
        """Give what is to be told of a member: without roles, and as first-hand where it is."""
        if name == self.me.instance:
            return replace(self.me, roles=(), firsthand=True)
        peer = self.peers[name]
        case = self._cases.get(name)
        mine = case is not None and self.me.instance in case.accusers
        own = mine if peer.status is PeerStatus.SUSPECT else peer.status is not PeerStatus.ALIVE
        return replace(peer, roles=(), firsthand=own)

    # --- what comes in -----------------------------------------------------------------------

    def hear(self, name: str, boot_ns: int) -> list[News]:
        """Note that a member was heard itself: this node accuses it no more."""
        if name in self.peers:
            self._heard_ns[name] = boot_ns
        return self._withdraw(name)

    def admit(self, peer: Peer) -> list[News]:
        """Take a member's own word, or the operator's, about itself."""
        known = self.peers.get(peer.instance)
        if peer.instance == self.me.instance or not 0 <= peer.incarnation < MAX_INCARNATION:
            return []
        if known is None:
            return self._set(peer) if len(self.peers) < MAX_MEMBERS else []
        if beats(peer, known):
            return self._set(replace(peer, roles=known.roles))
        if peer.incarnation == known.incarnation and _moved(peer, known):
            moved = replace(known, address=peer.address, claim=peer.claim)
            return self._set(moved)
        return []

    def learn(self, news: Peer, sender: str, boot_ns: int) -> list[News]:
        """Take an update from a peer that is who it says it is."""
        if not is_sound(news):
            return []
        if news.instance == self.me.instance:
            return self._refute(news, sender)
        if news.instance == sender:
            own = news.status in (PeerStatus.ALIVE, PeerStatus.LEFT)
            return self.admit(replace(news, firsthand=False, roles=())) if own else []
        return self._hearsay_of(replace(news, roles=()), sender, boot_ns)

    def suspect(self, name: str, boot_ns: int, accuser: str = "") -> list[News]:
        """Begin to suspect a member; with an accuser, who found out itself."""
        peer = self.peers.get(name)
        if peer is None or peer.status in GONE:
            return []
        case = self._cases.get(name)
        if case is not None:
            fresh = bool(accuser) and accuser not in case.accusers
            if fresh and len(case.accusers) < _MAX_WITNESSES:
                case.accusers.add(accuser)
            # One's own first-hand word is news to the others; another's changes nothing here.
            return [Changed(peer)] if fresh and accuser == self.me.instance else []
        self._cases[name] = _Case(boot_ns, {accuser} - {""}, set())
        return self._set(replace(peer, status=PeerStatus.SUSPECT))

    def bury(self, boot_ns: int, patience_ns: int) -> list[News]:
        """Declare dead whoever was suspected for long enough by enough."""
        found: list[News] = []
        for name, case in list(self._cases.items()):
            waited_ns = boot_ns - max(case.since_ns, self.heard_ns(name))
            accusers = len(case.accusers | case.verdicts)
            if waited_ns >= patience_ns and accusers >= min(2, self._observers(name)):
                found += self._dead(name, accusers)
        return found

    def excuse(self, late_ns: int) -> None:
        """Give every suspect as much more time as this node itself was away, once or twice.

        A node that is late all the time would otherwise never come to a verdict.
        """
        for case in self._cases.values():
            if case.excused < MAX_EXCUSES:
                case.excused += 1
                case.since_ns += late_ns

    def forget(self, name: str) -> None:
        """Forget a member that is gone."""
        for kept in (self.peers, self._cases, self._hearsay, self._heard_ns, self._told_by):
            kept.pop(name, None)

    # --- beliefs -----------------------------------------------------------------------------

    def _refute(self, news: Peer, sender: str) -> list[News]:
        """Outlive what is said of this node; only min(2, others) can send it far ahead.

        An earlier life of this node may have outlived more than this one's number rises by; and
        who remembers that may be the only one that does.
        """
        mine = self.me.incarnation
        if self.me.status is PeerStatus.LEFT or news.incarnation < mine:
            return []
        if news.status is PeerStatus.ALIVE and news.incarnation == mine:
            return []
        outlived = news.incarnation
        if news.incarnation > mine + _STEP:
            outlived = self._agreed(news, sender)
        if outlived < mine:
            return []
        self.me = replace(self.me, incarnation=outlived + 1)
        self._hearsay.pop(self.me.instance, None)
        return [Changed(self.me)]

    def _hearsay_of(self, news: Peer, sender: str, boot_ns: int) -> list[News]:
        known = self.peers.get(news.instance)
        if known is None:
            return self._stranger(news, sender)
        if news.incarnation < known.incarnation:
            return []
        found: list[News] = []
        if news.incarnation > known.incarnation and news.status not in GONE:
            found += self._renewed(news, sender)
            known = self.peers[news.instance]
        if known.status in GONE or news.incarnation != known.incarnation:
            return found
        return found + self._charge(news, sender, boot_ns)

    def _charge(self, news: Peer, sender: str, boot_ns: int) -> list[News]:
        match news.status:
            case PeerStatus.ALIVE:
                self._drop_accuser(news.instance, sender)
            case PeerStatus.SUSPECT:
                return self._accused(news, sender, boot_ns)
            case PeerStatus.DEAD:
                return self._verdict(news, sender, boot_ns)
            case PeerStatus.LEFT:
                return self._left(news, sender)
        return []

    def _stranger(self, news: Peer, sender: str) -> list[News]:
        if news.status in GONE or len(self.peers) >= MAX_MEMBERS:
            return []
        first = news.instance not in self._hearsay
        incarnation = self._agreed(news, sender)
        if incarnation >= 0:
            told = replace(news, incarnation=incarnation, status=PeerStatus.ALIVE, firsthand=False)
            return self._set(told)
        return [Meet(news, sender)] if first else []

    def _renewed(self, news: Peer, sender: str) -> list[News]:
        """A later incarnation: on the word of enough, the lower of what they say."""
        incarnation = self._agreed(news, sender)
        known = self.peers[news.instance]
        if incarnation <= known.incarnation:
            return []
        renewed = replace(known, incarnation=incarnation, status=PeerStatus.ALIVE)
        return self._set(renewed)

    def _accused(self, news: Peer, sender: str, boot_ns: int) -> list[News]:
        if not news.firsthand:
            self._drop_accuser(news.instance, sender)
        return self.suspect(news.instance, boot_ns, sender if news.firsthand else "")

    def _verdict(self, news: Peer, sender: str, boot_ns: int) -> list[News]:
        found = self.suspect(news.instance, boot_ns, sender)
        case = self._cases[news.instance]
        if len(case.verdicts) < _MAX_WITNESSES:
            case.verdicts.add(sender)
        # They have waited already; whoever hears the member itself believes its ears.
        if len(case.verdicts) >= 2 and self.heard_ns(news.instance) <= case.since_ns:
            found += self._dead(news.instance, len(case.verdicts))
        return found

    def _left(self, news: Peer, sender: str) -> list[News]:
        if self._agreed(news, sender) < 0:
            return []
        return self._set(replace(self.peers[news.instance], status=PeerStatus.LEFT))

    def _agreed(self, news: Peer, sender: str) -> int:
        """Give the incarnation that enough members vouch for, -1 while they are too few.

        Witnesses are kept for each member, each with the last that it said.
        """
        said = self._hearsay.setdefault(news.instance, {})
        if sender not in said and len(said) >= _MAX_WITNESSES:
            return -1
        said[sender] = news
        self._count(sender, news.instance)
        same = [
            peer.incarnation
            for peer in said.values()
            if (peer.status is PeerStatus.LEFT) == (news.status is PeerStatus.LEFT)
        ]
        enough = min(2, sum(1 for name in self.peers if self.is_alive(name))) or 1
        if len(same) < enough:
            return -1
        return sorted(same, reverse=True)[enough - 1]

    def _count(self, sender: str, name: str) -> None:
        """Bound what is kept, of each who tells it: who tells much pushes out its own alone."""
        told = self._told_by.setdefault(sender, {})
        told[name] = None
        if len(told) > _MAX_TOLD:
            oldest = next(iter(told))
            del told[oldest]
            said = self._hearsay.get(oldest, {})
            said.pop(sender, None)
            if not said:
                self._hearsay.pop(oldest, None)
        while len(self._hearsay) > _MAX_HEARSAY:
            del self._hearsay[next(iter(self._hearsay))]

    def _withdraw(self, name: str) -> list[News]:
        """Take this node's own accusation back; what is suspected stays so until it refutes."""
        case = self._cases.get(name)
        if case is None or self.me.instance not in case.accusers:
            return []
        case.accusers.discard(self.me.instance)
        return [Changed(self.peers[name])]

    def _drop_accuser(self, name: str, accuser: str) -> None:
        case = self._cases.get(name)
        if case is not None:
            case.accusers.discard(accuser)
            case.verdicts.discard(accuser)

    def _observers(self, name: str) -> int:
        """Count who could accuse a member: this node, and every other that nobody suspects."""
        others = sum(
            1
            for other, peer in self.peers.items()
            if other != name and peer.status is PeerStatus.ALIVE
        )
        return 1 + others

    def _dead(self, name: str, accusers: int) -> list[News]:
        return self._set(replace(self.peers[name], status=PeerStatus.DEAD), accusers < 2)

    def _set(self, peer: Peer, unwitnessed: bool = False) -> list[News]:
        name = peer.instance
        before = self.peers.get(name)
        self.peers[name] = peer
        if peer.status in GONE:
            self.ring.remove(name)
        else:
            self.ring.add(name)
        if peer.status is not PeerStatus.SUSPECT:
            self._cases.pop(name, None)
        if before is None or peer.incarnation > before.incarnation or peer.status in GONE:
            self._hearsay.pop(name, None)
        return [Changed(peer, unwitnessed)]


def is_sound(news: Peer) -> bool:
    """Say whether what is told can be: names and places of members are short and plain."""
    return (
        0 <= news.incarnation < MAX_INCARNATION
        and _NAME.fullmatch(news.instance) is not None
        and len(news.address) <= _MAX_ADDRESS
        and len(news.claim) <= _MAX_CLAIM
    )


def beats(news: Peer, known: Peer) -> bool:
    """Say whether `news` replaces what is `known` of the same member: rule 1."""
    if news.incarnation != known.incarnation:
        return news.incarnation > known.incarnation
    return _RANK[news.status] > _RANK[known.status]


def _moved(peer: Peer, known: Peer) -> bool:
    return peer.address != known.address or peer.claim != known.claim
