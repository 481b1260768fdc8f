import itertools

import pytest
from tests.unit.mesh.mail import SECOND, bulletin

from cronos.mesh.entries import Took, until
from cronos.mesh.inbox import Inbox
from cronos.testing.clock import VirtualClock
from cronos.types import encode

CLOCK = VirtualClock()


def took(position, *, peer="two", stream=1, clock=CLOCK, ttl_s=60):
    ends = until(clock.now(), clock.boot_id(), ttl_s * SECOND)
    data = encode(bulletin(peer, position))
    return Took(peer, stream, position, 1, 0, ends, data, f"{peer}-1-b{position}")


def inbox(*, signs=True):
    made = Inbox(CLOCK.boot_id(), 10 * SECOND, signs=signs)
    made.begin("two", 1)
    return made


def hear(box, position, after, clock=CLOCK):
    box.take(took(position, clock=clock), clock.now())
    box.passed("two", position, after)


def test_held_passes_a_gap_only_when_nothing_stands_in_it():
    box = inbox(signs=False)
    hear(box, 5, 0)
    hear(box, 9, 7)
    assert box.stood("two").held == 5
    assert not box.is_new("two", 9)
    hear(box, 7, 5)
    assert box.stood("two").held == 9
    hear(box, 20, 4)
    assert box.stood("two").held == 20


def test_whatever_order_five_messages_come_in_all_are_held_in_the_end():
    for order in itertools.permutations(range(5)):
        box = inbox(signs=False)
        for n in order:
            hear(box, 10 + n, 9 + n if n else 0)
        assert box.stood("two").held == 14
        assert box.box("two").ahead == {}


def test_a_gap_that_its_sender_closed_is_passed_by_a_repetition():
    box = inbox(signs=False)
    hear(box, 5, 0)
    hear(box, 9, 7)
    box.passed("two", 9, 5)
    assert box.stood("two").held == 9


def test_signed_stands_before_the_first_that_is_not():
    box = inbox()
    for position, after in ((5, 0), (6, 5), (7, 6)):
        hear(box, position, after)
    box.signed("two", 5)
    box.signed("two", 7)
    assert box.stood("two").signed == 5
    box.signed("two", 6)
    assert box.stood("two").signed == 7


def test_a_later_stream_begins_anew_and_an_earlier_one_is_ignored():
    box = inbox()
    hear(box, 5, 0)
    assert box.begin("two", 2)
    assert box.stood("two").held == 0
    assert not box.begin("two", 1)
    assert box.is_known("two", "two-1-b5")


def test_everything_comes_back_from_the_journal():
    box = inbox()
    for position, after in ((5, 0), (6, 5), (9, 8)):
        hear(box, position, after)
    box.signed("two", 5)
    again = Inbox(CLOCK.boot_id(), 10 * SECOND, signs=True)
    for entry in box.dump():
        again.restore(entry, CLOCK.now())
    again.settled()
    assert again.stood("two") == box.stood("two")
    assert again.is_new("two", 9)
    assert not again.is_known("two", "two-1-b9")  # it was not acknowledged, and comes again
    assert again.is_known("two", "two-1-b6")
    assert [(one.position, signed) for one, signed in again.again(CLOCK.now())] == [
        (5, True),
        (6, False),
    ]
    assert again.waiting("two", 6) is not None
    assert again.waiting("two", 5) is None


def test_what_expired_is_dropped_and_its_id_a_while_later():
    clock = VirtualClock()
    box = Inbox(clock.boot_id(), 10 * SECOND, signs=False)
    box.begin("two", 1)
    hear(box, 5, 0, clock)
    clock.advance(61 * SECOND)
    box.expire(clock.now(), SECOND)
    assert list(box.again(clock.now())) == []
    assert box.is_known("two", "two-1-b5")
    clock.advance(10 * SECOND)
    box.expire(clock.now(), SECOND)
    assert not box.is_known("two", "two-1-b5")
    assert box.size == 0


def test_memory_is_bounded_for_each_peer(monkeypatch):
    monkeypatch.setattr("cronos.mesh.inbox.MAX_KEPT", 5)
    monkeypatch.setattr("cronos.mesh.inbox.MAX_IDS", 7)
    monkeypatch.setattr("cronos.mesh.inbox.MAX_PEERS", 3)
    box = inbox(signs=False)
    for position in range(1, 21):
        hear(box, position, position - 1)
    assert len(box.box("two").kept) == 5
    assert len(box.box("two").ids) == 7
    assert box.box("two").kept_bytes == sum(one.size for one in box.box("two").kept.values())
    for peer in ("a", "b", "c"):
        box.begin(peer, 1)
    assert len(box.all_stood()) == 3


