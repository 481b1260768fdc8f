"""The membership machine: probing, local health and news, one machine at a time."""

import pytest

from cronos.mesh.membership import (
    MAX_HEALTH,
    Changed,
    Link,
    Membership,
    Send,
    Sync,
    Terms,
    Unlink,
)
from cronos.mesh.overlay import FULL_MESH
from cronos.mesh.simulation import Simulation
from cronos.types import Ack, Now, Peer, PeerStatus, Ping

SECOND = 1_000_000_000


def peer(name, **more):
    return Peer(name, f"{name}:7443", **more)


def at(seconds):
    return Now(int(seconds * SECOND), 0)


def machine(*others, terms=None):
    made = Membership(peer("a"), terms or Terms(), 1)
    for name in others:
        made.join(peer(name), at(1))
    return made


def pings(effects, to=None):
    return [
        one
        for one in effects
        if isinstance(one, Send) and isinstance(one.message, Ping) and to in (None, one.to)
    ]


def run(member, start, stop, answer=()):
    """Tick from `start` to `stop` as the machine asks to; those in `answer` acknowledge."""
    effects = []
    now_ns = int(start * SECOND)
    while now_ns <= stop * SECOND:
        done = member.tick(Now(now_ns, 0))
        effects += done
        for one in pings(done):
            if one.to in answer and not one.via:
                ack = Ack(one.message.sequence, one.to, (peer(one.to),))
                effects += member.receive(one.to, ack, Now(now_ns, 0))
        now_ns = max(member.due_ns(), now_ns + 1_000_000)
    return effects


def test_all_neighbours_are_probed_and_those_that_answer_are_not_accused():
    member = machine("b", "c", "d")

    effects = run(member, 1, 10, answer="bcd")

    assert {one.to for one in pings(effects)} == {"b", "c", "d"}
    assert all(one.peer.status is PeerStatus.ALIVE for one in effects if isinstance(one, Changed))


def test_a_silent_neighbour_is_pinged_again_then_through_others_then_suspected():
    member = machine("b", "c", "d")

    effects = run(member, 1, 1.3, answer="bc")

    to_d = [one.via for one in pings(effects, "d")]
    assert to_d[:3] == ["", "", ""]
    assert set(to_d[3:5]) == {"b", "c"}
    (suspected,) = {one.peer.instance for one in effects if suspicious(one)}
    assert suspected == "d"


def suspicious(effect):
    return isinstance(effect, Changed) and effect.peer.status is PeerStatus.SUSPECT


def test_one_accuser_among_many_buries_nobody():
    world = Simulation(terms=Terms(indirect_probes=0))
    world.acquaint("abcd")
    world.cut("a", "d")

    world.run(20 * SECOND)

    assert any(one.observer == "a" and one.peer.instance == "d" for one in world.changes)
    assert [one for one in world.changes if one.peer.status is PeerStatus.DEAD] == []


def test_hearsay_accuses_nobody():
    member = machine("b", "c", "d")
    told = peer("d", status=PeerStatus.SUSPECT)

    member.receive("b", Ping(1, "b", (told,)), at(1))
    member.receive("c", Ping(1, "c", (told,)), at(1))
    effects = member.roster.bury(9 * SECOND, 1)

    assert effects == []


