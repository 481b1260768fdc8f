"""A federation in virtual time: the real membership machines, a network that a test can break.

Everything follows from the seed: who is probed when, what is lost, what arrives when. A datagram
takes `delay_ns` and may be lost; a stream between two that want it loses nothing, takes the same
time, breaks at once when a process is killed, and says nothing while a network is cut. What happens
takes no time, unless it is told to: then all processes share a few processors, as on one machine.
"""

import heapq
from collections.abc import Callable, Iterable, Sequence
from itertools import pairwise
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from cronos.mesh.membership import Effect, Link, Membership, Send, Sync, Terms, Unlink
from cronos.mesh.overlay import Ring
from cronos.mesh.roster import Changed
from cronos.types import Now, Peer, PeerStatus, Ping

_RESET_NS: Final = 3_000_000
_REDIAL_NS: Final = 200_000_000

Told = Callable[[str, str, Peer], Peer]


class Change(msgspec.Struct, frozen=True):
    """Something that a member came to believe, and when."""

    at_ns: int
    observer: str
    peer: Peer
    unwitnessed: bool


class _Node:
    """A process: its machine, whom it wants a stream to, and what holds it up."""

    def __init__(self, machine: Membership) -> None:
        self.machine = machine
        self.wants: set[str] = set()
        self.paused_until_ns = 0
        self.stopped = False
        self.waiting: list[tuple[Any, ...]] = []
        self.ticking_ns = 0
        self.tick_waits = False


