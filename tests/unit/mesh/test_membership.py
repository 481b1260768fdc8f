"""SWIM in virtual time: a cluster of pure machines and a network that a test can break."""

import pytest

from cronos.mesh.membership import Changed, Membership, Send, Terms
from cronos.types import Ack, Now, Peer, PeerStatus, Ping, PingReq

STEP_NS = 10_000_000


class Cluster:
    """Members that talk through a queue; `cut` decides who cannot hear whom."""

    def __init__(self, names):
        self.boot_ns = 0
        self.members = {
            name: Membership(Peer(name, f"{name}:7443"), Terms(), seed)
            for seed, name in enumerate(names, 1)
        }
        self.down = set()
        self.cut = lambda _sender, _receiver: False
        self.changes = []
        for name, member in self.members.items():
            for other in names:
                if other != name:
                    member.join(Peer(other, f"{other}:7443"))

    def carry(self, sender, effects):
        for effect in effects:
            if isinstance(effect, Changed):
                self.changes.append((sender, effect))
            elif isinstance(effect, Send):
                to = effect.to
                if to in self.down or sender in self.down or self.cut(sender, to):
                    continue
                now = Now(self.boot_ns, 0)
                self.carry(to, self.members[to].receive(effect.message, now))

    def run(self, seconds):
        for _ in range(int(seconds * 1e9) // STEP_NS):
            self.boot_ns += STEP_NS
            for name, member in self.members.items():
                if name not in self.down:
                    self.carry(name, member.tick(Now(self.boot_ns, 0)))

    def status(self, observer, subject):
        return self.members[observer].peers[subject].status


def test_a_healthy_cluster_suspects_nobody():
    cluster = Cluster("abcd")

    cluster.run(20)

    assert all(change.peer.status is PeerStatus.ALIVE for _, change in cluster.changes)


def test_a_dead_member_is_buried_by_all_within_two_seconds():
    cluster = Cluster("abcd")
    cluster.run(1)
    cluster.down.add("d")

    cluster.run(2)

    assert [cluster.status(name, "d") for name in "abc"] == [PeerStatus.DEAD] * 3
    assert not any(change.unwitnessed for _, change in cluster.changes)


def test_a_lone_observer_buries_too_and_marks_it_unwitnessed():
    cluster = Cluster("ab")
    cluster.run(1)
    cluster.down.add("b")

    cluster.run(4)

    assert cluster.status("a", "b") is PeerStatus.DEAD
    assert cluster.changes[-1][1].unwitnessed


def test_one_accuser_among_many_buries_nobody():
    cluster = Cluster("abcd")
    # Only a cannot hear d, not even through others.
    cluster.cut = lambda sender, to: {sender, to} == {"a", "d"}
    a = cluster.members["a"]
    a._ask_others = lambda _sequence, _target: []
    cluster.run(10)

    assert cluster.status("b", "d") is not PeerStatus.DEAD
    assert cluster.status("c", "d") is not PeerStatus.DEAD


def test_others_are_asked_before_anyone_is_suspected():
    cluster = Cluster("abcd")
    cluster.cut = lambda sender, to: {sender, to} == {"a", "d"}

    cluster.run(10)

    assert cluster.status("a", "d") is PeerStatus.ALIVE


def test_a_suspect_that_lives_refutes_with_a_higher_incarnation():
    cluster = Cluster("abcd")
    d = cluster.members["d"]
    suspicion = Peer("d", "d:7443", 0, PeerStatus.SUSPECT)

    cluster.carry("a", d.receive(Ping(1, "a", (suspicion,)), Now(1, 0)))
    cluster.run(2)

    assert d.me.incarnation == 1
    assert cluster.status("b", "d") is PeerStatus.ALIVE
    assert cluster.members["b"].peers["d"].incarnation == 1


def test_a_member_that_comes_back_with_an_old_incarnation_stays_dead_until_it_refutes():
    cluster = Cluster("abcd")
    cluster.run(1)
    cluster.down.add("d")
    cluster.run(3)
    a = cluster.members["a"]
    a.receive(Ping(9, "d", (Peer("d", "d:7443", 0),)), Now(cluster.boot_ns, 0))
    assert a.peers["d"].status is PeerStatus.DEAD

    cluster.down.clear()
    cluster.run(3)

    assert cluster.members["d"].me.incarnation > 0
    assert a.peers["d"].status is PeerStatus.ALIVE


def test_a_liar_alone_kills_nobody():
    cluster = Cluster("abcd")
    lie = Peer("d", "d:7443", 0, PeerStatus.DEAD)
    for name in "bc":
        member = cluster.members[name]
        cluster.carry(name, member.receive(Ping(1, "a", (lie,)), Now(1, 0)))

    cluster.run(3)

    assert cluster.status("b", "d") is PeerStatus.ALIVE
    assert cluster.status("c", "d") is PeerStatus.ALIVE


def test_a_ping_req_is_carried_out_and_its_answer_relayed():
    b = Cluster("abcd").members["b"]

    (asked,) = [
        effect for effect in b.receive(PingReq(7, "a", "d"), Now(1, 0)) if isinstance(effect, Send)
    ]
    (relayed,) = [
        effect
        for effect in b.receive(Ack(asked.message.sequence, "d"), Now(2, 0))
        if isinstance(effect, Send)
    ]

    assert asked.to == "d"
    assert (relayed.to, relayed.message.sequence) == ("a", 7)


def test_a_sick_node_probes_more_slowly_and_recovers():
    cluster = Cluster("ab")
    cluster.down.add("b")
    cluster.run(3)
    sick = cluster.members["a"].health
    cluster.down.clear()
    cluster.run(20)

    assert sick > 0
    assert cluster.members["a"].health == 0


@pytest.mark.parametrize("count", [0, 1, 100])
def test_updates_beyond_the_limit_are_not_read(count):
    member = Membership(Peer("a", "a:1"), Terms(), 1)
    updates = tuple(Peer(f"x{n}", "x:1") for n in range(count))

    member.receive(Ping(1, "b", updates), Now(1, 0))

    assert len(member.peers) <= 16