def test_independent_accusers_bury_and_who_takes_its_word_back_accuses_no_more():
    told = peer("d", status=PeerStatus.SUSPECT, firsthand=True)
    member = machine("b", "c", "d")
    for name in "bc":
        member.receive(name, Ping(1, name, (told,)), at(1))
    other = machine("b", "c", "d")
    for name in "bc":
        other.receive(name, Ping(1, name, (told,)), at(1))
    other.receive("c", Ping(2, "c", (peer("d", status=PeerStatus.SUSPECT),)), at(1))

    (buried,) = member.roster.bury(2 * SECOND, SECOND // 2)

    assert (buried.peer.instance, buried.peer.status) == ("d", PeerStatus.DEAD)
    assert not buried.unwitnessed
    assert other.roster.bury(2 * SECOND, SECOND // 2) == []


def test_who_hears_a_member_itself_does_not_bury_it():
    told = peer("d", status=PeerStatus.DEAD, firsthand=True)
    member = machine("b", "c", "d")
    member.receive("b", Ping(1, "b", (told,)), at(1))
    member.receive("d", Ack(99, "d", (peer("d"),)), at(1.5))

    member.receive("c", Ping(1, "c", (told,)), at(1.6))

    assert member.peers["d"].status is PeerStatus.SUSPECT


def test_time_that_a_node_lost_itself_is_laid_to_nobodys_charge():
    member = machine("b", "c", "d")
    first = member.tick(at(1))
    assert {one.to for one in pings(first)} == {"b", "c", "d"}

    effects = member.tick(at(5))

    assert not any(suspicious(one) for one in effects)
    assert member.health == 1


def test_an_overloaded_node_notices_a_death_all_the_same():
    member = machine("b")
    effects = []
    for n in range(100):
        effects += member.tick(at(1 + n * 0.3))
        if any(suspicious(one) for one in effects):
            break

    assert n < 12


def test_an_overloaded_node_becomes_more_patient_and_recovers():
    member = machine("b")
    for second in range(1, 12):
        member.tick(at(second))
    sick = member.health

    run(member, 12, 30, answer="b")

    assert sick == MAX_HEALTH
    assert member.health == 0


def test_a_broken_stream_is_a_hint_that_is_looked_into_at_once():
    member = machine("b", "c", "d")
    run(member, 1, 2, answer="bcd")

    (asked,) = member.linked("d", False, at(2.05))

    assert (asked.to, type(asked.message)) == ("d", Ping)
    assert member.peers["d"].status is PeerStatus.ALIVE


def test_a_new_stream_brings_all_that_is_known_in_parts():
    member = machine("b")
    for n in range(300):
        member.roster.admit(peer(f"x{n:03}"))

    first, second = member.linked("b", True, at(2))

    assert isinstance(first, Sync)
    assert len(first.updates) + len(second.updates) == 302
    assert first.updates[0].instance == "a"


def test_every_ping_tells_of_its_sender_and_a_troubled_receiver_of_itself():
    member = machine("b", "c")
    member.roster.suspect("b", SECOND, "a")

    effects = member.tick(at(1))

    (to_b,), (to_c,) = pings(effects, "b"), pings(effects, "c")
    assert {one.instance for one in to_b.message.updates} >= {"a", "b"}
    assert to_c.message.updates[0].instance == "a"
    assert all(not one.roles for one in to_b.message.updates)


def test_a_dead_neighbour_is_asked_again_so_that_partitions_heal():
    member = machine("b", "c", "d")
    effects = run(member, 1, 4, answer="bc")
    effects += member.roster.bury(9 * SECOND, 1)
    for name in "bc":
        told = peer("d", status=PeerStatus.DEAD, firsthand=True)
        member.receive(name, Ping(1, name, (told,)), at(5))
    assert member.peers["d"].status is PeerStatus.DEAD

    again = run(member, 5, 6, answer="bc")

    assert pings(again, "d")
    assert not any(isinstance(one, Unlink) for one in effects)


def test_the_long_dead_are_forgotten():
    member = machine("b", "c", terms=Terms(tomb_ns=10 * SECOND))
    told = peer("c", status=PeerStatus.LEFT)
    member.receive("c", Ping(1, "c", (told,)), at(2))

    effects = run(member, 2, 14, answer="b")

    assert "c" not in member.peers
    assert Unlink("c") in effects


def test_roles_come_from_cards_alone():
    member = machine("b")
    member.receive("b", Ping(1, "b", (peer("b", roles=("audit",), incarnation=1),)), at(2))
    before = member.peers["b"].roles

    (changed,) = member.grant("b", ("audit",))
    member.receive("b", Ping(2, "b", (peer("b", roles=("defense",), incarnation=2),)), at(2))

    assert before == ()
    assert changed.peer.roles == ("audit",)
    assert member.peers["b"].roles == ("audit",)
    assert member.grant("b", ("audit",)) == []
    assert member.grant("nobody", ("audit",)) == []


def test_who_knows_few_dials_whom_it_only_hears_of_and_who_knows_many_does_not():
    few = machine("b", "c")
    many = machine(*[f"n{n:02}" for n in range(FULL_MESH + 3)])
    stranger = Ping(0, "b", (peer("x"),))

    met = few.receive("b", stranger, at(2))

    assert Link(peer("x")) in met
    assert "x" not in few.peers
    assert not any(isinstance(one, Link) for one in many.receive("n00", stranger, at(2)))


@pytest.mark.parametrize("count", [0, 1, 100])
def test_updates_beyond_the_limit_are_not_read(count):
    member = machine("b")
    updates = tuple(peer(f"x{n}") for n in range(count))

    member.receive("b", Ping(1, "b", updates), at(1))

    assert len(member.peers) <= 13


def test_two_runs_from_one_seed_are_one():
    def told():
        world = Simulation(7)
        world.loss = 200
        world.acquaint([f"n{n}" for n in range(12)])
        world.run(3 * SECOND)
        world.kill("n3")
        world.run(3 * SECOND)
        return world.changes, world.sent

    assert told() == told()


def test_one_who_makes_members_up_keeps_no_newcomer_away():
    member = machine("b", "mallory")
    ghosts = tuple(peer(f"ghost-{n}") for n in range(100))
    dialled = member.receive("mallory", Ping(0, "mallory", ghosts), at(2))
    assert sum(isinstance(one, Link) for one in dialled) == 12

    assert Link(peer("newcomer")) in member.receive("b", Ping(0, "b", (peer("newcomer"),)), at(2))
    member.receive("newcomer", Ping(0, "newcomer", (peer("newcomer"),)), at(2))
    given_up = member.tick(at(40))
    assert {one.name for one in given_up if isinstance(one, Unlink)} >= {
        f"ghost-{n}" for n in range(12)
    }
    assert Unlink("newcomer") not in given_up
    again = member.receive("mallory", Ping(0, "mallory", ghosts[50:60]), at(41))
    assert sum(isinstance(one, Link) for one in again) <= 10


def asked(effects, to):
    return [one for one in effects if isinstance(one, Sync) and one.to == to]


def test_a_neighbour_is_asked_for_all_it_knows_now_and_then():
    member = machine("b", "c")

    effects = run(member, 1, 40, answer="bc")
    told = [one for one in effects if isinstance(one, Sync)]

    assert 2 <= len(told) <= 8
    assert all([update.instance for update in one.updates] == ["a"] for one in told)


def test_who_asks_is_told_everything_but_not_time_and_again():
    member = machine("b", "c")
    question = Ping(0, "b", (peer("b"),))

    first = asked(member.receive("b", question, at(2)), "b")
    again = asked(member.receive("b", question, at(3)), "b")
    later = asked(member.receive("b", question, at(8)), "b")
    answer = asked(member.receive("b", Ping(0, "b", (peer("b"), peer("c"))), at(20)), "b")

    assert [update.instance for update in first[0].updates] == ["a", "b", "c"]
    assert (again, len(later), answer) == ([], 1, [])


def test_news_waits_for_a_neighbour_that_has_yet_to_answer():
    member = machine("b", "c")
    run(member, 1, 2, answer="bc")
    sent = []
    for n in range(20):
        now = Now(int(2 * SECOND) + n * 60_000_000, 0)
        member.receive("c", Ping(n + 1, "c", (peer("c", incarnation=n + 1),)), now)
        sent += pings(member.tick(now), to="b")

    # Beside its probes, and those again that it did not answer, it gets no ping for each change.
    assert len({one.message.sequence for one in sent}) <= 10


def test_a_late_answer_shows_what_was_heard():
    member = machine("b", "c")
    ping = pings(run(member, 1, 1.4, answer="c"), to="b")[0].message
    run(member, 1.4, 2.4, answer="c")
    waited = member._gossip.waits("b")

    member.receive("b", Ack(ping.sequence, "b", (peer("b"),)), at(2.5))

    assert waited
    assert ping.sequence not in member._late
    assert "c" not in member._gossip._waiting["b"]


def test_late_answers_are_waited_for_by_a_bounded_number():
    member = machine("b")
    run(member, 1, 90)
    member._late |= {-n: member._late[next(iter(member._late))] for n in range(2000)}
    run(member, 90, 92)

    assert len(member._late) <= 1024