class Simulation:
    """The network and the clock.

    Args:
        seed: everything that is left to chance follows from it.
        terms: the protocol's timing.
        delay_ns: how long a datagram or a stream message takes.

    Attributes:
        loss: the share of datagrams that is lost, in thousandths.
        sent: datagrams sent, by their sender.
        changes: what the members came to believe, in order.
        lie: rewrites what a member tells of another: (teller, listener, update).
        slow_ns: by how much later a member gets everything, if it is slow.
        work_ns: processor time that each thing that happens to a member takes.
        free_ns: when each of the processors that all members share is free again.
    """

    def __init__(
        self, seed: int = 1, terms: Terms | None = None, delay_ns: int = 1_000_000
    ) -> None:
        self.terms = terms or Terms()
        self.loss = 0
        self.sent: dict[str, int] = {}
        self.changes: list[Change] = []
        self.lie: Told | None = None
        self.slow_ns: dict[str, int] = {}
        self.work_ns = 0
        self.free_ns = [0]
        self.boot_ns = 1_000_000_000
        self._delay_ns = delay_ns
        self._random = seed & 0xFFFFFFFF or 1
        self._nodes: dict[str, _Node] = {}
        self._events: list[tuple[int, int, tuple[Any, ...]]] = []
        self._order = 0
        self._islands: tuple[frozenset[str], ...] = ()
        self._cut: set[frozenset[str]] = set()
        self._streams: set[frozenset[str]] = set()

    # --- what a story tells ------------------------------------------------------------------

    @property
    def now(self) -> Now:
        """Give the virtual time."""
        return Now(self.boot_ns, 0)

    def names(self) -> tuple[str, ...]:
        """Give the processes that run, sorted."""
        return tuple(sorted(self._nodes))

    def member(self, name: str) -> Membership:
        """Give the machine of a process that runs."""
        return self._nodes[name].machine

    def start(self, name: str, seeds: Iterable[str] = (), incarnation: int = 0) -> None:
        """Start a process that dials its seeds."""
        me = Peer(name, f"{name}:7443", incarnation)
        machine = Membership(me, self.terms, self._draw(1 << 32) or 1)
        node = self._nodes[name] = _Node(machine)
        node.wants.update(seeds)
        self._tick_later(name, node, self.boot_ns + self._draw(self.terms.probe_ns))
        self._after(0, ("dial", name))

    def acquaint(self, names: Sequence[str]) -> None:
        """Start processes that all know and are linked to their neighbours, as after a long time.

        What a thousand such would tell one another at their first meeting is left out.
        """
        everyone = {name: Peer(name, f"{name}:7443") for name in names}
        ring = Ring()
        for name in names:
            self.start(name)
            ring.add(name)
        for name in names:
            roster = self.member(name).roster
            roster.peers.update(everyone)
            del roster.peers[name]
            roster.ring = ring.copy()
            self._streams.update(frozenset((name, other)) for other in ring.near(name))
            self._carry(name, self.member(name).regroup(self.boot_ns))

    def kill(self, name: str) -> None:
        """End a process at once: its streams are reset."""
        del self._nodes[name]
        for stream in sorted(self._streams, key=sorted):
            if name in stream:
                self._streams.discard(stream)
                (other,) = stream - {name}
                self._after(_RESET_NS, ("reset", other, name))

    def leave(self, name: str) -> None:
        """Let a process say that it goes, and go."""
        machine = self.member(name)
        self._carry(name, machine.restate(replace(machine.me, status=PeerStatus.LEFT), self.now))
        self._carry(name, machine.tick(Now(self.boot_ns + 1, 0)))
        self._after(5 * self._delay_ns, ("gone", name))

    def pause(self, name: str, for_ns: int) -> None:
        """Stop a process for a time, as SIGSTOP does; what arrives waits in its sockets."""
        self._nodes[name].paused_until_ns = self.boot_ns + for_ns
        self._after(for_ns, ("resume", name))

    def partition(self, *islands: frozenset[str]) -> None:
        """Cut the network between islands, silently; without any, heal it."""
        self._islands = islands
        for name in self.names():
            self._after(0, ("dial", name))

    def cut(self, one: str, other: str) -> None:
        """Cut the network between two members, silently."""
        self._cut.add(frozenset((one, other)))

    def run(self, for_ns: int) -> None:
        """Let virtual time pass."""
        until_ns = self.boot_ns + for_ns
        while self._events and self._events[0][0] <= until_ns:
            at_ns, _, event = heapq.heappop(self._events)
            self.boot_ns = max(self.boot_ns, at_ns)
            if self.work_ns and event[0] != "worked":
                self._work(event)
            else:
                self._happen(event[1:] if event[0] == "worked" else event)
        self.boot_ns = until_ns

    def status(self, observer: str, subject: str) -> str:
        """Say how `observer` sees `subject`; ``unknown`` where it does not."""
        peer = self.member(observer).peers.get(subject)
        return str(peer.status) if peer else "unknown"

    # --- what happens ------------------------------------------------------------------------

    def _work(self, event: tuple[Any, ...]) -> None:
        """Let what happens wait for the first processor that is free, and take its time there."""
        node = self._nodes.get(event[1])
        if node is None or (event[0] == "tick" and event[2] != node.ticking_ns):
            return
        node.tick_waits |= event[0] == "tick"
        first = self.free_ns.index(min(self.free_ns))
        self.free_ns[first] = max(self.boot_ns, self.free_ns[first]) + self.work_ns
        self._after(self.free_ns[first] - self.boot_ns, ("worked", *event))

    def _happen(self, event: tuple[Any, ...]) -> None:
        kind, name = event[0], event[1]
        node = self._nodes.get(name)
        if node is None:
            return
        if node.paused_until_ns > self.boot_ns:
            node.waiting.append(event)
            return
        match kind:
            case "tick":
                self._tick(name, node, event[2])
            case "message":
                self._carry(name, node.machine.receive(event[2], event[3], self.now))
            case "linked" | "reset":
                self._carry(name, node.machine.linked(event[2], kind == "linked", self.now))
            case "dial":
                self._dial(name, node)
            case "gone":
                self.kill(name)
            case _:
                self._resume(node)

    def _tick(self, name: str, node: _Node, due_ns: int) -> None:
        # Another is due sooner by now.
        if due_ns == node.ticking_ns:
            node.tick_waits = False
            self._carry(name, node.machine.tick(self.now))

    def _resume(self, node: _Node) -> None:
        waiting, node.waiting = node.waiting, []
        # What is due comes before what arrived: the order that accuses others soonest.
        for one in sorted(waiting, key=lambda each: each[0] != "tick"):
            self._happen(one)

    def _carry(self, name: str, effects: list[Effect]) -> None:
        node = self._nodes.get(name)
        if node is None:
            return
        for effect in effects:
            match effect:
                case Send(to, message, via):
                    self._send(name, to, message, via)
                case Changed(peer, unwitnessed):
                    self.changes.append(Change(self.boot_ns, name, peer, unwitnessed))
                case Link(peer):
                    node.wants.add(peer.instance)
                    self._dial(name, node)
                case Unlink(other):
                    self._hang_up(name, node, other)
                case Sync(to, updates):
                    self._stream(name, to, updates)
        self._tick_later(name, node, node.machine.due_ns())

    def _send(self, sender: str, to: str, message: Any, via: str) -> None:
        """Send a datagram, by way of a helper where there is one, who must get it too."""
        self.sent[sender] = self.sent.get(sender, 0) + 1
        told = replace(message, updates=self._told(sender, to, message.updates))
        hops = [sender, via, to] if via else [sender, to]
        for one, other in pairwise(hops):
            if other not in self._nodes or not self._reaches(one, other) or self._is_lost():
                return
        late_ns = sum(self.slow_ns.get(hop, 0) for hop in hops[1:])
        self._after(self._delay_ns * (len(hops) - 1) + late_ns, ("message", to, sender, told))

    def _told(self, sender: str, to: str, updates: Sequence[Peer]) -> tuple[Peer, ...]:
        if self.lie is None:
            return tuple(updates)
        return tuple(self.lie(sender, to, update) for update in updates)

    def _dial(self, name: str, node: _Node) -> None:
        again = False
        for other in sorted(node.wants):
            pair = frozenset((name, other))
            if pair in self._streams or other == name:
                continue
            if other not in self._nodes or not self._reaches(name, other):
                again = True
                continue
            self._streams.add(pair)
            self._after(2 * self._delay_ns, ("linked", name, other))
            self._after(2 * self._delay_ns, ("linked", other, name))
        if again:
            self._after(_REDIAL_NS + self._draw(_REDIAL_NS), ("dial", name))

    def _stream(self, name: str, to: str, updates: Sequence[Peer]) -> None:
        if frozenset((name, to)) in self._streams and self._reaches(name, to):
            message = Ping(0, name, self._told(name, to, updates))
            self._after(self._delay_ns, ("message", to, name, message))

    def _hang_up(self, name: str, node: _Node, other: str) -> None:
        node.wants.discard(other)
        end = self._nodes.get(other)
        if end is None or name not in end.wants:
            self._streams.discard(frozenset((name, other)))

    def _reaches(self, one: str, other: str) -> bool:
        together = not self._islands or any(one in isle and other in isle for isle in self._islands)
        return together and frozenset((one, other)) not in self._cut

    def _is_lost(self) -> bool:
        return self.loss > 0 and self._draw(1000) < self.loss

    def _tick_later(self, name: str, node: _Node, due_ns: int) -> None:
        due_ns = max(due_ns, self.boot_ns + 1)
        if node.tick_waits:
            return
        if node.ticking_ns <= self.boot_ns or due_ns < node.ticking_ns:
            node.ticking_ns = due_ns
            self._after(due_ns - self.boot_ns, ("tick", name, due_ns))

    def _after(self, delay_ns: int, event: tuple[Any, ...]) -> None:
        self._order += 1
        heapq.heappush(self._events, (self.boot_ns + delay_ns, self._order, event))

    def _draw(self, below: int) -> int:
        x = self._random
        x ^= (x << 13) & 0xFFFFFFFF
        x ^= x >> 17
        x ^= (x << 5) & 0xFFFFFFFF
        self._random = x
        return x % below
