"""SWIM membership with suspicion, incarnations and local health, as a pure machine.

Every neighbour is probed in turn: pinged, pinged again at half the timeout, then also through
others, who pass the sealed ping on unopened. Who answers none of them is accused; who is accused by
enough and does not refute in time is dead (`roster` has what is believed on whose word). Others
hear of it on the pings that go out anyway, and at once by a ping of their own.

A node that is itself slow accuses nobody: time that it lost counts for nobody, and its timeouts
stretch with its own bad health, which is how late it runs and how little it hears.

Source: Das, Gupta, Motivala, "SWIM" (DSN 2002); Dadgar, Phillips, Currey, "Lifeguard" (2017).
"""

from typing import Final, TypeAlias

import msgspec
from msgspec.structs import replace

from cronos.mesh.gossip import MAX_UPDATES, Carried, Gossip
from cronos.mesh.overlay import FULL_MESH
from cronos.mesh.roster import GONE, MAX_EXCUSES, Changed, Meet, News, Roster
from cronos.types import Ack, Now, Peer, PeerStatus, Ping

# How far timeouts and intervals stretch, in halves, by a node's bad health: gently at first, since
# a slow moment is common; then ever faster, or many slow nodes on one machine would only add to
# what makes them slow.
_STRETCH: Final = (2, 3, 4, 6, 8, 12, 16, 24, 32)
MAX_HEALTH: Final = len(_STRETCH) - 1
# More come at once over a stream, when two nodes compare what they know.
MAX_SYNC: Final = 256
_MAX_REVIVED: Final = 64
# Whom one member alone speaks of is dialled for so long; of each who tells, and in all, so many.
_MET_NS: Final = 30_000_000_000
_MAX_MET: Final = 64
_MAX_PROBES: Final = 1024
# How long a stream is kept that no neighbour is at the end of any more, and how many of them.
_PARTING_NS: Final = 10_000_000_000
_MAX_PARTING: Final = 32
# How often a neighbour is asked for all it knows, longer with the members there are: news that was
# lost for good, because nobody had time for it, is found so. Nobody is told everything more often.
_COMPARE_NS: Final = 10_000_000_000
_COMPARED_AT_ONCE: Final = 64
_COMPARE_LEAST_NS: Final = 5_000_000_000

Message: TypeAlias = Ping | Ack


class Terms(msgspec.Struct, frozen=True):
    """Timing of the protocol; timeouts and intervals stretch with the node's own bad health."""

    probe_ns: int = 200_000_000
    timeout_ns: int = 80_000_000
    suspicion_ns: int = 600_000_000
    push_ns: int = 50_000_000
    tomb_ns: int = 3_600_000_000_000
    indirect_probes: int = 2
    at_once: int = 3


class Send(msgspec.Struct, frozen=True):
    """Effect: send a message to a member; through another one where `via` is not empty."""

    to: str
    message: Message
    via: str = ""


class Link(msgspec.Struct, frozen=True):
    """Effect: keep a stream to this member from now on."""

    peer: Peer


class Unlink(msgspec.Struct, frozen=True):
    """Effect: the stream to this member is not needed any more."""

    name: str


class Sync(msgspec.Struct, frozen=True):
    """Effect: tell a member over the stream all that is known."""

    to: str
    updates: tuple[Peer, ...]


Effect: TypeAlias = Send | Changed | Link | Unlink | Sync


class Probe(msgspec.Struct):
    """A ping on its way: to whom, since when, what it told, and how often it was sent."""

    target: str
    sent_ns: int
    message: Ping
    carried: Carried
    tries: int = 1
    excused: int = 0


