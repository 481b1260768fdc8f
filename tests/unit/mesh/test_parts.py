"""One lane of bulk: nothing is given twice, cut short or out of turn, and all of it is bounded."""

import random
import tracemalloc

from cronos.mesh.enginewire import BEGIN, MORE, WHOLE, Part
from cronos.mesh.parts import MAX_WAITING, MAX_WAITING_BYTES, PIECE_BYTES, Incoming, Outgoing
from cronos.types import MAX_FRAME_BYTES, Lane

LONG = b"a" * PIECE_BYTES + b"b" * PIECE_BYTES


def sent(out):
    return [owed.part for owed in out.waiting.values()]


def given(into, *parts):
    for part in parts:
        into.take(part)
    found = list(into.ready)
    into.ready.clear()
    return found


def test_messages_come_out_as_they_went_in_whatever_the_order_and_however_often():
    out, into = Outgoing(Lane.BULK, 7), Incoming()
    messages = [b"", b"one", LONG, LONG[:-7], b"last"]
    for one in messages:
        out.put(one)
    parts = sent(out) * 3
    random.Random(2).shuffle(parts)

    assert given(into, *parts) == messages


def test_a_message_is_struck_off_when_all_of_it_has_arrived():
    out = Outgoing(Lane.BULK, 7)
    out.put(LONG)
    out.put(b"next")
    assert out.arrived(7, 1)
    assert [part.number for part in sent(out)] == [1, 2, 3]
    assert out.open
    assert not out.arrived(8, 3)
    assert out.arrived(7, 2)
    assert [part.data for part in sent(out)] == [b"next"]
    assert out.size == 4
    assert list(out.unsent) == [3]


def test_a_peer_that_was_started_anew_gets_all_of_what_it_had_in_part():
    out, into = Outgoing(Lane.BULK, 7), Incoming()
    out.put(LONG)
    out.put(b"next")
    out.arrived(7, 1)
    out.anew(9)

    assert [part.kind for part in sent(out)] == [BEGIN, MORE, WHOLE, WHOLE]
    assert not out.open
    assert given(into, *sent(out)) == [LONG, b"next"]
    out.arrived(9, 2)
    assert [part.data for part in sent(out)] == [b"next"]


def test_what_waits_is_bounded_and_the_longest_message_always_finds_room():
    out = Outgoing(Lane.BULK, 7)
    assert out.room(MAX_FRAME_BYTES)
    while out.room(MAX_FRAME_BYTES):
        out.put(bytes(MAX_FRAME_BYTES))
    assert out.size <= MAX_WAITING_BYTES
    few = Outgoing(Lane.BULK, 7)
    while few.room(1):
        few.put(b"x")
    assert len(few.waiting) == MAX_WAITING


def test_what_went_by_the_engine_and_does_not_arrive_is_sent_by_stream_before_all_else():
    out = Outgoing(Lane.BULK, 7)
    for n in range(3):
        out.put(b"%d" % n)
    out.unsent.clear()
    for owed in out.waiting.values():
        owed.sent_ns = 100
    out.waiting[2].direct = True
    late = list(out.late(1_100, 1_000))
    out.again(late)

    assert [owed.part.number for owed in late] == [0, 1, 3]
    assert list(out.unsent) == [0, 1, 3]
    assert list(out.late(9_999, 1_000)) == []


def test_a_session_that_has_ended_does_not_come_back():
    into = Incoming()
    old, new = Outgoing(Lane.BULK, 9), Outgoing(Lane.BULK, 4)
    old.put(b"old")
    new.put(b"new")
    assert given(into, *sent(old)) == [b"old"]
    assert given(into, *sent(new), *sent(old), *sent(new)) == [b"new"]


def test_whoever_sends_what_no_sender_may_takes_no_room_for_it():
    into = Incoming()
    for number in range(2, 10_000):
        into.take(Part(Lane.BULK, 1, number, WHOLE, bytes(100)))
    assert len(into._early) <= 2 * MAX_WAITING
    for number in range(3):
        into.take(Part(Lane.BULK, 2, number, MORE, bytes(PIECE_BYTES)))
    for number in range(3, 200):
        into.take(Part(Lane.BULK, 2, number, MORE, bytes(PIECE_BYTES)))
    assert len(into._begun) <= MAX_FRAME_BYTES
    assert not into.ready


def test_a_message_in_tiny_pieces_weighs_no_more_than_it_holds():
    into = Incoming()
    tracemalloc.start()
    try:
        for number in range(100_000):
            into.take(Part(Lane.BULK, 1, number, MORE, bytes([number & 255, 7]) * (number % 2)))
        assert tracemalloc.get_traced_memory()[0] < 400_000
    finally:
        tracemalloc.stop()
