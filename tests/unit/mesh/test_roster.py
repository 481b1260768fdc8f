"""What is believed, and on whose word."""

import pytest
from msgspec.structs import replace

from cronos.mesh.roster import MAX_INCARNATION, MAX_MEMBERS, Changed, Meet, Roster, beats
from cronos.types import Peer, PeerStatus

SECOND = 1_000_000_000


def peer(name, **more):
    return Peer(name, f"{name}:7443", **more)


def roster(*others):
    made = Roster(peer("a", incarnation=3))
    for name in others:
        made.admit(peer(name))
    return made


def test_later_incarnations_and_then_worse_news_win():
    alive, suspect, dead = (
        peer("b", incarnation=1, status=status)
        for status in (PeerStatus.ALIVE, PeerStatus.SUSPECT, PeerStatus.DEAD)
    )

    assert beats(suspect, alive)
    assert beats(dead, suspect)
    assert not beats(alive, dead)
    assert beats(peer("b", incarnation=2), dead)


def test_a_member_s_own_word_counts_at_once_and_of_itself_it_can_only_say_that_it_lives_or_goes():
    known = roster("b")

    risen = known.learn(peer("b", incarnation=9), "b", SECOND)
    dead = known.learn(peer("b", incarnation=10, status=PeerStatus.DEAD), "b", SECOND)
    left = known.learn(peer("b", incarnation=9, status=PeerStatus.LEFT), "b", SECOND)

    assert [one.peer.incarnation for one in risen] == [9]
    assert dead == []
    assert [one.peer.status for one in left] == [PeerStatus.LEFT]


def test_of_a_third_one_word_is_a_hint_and_two_are_news():
    known = roster("b", "c")

    first = known.learn(peer("x"), "b", SECOND)
    again = known.learn(peer("x"), "b", SECOND)
    second = known.learn(peer("x"), "c", SECOND)

    assert first == [Meet(peer("x"), "b")]
    assert again == []
    assert second == [Changed(peer("x"))]


def test_who_knows_but_one_has_only_that_word():
    known = roster("b")

    assert known.learn(peer("x"), "b", SECOND) == [Changed(peer("x"))]
    # From then on there are two.
    assert known.learn(peer("y"), "b", SECOND) == [Meet(peer("y"), "b")]


def test_a_later_incarnation_is_the_lower_of_what_two_say():
    known = roster("b", "c", "d")

    known.learn(peer("d", incarnation=1 << 60), "b", SECOND)
    (risen,) = known.learn(peer("d", incarnation=2), "c", SECOND)

    assert risen.peer.incarnation == 2


@pytest.mark.parametrize("incarnation", [-1, MAX_INCARNATION, 1 << 63])
def test_numbers_out_of_bounds_are_not_read(incarnation):
    known = roster("b")

    assert known.learn(peer("b", incarnation=incarnation), "b", SECOND) == []
    assert known.learn(peer("a", incarnation=incarnation), "b", SECOND) == []
    assert known.admit(peer("z", incarnation=incarnation)) == []


def test_a_node_outlives_what_is_said_of_it_but_far_ahead_only_two_can_send_it():
    known = roster("b", "c")
    suspected = peer("a", incarnation=3, status=PeerStatus.SUSPECT)

    (once,) = known.learn(suspected, "b", SECOND)
    late = known.learn(suspected, "c", SECOND)
    far = known.learn(peer("a", incarnation=1 << 61), "b", SECOND)
    (agreed,) = known.learn(peer("a", incarnation=70, status=PeerStatus.DEAD), "c", SECOND)

    assert once.peer.incarnation == 4
    assert late == far == []
    assert agreed.peer.incarnation == 71


def test_a_node_that_restarted_outlives_what_its_earlier_life_did_on_one_word():
    known = roster("b", "c", "d")

    (once,) = known.learn(peer("a", incarnation=900, status=PeerStatus.DEAD), "b", SECOND)
    far = known.learn(peer("a", incarnation=1 << 20, status=PeerStatus.DEAD), "b", SECOND)

    assert once.peer.incarnation == 901
    assert far == []


def test_a_node_that_leaves_does_not_argue():
    known = Roster(peer("a", status=PeerStatus.LEFT))

    assert known.learn(peer("a", status=PeerStatus.LEFT), "b", SECOND) == []