class Membership:
    """What one node knows of the others.

    Args:
        me: this node, as its peers shall see it.
        terms: the protocol's timing.
        seed: begins the order in which members are probed; part of the state, so that a run
            can be replayed.
    """

    def __init__(self, me: Peer, terms: Terms, seed: int) -> None:
        self.roster = Roster(me)
        self.health = 0
        self.rtt_ns: dict[str, int] = {}
        self._terms = terms
        self._random = seed & 0xFFFFFFFF or 1
        self._gossip = Gossip(self.roster.told)
        self._near: tuple[str, ...] = ()
        self._met: dict[str, tuple[str, int]] = {}
        self._gone: dict[str, None] = {}
        self._tombs: dict[str, int] = {}
        self._parting: dict[str, int] = {}
        self._sequence = 0
        self._probes: dict[int, Probe] = {}
        self._late: dict[int, Probe] = {}
        self._order: list[str] = []
        self._revive: list[str] = []
        self._next_probe_ns = 0
        self._push_ns = 0
        self._pushed_ns = 0
        self._expected_ns = 0
        self._lively_ns = 0
        self._ailing_ns = 0
        self._compare_ns = 0
        self._told_ns: dict[str, int] = {}

    @property
    def me(self) -> Peer:
        """This node, as its peers see it."""
        return self.roster.me

    @property
    def peers(self) -> dict[str, Peer]:
        """Every other member that is known, the dead ones too."""
        return self.roster.peers

    def alive(self) -> tuple[str, ...]:
        """Give the members that are not known to be gone, sorted."""
        return self.roster.alive()

    def near(self) -> tuple[str, ...]:
        """Give the neighbours: those that this node links to and probes, sorted."""
        return self._near

    def due_ns(self) -> int:
        """Say when `tick` is to be called next, by boot time."""
        due_ns = self._next_probe_ns
        if self._push_ns:
            due_ns = min(due_ns, self._push_ns)
        if self._probes or self.roster.suspects():
            due_ns = min(due_ns, self._expected_ns or due_ns)
        return due_ns

    # --- events ------------------------------------------------------------------------------

    def join(self, peer: Peer, now: Now) -> list[Effect]:
        """Take a member on the operator's word."""
        return self._news(self.roster.admit(peer), now)

    def restate(self, me: Peer, now: Now) -> list[Effect]:
        """Say something new of this node: its address, its roles, or that it leaves."""
        mine = replace(me, incarnation=self.me.incarnation)
        self.roster.me = mine
        effects = self._news([Changed(mine)], now)
        self._push_ns = now.boot_ns
        return effects

    def grant(self, name: str, roles: tuple[str, ...]) -> list[Effect]:
        """Take the roles of a member from its verified card."""
        peer = self.peers.get(name)
        if peer is None or peer.roles == roles:
            return []
        self.peers[name] = replace(peer, roles=roles)
        return [Changed(self.peers[name])]

    def linked(self, name: str, up: bool, now: Now) -> list[Effect]:
        """Hear of a stream: a new one is used to compare notes, a broken one is a hint."""
        if not up:
            # A probe at once, instead of waiting for its turn.
            return self._probe(name, now.boot_ns) if self.roster.is_alive(name) else []
        return self._everything(name)

    def _everything(self, name: str) -> list[Effect]:
        everyone = sorted(self.peers)
        told = [self.roster.told(one) for one in (self.me.instance, *everyone)]
        parts = [told[at : at + MAX_SYNC] for at in range(0, len(told), MAX_SYNC)]
        return [Sync(name, tuple(part)) for part in parts]

    def _compare(self, boot_ns: int) -> list[Effect]:
        """Ask a neighbour for all it knows, another each time, by telling it of this node alone."""
        if boot_ns < self._compare_ns or not self._near:
            return []
        first = not self._compare_ns
        pause_ns = self._stretched(_COMPARE_NS) * (1 + len(self.peers) // _COMPARED_AT_ONCE)
        self._compare_ns = boot_ns + pause_ns // 2 + self._draw(pause_ns)
        if first:
            return []
        return [
            Sync(self._near[self._draw(len(self._near))], (self.roster.told(self.me.instance),))
        ]

    def _asked(self, sender: str, message: Ping, boot_ns: int) -> list[Effect]:
        """Tell everything to one that spoke of itself alone by stream, unless it just was."""
        alone = [update.instance for update in message.updates] == [sender]
        if not alone or boot_ns - self._told_ns.get(sender, -_COMPARE_LEAST_NS) < _COMPARE_LEAST_NS:
            return []
        self._told_ns.pop(sender, None)
        self._told_ns[sender] = boot_ns
        while len(self._told_ns) > _MAX_REVIVED:
            del self._told_ns[next(iter(self._told_ns))]
        return self._everything(sender)

    def receive(self, sender: str, message: Message, now: Now) -> list[Effect]:
        """Take a message from a peer that is who it says it is."""
        boot_ns = now.boot_ns
        self._lively_ns = boot_ns
        most = MAX_UPDATES if message.sequence else MAX_SYNC
        news: list[News] = []
        for update in message.updates[:most]:
            news += self.roster.learn(update, sender, boot_ns)
        news += self.roster.hear(sender, boot_ns)
        effects = self._news(news, now)
        match message:
            case Ping(sequence=0):
                effects += self._asked(sender, message, boot_ns)
            case Ping():
                updates, _ = self._gossip.pick(sender, self._first(sender))
                effects.append(Send(sender, Ack(message.sequence, self.me.instance, updates)))
            case Ack():
                self._acknowledged(message, sender, boot_ns)
        return effects

    def tick(self, now: Now) -> list[Effect]:
        """Do what is due: probe, ask others, declare suspects dead, tell what is new."""
        boot_ns = now.boot_ns
        self._excuse(boot_ns)
        effects = self._overdue(boot_ns, now)
        effects += self._news(self.roster.bury(boot_ns, self._patience_ns()), now)
        if boot_ns >= self._next_probe_ns:
            self._next_probe_ns = boot_ns + self._stretched(self._terms.probe_ns)
            effects += self._round(boot_ns)
            effects += self._tidy(boot_ns)
            effects += self._compare(boot_ns)
        if self._push_ns and boot_ns >= self._push_ns:
            self._push_ns = 0
            self._pushed_ns = boot_ns
            # Who has yet to answer gets more when it has: so news goes as fast as it is taken.
            asked = self._asked_now()
            for name in self._near:
                if name not in asked and self._gossip.waits(name):
                    effects += self._probe(name, boot_ns)
        self._expected_ns = boot_ns + self._timeout_ns() // 4
        return effects

    def regroup(self, boot_ns: int) -> list[Effect]:
        """Follow the ring: link to whoever is a neighbour now, leave whoever is none."""
        near = self.roster.ring.near(self.me.instance)
        settled = [name for name in self._met if name in self.peers]
        for name in settled:
            del self._met[name]
        if near == self._near and not settled:
            return []
        before, self._near = self._near, near
        self._gossip.follow(near)
        effects: list[Effect] = [Link(self.peers[name]) for name in near if name not in before]
        for name in near:
            self._parting.pop(name, None)
        for name in (*before, *settled):
            if name not in near:
                self._parting.setdefault(name, boot_ns + _PARTING_NS)
        return effects + self._part(boot_ns)

    def _part(self, boot_ns: int) -> list[Effect]:
        """Let streams go that have not been needed for a while, and the oldest where they are many.

        While members come and go the ring turns back and forth, and each new stream costs its
        handshake at both ends.
        """
        effects: list[Effect] = []
        for name, until_ns in list(self._parting.items()):
            if until_ns > boot_ns and len(self._parting) <= _MAX_PARTING:
                break
            del self._parting[name]
            if name not in self._near and name not in self._gone and name not in self._met:
                effects.append(Unlink(name))
        return effects

    # --- probing -----------------------------------------------------------------------------

    def _timeout_ns(self) -> int:
        return self._stretched(self._terms.timeout_ns)

    def _patience_ns(self) -> int:
        return self._terms.suspicion_ns * (6 + _STRETCH[self.health]) // 8

    def _stretched(self, span_ns: int) -> int:
        return span_ns * _STRETCH[self.health] // 2

    def _excuse(self, boot_ns: int) -> None:
        """Lay time that this node lost to nobody's charge but its own."""
        late_ns = boot_ns - max(self.due_ns(), self._expected_ns) if self._expected_ns else 0
        if late_ns <= self._terms.timeout_ns // 2:
            return
        self.health = min(MAX_HEALTH, self.health + 1)
        for probe in self._probes.values():
            if probe.excused < MAX_EXCUSES:
                probe.excused += 1
                probe.sent_ns += late_ns
        self.roster.excuse(late_ns)

    def _round(self, boot_ns: int) -> list[Effect]:
        # Suspects are probed each time, so that they can refute.
        targets = [name for name in self.roster.suspects() if name in self._near]
        asked = self._asked_now()
        for _ in range(min(self._terms.at_once, len(self._near))):
            following = self._next_target()
            if following and following not in targets and following not in asked:
                targets.append(following)
        if revived := self._next_revived():
            targets.append(revived)
        return [effect for name in targets for effect in self._probe(name, boot_ns)]

    def _probe(self, target: str, boot_ns: int) -> list[Effect]:
        self._sequence += 1
        updates, carried = self._gossip.pick(target, self._first(target))
        message = Ping(self._sequence, self.me.instance, updates)
        if len(self._probes) < _MAX_PROBES:
            self._probes[self._sequence] = Probe(target, boot_ns, message, carried)
        return [Send(target, message)]

    def _asked_now(self) -> set[str]:
        return {probe.target for probe in self._probes.values()}

    def _first(self, to: str) -> list[str]:
        """Name what everyone is told each time: of this node, and of `to` where it may refute."""
        troubled = to in self.peers and self.peers[to].status is not PeerStatus.ALIVE
        return [self.me.instance, to] if troubled else [self.me.instance]

    def _next_target(self) -> str:
        """Go round all neighbours in an order shuffled anew each round: bounded time to notice."""
        if not self._order:
            self._order = list(self._near)
            for i in range(len(self._order) - 1, 0, -1):
                j = self._draw(i + 1)
                self._order[i], self._order[j] = self._order[j], self._order[i]
        while self._order:
            name = self._order.pop()
            if name in self._near:
                return name
        return ""

    def _next_revived(self) -> str:
        """Ask the dead, one at a time: after a partition somebody has to begin."""
        if not self._revive:
            self._revive = list(self._gone)
        while self._revive:
            name = self._revive.pop()
            if name in self._gone:
                return name
        return ""

    def _overdue(self, boot_ns: int, now: Now) -> list[Effect]:
        effects: list[Effect] = []
        timeout_ns = self._timeout_ns()
        for sequence, probe in list(self._probes.items()):
            waited_ns = boot_ns - probe.sent_ns
            if probe.tries == 1 and waited_ns >= timeout_ns // 2:
                probe.tries = 2
                effects.append(Send(probe.target, probe.message))
            if probe.tries == 2 and waited_ns >= timeout_ns:
                probe.tries = 3
                effects += self._ask_others(probe)
            if waited_ns >= 2 * timeout_ns:
                del self._probes[sequence]
                self._late[sequence] = probe
                while len(self._late) > _MAX_PROBES:
                    del self._late[next(iter(self._late))]
                effects += self._failed(probe, now)
        return effects

    def _ask_others(self, probe: Probe) -> list[Effect]:
        others = [name for name in self._near if name != probe.target]
        effects: list[Effect] = [Send(probe.target, probe.message)]
        for _ in range(min(self._terms.indirect_probes, len(others))):
            helper = others.pop(self._draw(len(others)))
            effects.append(Send(probe.target, probe.message, helper))
        return effects

    def _failed(self, probe: Probe, now: Now) -> list[Effect]:
        if not self.roster.is_alive(probe.target):
            return []
        # Nobody at all was heard meanwhile: the fault may well be this node's own. Once a round.
        if self._lively_ns < probe.sent_ns and now.boot_ns >= self._ailing_ns:
            self._ailing_ns = now.boot_ns + self._terms.probe_ns
            self.health = min(MAX_HEALTH, self.health + 1)
        if self.roster.heard_ns(probe.target) >= probe.sent_ns:
            return []
        return self._news(self.roster.suspect(probe.target, now.boot_ns, self.me.instance), now)

    def _acknowledged(self, ack: Ack, sender: str, boot_ns: int) -> None:
        probe = self._probes.get(ack.sequence) or self._late.get(ack.sequence)
        if probe is None or probe.target != sender:
            return
        self._late.pop(ack.sequence, None)
        in_time = self._probes.pop(ack.sequence, None) is not None
        self._gossip.acknowledged(sender, probe.carried)
        if self._gossip.waits(sender):
            self._push_soon(boot_ns)
        if in_time and probe.tries == 1:
            self.health = max(0, self.health - 1)
            self.rtt_ns[sender] = boot_ns - probe.sent_ns

    # --- news --------------------------------------------------------------------------------

    def _news(self, news: list[News], now: Now) -> list[Effect]:
        effects: list[Effect] = []
        for one in news:
            match one:
                case Meet():
                    effects += self._meet(one, now.boot_ns)
                case Changed(peer):
                    effects.append(one)
                    self._take(peer, now.boot_ns)
        if any(isinstance(one, Changed) for one in news):
            effects += self.regroup(now.boot_ns)
        return effects

    def _take(self, peer: Peer, boot_ns: int) -> None:
        """Note a change for all neighbours, and whether its subject is gone."""
        name = peer.instance
        self._gossip.changed(name)
        self._push_soon(boot_ns)
        if name == self.me.instance:
            return
        if peer.status not in GONE:
            self._gone.pop(name, None)
            self._tombs.pop(name, None)
            return
        self._tombs.setdefault(name, boot_ns)
        if peer.status is PeerStatus.DEAD and name in self._near:
            self._gone[name] = None
            while len(self._gone) > _MAX_REVIVED:
                del self._gone[next(iter(self._gone))]

    def _push_soon(self, boot_ns: int) -> None:
        if not self._push_ns:
            pause_ns = self._stretched(self._terms.push_ns)
            self._push_ns = max(boot_ns + 1, self._pushed_ns + pause_ns)

    def _meet(self, meet: Meet, boot_ns: int) -> list[Effect]:
        """Dial whom only one member speaks of: for those who know few, to hear of the others."""
        of_it = sum(sender == meet.sender for sender, _ in self._met.values())
        full = len(self._met) >= _MAX_MET or of_it >= MAX_UPDATES
        if full or len(self.roster.ring) > FULL_MESH:
            return []
        self._met[meet.peer.instance] = (meet.sender, boot_ns)
        return [Link(meet.peer)]

    def _unmet(self, boot_ns: int) -> list[Effect]:
        """Give up whom nobody found: or one who makes members up would keep newcomers away."""
        late = [name for name, (_, since) in self._met.items() if boot_ns - since >= _MET_NS]
        for name in late:
            del self._met[name]
        lost = [name for name in late if name not in self.peers]
        for name in lost:
            self.roster.forget(name)
        return [Unlink(name) for name in lost]

    def _tidy(self, boot_ns: int) -> list[Effect]:
        """Let go of those that have been gone for very long."""
        effects = self._unmet(boot_ns) + self._part(boot_ns)
        for name, since_ns in list(self._tombs.items()):
            if boot_ns - since_ns < self._terms.tomb_ns:
                break
            del self._tombs[name]
            self._gone.pop(name, None)
            self.roster.forget(name)
            self.rtt_ns.pop(name, None)
            self._gossip.drop(name)
            effects.append(Unlink(name))
        return effects

    def _draw(self, below: int) -> int:
        """Give the next number of a xorshift32 generator: even enough to spread probes."""
        x = self._random
        x ^= (x << 13) & 0xFFFFFFFF
        x ^= x >> 17
        x ^= (x << 5) & 0xFFFFFFFF
        self._random = x
        return x % below