def test_a_peer_that_signs_nothing_gets_no_more_room(monkeypatch):
    monkeypatch.setattr("cronos.mesh.inbox.MAX_UNSIGNED", 3)
    box = inbox()
    for position in range(1, 4):
        assert box.has_room("two")
        hear(box, position, position - 1)
    assert not box.has_room("two")
    box.signed("two", 2)
    assert box.has_room("two")


class Counted(int):
    """A number that counts how often it is compared."""

    compared = 0

    def __lt__(self, other):
        Counted.compared += 1
        return int(self) < int(other)


def test_what_waits_beyond_a_gap_costs_those_before_it_nothing():
    box = inbox(signs=False)
    for number in range(400):
        # In an order that suits nobody, each behind a gap of its own.
        position = 1_000_000 + 10 * (number * 277 % 400)
        box.passed("two", Counted(position), Counted(position - 1))
    Counted.compared = 0
    for number in range(1, 201):
        box.passed("two", number, number - 1)
    assert box.box("two").held == 200
    assert Counted.compared < 1_000


def test_a_gap_that_is_narrowed_again_and_again_takes_no_room():
    box = inbox(signs=False)
    for after in range(5_000, 1, -1):
        box.passed("two", 10_000, after)
    assert len(box.box("two").gaps) < 100
    box.passed("two", 2, 0)
    assert box.stood("two").held == 10_000
    assert box.box("two").ahead == {}


def test_whoever_begins_another_stream_still_owes_its_signatures():
    box = inbox()
    for stream in range(1, 6):
        assert box.begin("two", stream)
        box.take(took(5, stream=stream), CLOCK.now())
        box.passed("two", 5, 0)
    now = CLOCK.now()
    assert len(box.expire(now, 0)) == 5
    assert box.expire(now, 0) == []
    assert box.box("two").unsigned_bytes == 0


def test_what_is_not_signed_is_bounded_in_bytes_whatever_stream_it_was_in(monkeypatch):
    monkeypatch.setattr("cronos.mesh.inbox.MAX_UNSIGNED_BYTES", 2_000)
    box = inbox()
    stream = 1
    while box.has_room("two"):
        stream += 1
        box.begin("two", stream)
        box.take(took(5, stream=stream), CLOCK.now())
    assert stream < 10
    box.expire(CLOCK.now(), 0)
    assert box.has_room("two")


def test_what_ends_first_is_looked_for_when_it_ends_and_not_before():
    clock = VirtualClock()
    box = inbox(signs=False)
    for position, ttl_s in ((5, 60), (6, 20), (7, 40)):
        box.take(took(position, clock=clock, ttl_s=ttl_s), clock.now())
        box.passed("two", position, position - 1)
    box.expire(clock.now(), SECOND)
    left = []
    for _ in range(8):
        clock.advance(10 * SECOND)
        before = box.box("two").look_ns
        box.expire(clock.now(), SECOND)
        kept, ids = len(box.box("two").kept), len(box.box("two").ids)
        left.append((kept, ids, before != box.box("two").look_ns))
    assert [kept for kept, _, _ in left] == [3, 2, 2, 1, 1, 0, 0, 0]
    assert [ids for _, ids, _ in left] == [3, 3, 2, 2, 1, 1, 0, 0]
    assert [looked for *_, looked in left] == [False, *[True] * 6, False]
    clock.advance(100 * SECOND)
    box.take(took(9, clock=clock, ttl_s=5), clock.now())
    clock.advance(5 * SECOND)
    box.expire(clock.now(), SECOND)
    assert not box.box("two").kept


@pytest.mark.parametrize("ttl_s", [1, 60])
def test_where_something_ends_at_any_time_it_is_not_looked_for_each_time(ttl_s, monkeypatch):
    clock, box = VirtualClock(), inbox()
    looked = []
    monkeypatch.setattr(box, "_drop_past", lambda one, now: looked.append(now) or drop(one, now))
    drop = Inbox._drop_past.__get__(box)
    for position in range(1, 601):
        box.take(took(position, clock=clock, ttl_s=ttl_s), clock.now())
        box.passed("two", position, position - 1)
        clock.advance(SECOND // 5)
        box.expire(clock.now(), 1 << 62)
    assert 5 <= len(looked) <= 13
    assert len(box.box("two").kept) <= 5 * (60 + 10)
