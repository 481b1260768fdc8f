"""SWIM membership with suspicion, incarnations and local health, as a pure machine.

Rule 1: a higher incarnation beats a lower one; at the same incarnation dead beats suspect beats
alive. Rule 2: only a member itself raises its incarnation, to refute a suspicion. Rule 3: a
member that does not answer a probe, nor through others, is suspected; a suspect that does not
refute in time is dead, once min(2, live observers) independent members accuse it.

Source: Das, Gupta, Motivala, "SWIM" (DSN 2002); Dadgar, Phillips, Currey, "Lifeguard" (2017).
"""

from typing import Final, TypeAlias

import msgspec
from msgspec.structs import replace

from cronos.types import Ack, Now, Peer, PeerStatus, Ping, PingReq

_RANK: Final = {
    PeerStatus.ALIVE: 0,
    PeerStatus.SUSPECT: 1,
    PeerStatus.DEAD: 2,
    PeerStatus.LEFT: 3,
}
_GONE: Final = frozenset({PeerStatus.DEAD, PeerStatus.LEFT})
MAX_HEALTH: Final = 8
MAX_UPDATES: Final = 16

Message: TypeAlias = Ping | PingReq | Ack


class Terms(msgspec.Struct, frozen=True):
    """Timing of the protocol; intervals stretch with the node's own bad health."""

    probe_ns: int = 200_000_000
    timeout_ns: int = 80_000_000
    suspicion_ns: int = 600_000_000
    indirect_probes: int = 2


class Send(msgspec.Struct, frozen=True):
    """Effect: send a message to a member."""

    to: str
    message: Message


class Changed(msgspec.Struct, frozen=True):
    """Effect: what is known of a member changed; `unwitnessed` marks a lone verdict of death."""

    peer: Peer
    unwitnessed: bool = False


class Probe(msgspec.Struct):
    """A ping on its way: to whom, since when, and whether others were asked already."""

    target: str
    sent_ns: int
    indirect: bool = False