def test_a_lone_verdict_is_marked_and_two_in_a_cluster_of_three_are_needed():
    alone, pair = roster("b"), roster("b", "c")
    alone.suspect("b", SECOND, "a")
    pair.suspect("b", SECOND, "a")

    (dead,) = alone.bury(2 * SECOND, SECOND // 2)

    assert dead.unwitnessed
    assert pair.bury(2 * SECOND, SECOND // 2) == []
    # Once the other cannot be reached either, nobody is left to ask.
    pair.suspect("c", SECOND, "a")
    assert [one.unwitnessed for one in pair.bury(2 * SECOND, SECOND // 2)] == [True, True]


def test_two_verdicts_need_no_more_patience():
    known = roster("b", "c", "d")
    told = peer("d", status=PeerStatus.DEAD, firsthand=True)

    first = known.learn(told, "b", SECOND)
    second = known.learn(told, "c", SECOND)

    assert [one.peer.status for one in first] == [PeerStatus.SUSPECT]
    assert [one.peer.status for one in second] == [PeerStatus.DEAD]


def test_a_refuted_suspicion_leaves_nothing_behind():
    known = roster("b", "c", "d")
    known.suspect("d", SECOND, "a")
    known.learn(peer("d", status=PeerStatus.SUSPECT, firsthand=True), "b", SECOND)

    known.learn(peer("d", incarnation=1), "d", SECOND)

    assert known.peers["d"].status is PeerStatus.ALIVE
    assert known.bury(99 * SECOND, 1) == []


def test_hearing_a_member_takes_back_one_s_own_accusation_and_says_so():
    known = roster("b", "c", "d")
    known.suspect("d", SECOND, "a")
    before = known.told("d").firsthand

    (changed,) = known.hear("d", 2 * SECOND)

    assert before
    assert changed.peer.status is PeerStatus.SUSPECT
    assert not known.told("d").firsthand


def test_what_is_told_has_no_roles_and_says_what_is_first_hand():
    known = roster("b", "c")
    known.peers["b"] = peer("b", roles=("audit",))
    known.suspect("c", SECOND)

    assert known.told("b") == peer("b")
    assert known.told("c") == peer("c", status=PeerStatus.SUSPECT)
    assert known.told("a").firsthand


def test_memory_is_bounded_whatever_is_told():
    known = roster("b", "c")
    for n in range(5000):
        known.learn(peer(f"x{n}"), "b", SECOND)
    told = peer("c", status=PeerStatus.SUSPECT, firsthand=True)
    for n in range(500):
        known.learn(told, f"w{n}", SECOND)
    for n in range(MAX_MEMBERS + 10):
        known.admit(peer(f"y{n}"))

    assert len(known._hearsay) <= 1024
    assert len(known._cases["c"].accusers) <= 64
    assert len(known.peers) == MAX_MEMBERS


def test_time_away_is_added_to_every_suspicion():
    known = roster("b", "c")
    known.suspect("b", SECOND, "a")
    known.suspect("b", SECOND, "c")

    known.excuse(10 * SECOND)

    assert known.bury(5 * SECOND, SECOND) == []
    assert known.bury(13 * SECOND, SECOND) != []


def test_a_node_that_is_late_all_the_time_comes_to_a_verdict_all_the_same():
    known = roster("b", "c")
    known.suspect("b", SECOND, "a")
    known.suspect("b", SECOND, "c")

    for n in range(2, 12):
        known.excuse(SECOND)
        if known.bury(n * SECOND, SECOND // 2):
            break

    assert n == 4


def test_a_forgotten_member_is_a_stranger():
    known = roster("b", "c")

    known.forget("b")

    assert known.heard_ns("b") == 0
    assert known.learn(peer("b"), "c", SECOND) == [Changed(peer("b"))]


@pytest.mark.parametrize(
    "told",
    [
        {"instance": "x" * 64},
        {"instance": "not a name"},
        {"instance": "x", "address": "a" * 300},
        {"instance": "x", "claim": bytes(100)},
    ],
)
def test_what_can_be_no_member_is_not_kept(told):
    known = roster("b", "c")
    for sender in ("b", "c"):
        assert known.learn(replace(peer("x"), **told), sender, SECOND) == []
    assert known._hearsay == {}


def test_one_who_makes_up_many_pushes_out_its_own_word_alone():
    known = roster("b", "c", "mallory")
    known.learn(peer("newcomer"), "b", SECOND)
    for n in range(20_000):
        known.learn(peer(f"x{n}"), "mallory", SECOND)

    assert len(known._hearsay) <= 1_100
    assert known.learn(peer("newcomer"), "c", SECOND) == [Changed(peer("newcomer"))]