class Membership:
    """What one node knows of the others.

    Args:
        me: this node, as its peers shall see it.
        terms: the protocol's timing.
        seed: begins the order in which members are probed; part of the state, so that a run
            can be replayed.
    """

    def __init__(self, me: Peer, terms: Terms, seed: int) -> None:
        self.me = me
        self.peers: dict[str, Peer] = {}
        self.health = 0
        self._terms = terms
        self._random = seed & 0xFFFFFFFF or 1
        self._sequence = 0
        self._probes: dict[int, Probe] = {}
        self._relayed: dict[int, tuple[str, int]] = {}
        self._suspected_ns: dict[str, int] = {}
        self._accusers: dict[str, set[str]] = {}
        self._order: list[str] = []
        self._next_probe_ns = 0

    def alive(self) -> tuple[str, ...]:
        """Give the members that are not known to be gone, sorted."""
        return tuple(sorted(n for n, p in self.peers.items() if p.status not in _GONE))

    def join(self, peer: Peer) -> list[Send | Changed]:
        """Take a member from the seeds."""
        return self._learn(peer, "", 0)

    def receive(self, message: Message, now: Now) -> list[Send | Changed]:
        """Take a message from a member."""
        effects: list[Send | Changed] = []
        for update in message.updates[:MAX_UPDATES]:
            effects += self._learn(update, message.sender, now.boot_ns)
        match message:
            case Ping():
                effects.append(self._answer(message.sender, message.sequence))
            case PingReq():
                self._sequence += 1
                self._relayed[self._sequence] = (message.sender, message.sequence)
                while len(self._relayed) > 1024:
                    del self._relayed[next(iter(self._relayed))]
                ping = Ping(self._sequence, self.me.instance, self._gossip())
                effects.append(Send(message.target, ping))
            case Ack():
                effects += self._acknowledged(message)
        return effects

    def tick(self, now: Now) -> list[Send | Changed]:
        """Do what is due: probe the next member, ask others, declare suspects dead."""
        effects = self._overdue(now.boot_ns)
        effects += self._bury(now.boot_ns)
        if now.boot_ns >= self._next_probe_ns:
            self._next_probe_ns = now.boot_ns + self._terms.probe_ns * (1 + self.health)
            effects += self._probe(now.boot_ns)
        return effects

    # --- probing -----------------------------------------------------------------------------

    def _probe(self, boot_ns: int) -> list[Send | Changed]:
        # Suspects are probed again at once, so that they can refute.
        targets = [name for name in self.alive() if name in self._suspected_ns]
        following = self._next_target()
        if following and following not in targets:
            targets.append(following)
        effects: list[Send | Changed] = []
        for target in targets:
            self._sequence += 1
            self._probes[self._sequence] = Probe(target, boot_ns)
            ping = Ping(self._sequence, self.me.instance, self._gossip(target))
            effects.append(Send(target, ping))
        return effects

    def _next_target(self) -> str:
        """Go round all members in an order shuffled anew each round: bounded time to notice."""
        while True:
            if not self._order:
                self._order = list(self.alive())
                for i in range(len(self._order) - 1, 0, -1):
                    j = self._draw(i + 1)
                    self._order[i], self._order[j] = self._order[j], self._order[i]
            if not self._order:
                return ""
            name = self._order.pop()
            if name in self.peers and self.peers[name].status not in _GONE:
                return name

    def _overdue(self, boot_ns: int) -> list[Send | Changed]:
        effects: list[Send | Changed] = []
        timeout_ns = self._terms.timeout_ns * (1 + self.health)
        for sequence, probe in list(self._probes.items()):
            waited_ns = boot_ns - probe.sent_ns
            if not probe.indirect and waited_ns >= timeout_ns:
                probe.indirect = True
                effects += self._ask_others(sequence, probe.target)
            if waited_ns >= 2 * timeout_ns:
                del self._probes[sequence]
                self.health = min(MAX_HEALTH, self.health + 1)
                effects += self._suspect(probe.target, boot_ns)
        return effects

    def _ask_others(self, sequence: int, target: str) -> list[Send | Changed]:
        others = [name for name in self.alive() if name != target]
        effects: list[Send | Changed] = []
        for _ in range(min(self._terms.indirect_probes, len(others))):
            helper = others.pop(self._draw(len(others)))
            request = PingReq(sequence, self.me.instance, target, self._gossip())
            effects.append(Send(helper, request))
        return effects

    def _answer(self, to: str, sequence: int) -> Send:
        return Send(to, Ack(sequence, self.me.instance, self._gossip(to)))

    def _acknowledged(self, ack: Ack) -> list[Send | Changed]:
        relayed = self._relayed.pop(ack.sequence, None)
        if relayed is not None:
            return [self._answer(*relayed)]
        if self._probes.pop(ack.sequence, None) is not None:
            self.health = max(0, self.health - 1)
        return []

    # --- knowledge ---------------------------------------------------------------------------

    def _learn(self, news: Peer, sender: str, boot_ns: int) -> list[Send | Changed]:
        if news.instance == self.me.instance:
            return self._refute(news)
        known = self.peers.get(news.instance)
        if news.status is PeerStatus.SUSPECT and sender:
            self._accusers.setdefault(news.instance, set()).add(sender)
        if known is not None and not _beats(news, known):
            return []
        if news.status is PeerStatus.DEAD and known is not None and known.status not in _GONE:
            # Another's verdict is an accusation here; this node buries when enough accuse.
            self._accusers.setdefault(news.instance, set()).add(sender)
            return self._suspect(news.instance, boot_ns)
        return self._set(news, boot_ns)

    def _refute(self, news: Peer) -> list[Send | Changed]:
        if news.status is PeerStatus.ALIVE or news.incarnation < self.me.incarnation:
            return []
        self.me = replace(self.me, incarnation=news.incarnation + 1)
        self.health = min(MAX_HEALTH, self.health + 1)
        return [Changed(self.me)]

    def _suspect(self, name: str, boot_ns: int) -> list[Send | Changed]:
        peer = self.peers.get(name)
        if peer is None or peer.status is not PeerStatus.ALIVE:
            return []
        self._accusers.setdefault(name, set()).add(self.me.instance)
        return self._set(replace(peer, status=PeerStatus.SUSPECT), boot_ns)

    def _bury(self, boot_ns: int) -> list[Send | Changed]:
        effects: list[Send | Changed] = []
        patience_ns = self._terms.suspicion_ns * (2 + self.health) // 2
        for name, since_ns in list(self._suspected_ns.items()):
            if boot_ns - since_ns < patience_ns:
                continue
            observers = len(self.alive())  # the suspect left out, this node counted
            accusers = len(self._accusers.get(name, ()))
            if accusers >= min(2, observers):
                dead = replace(self.peers[name], status=PeerStatus.DEAD)
                effects += self._set(dead, boot_ns, unwitnessed=accusers < 2)
        return effects

    def _set(self, peer: Peer, boot_ns: int, unwitnessed: bool = False) -> list[Send | Changed]:
        name = peer.instance
        self.peers[name] = peer
        if peer.status is PeerStatus.SUSPECT:
            self._suspected_ns.setdefault(name, boot_ns)
        else:
            self._suspected_ns.pop(name, None)
            self._accusers.pop(name, None)
        return [Changed(peer, unwitnessed)]

    def _gossip(self, to: str = "") -> tuple[Peer, ...]:
        """Tell of this node, of `to` itself (so that it can refute), and of troubled members."""
        told = [self.me]
        if to in self.peers:
            told.append(self.peers[to])
        others = [peer for name, peer in sorted(self.peers.items()) if name != to]
        others.sort(key=lambda peer: peer.status is PeerStatus.ALIVE)
        room = MAX_UPDATES - len(told)
        troubled = [peer for peer in others if peer.status is not PeerStatus.ALIVE][:room]
        rest = others[len(troubled) :]
        while rest and len(troubled) < room:
            troubled.append(rest.pop(self._draw(len(rest))))
        return (*told, *troubled)

    def _draw(self, below: int) -> int:
        """Give the next number of a xorshift32 generator: even enough to spread probes."""
        x = self._random
        x ^= (x << 13) & 0xFFFFFFFF
        x ^= x >> 17
        x ^= (x << 5) & 0xFFFFFFFF
        self._random = x
        return x % below


def _beats(news: Peer, known: Peer) -> bool:
    if news.incarnation != known.incarnation:
        return news.incarnation > known.incarnation
    return _RANK[news.status] > _RANK[known.status]
