"""Segments come late, twice, overlapping or never."""

from cronos.link.reassembly import (
    MAX_PIECES,
    MAX_WAIT_NS,
    WINDOW_BYTES,
    Delivery,
    Doubted,
    Reassembly,
)


def feed(side: Reassembly, *segments: tuple[int, bytes]) -> list[Delivery]:
    return [part for seq, data in segments for part in side.add(seq, data, 0)]


def test_segments_in_order_pass_and_repeated_ones_do_not() -> None:
    side = Reassembly(100)
    assert feed(side, (100, b"abc"), (100, b"abc"), (103, b"def"), (101, b"bcdefg")) == [
        b"abc",
        b"def",
        b"g",
    ]


def test_a_late_segment_lets_the_ones_behind_it_pass() -> None:
    side = Reassembly(100)
    assert feed(side, (103, b"def"), (106, b"ghi")) == []
    assert side.held == 6
    assert b"".join(p for p in feed(side, (100, b"abc")) if isinstance(p, bytes)) == b"abcdefghi"
    assert side.held == 0


def test_what_arrived_first_stays_whatever_overlaps_it() -> None:
    side = Reassembly(0)
    parts = feed(side, (4, b"EEEE"), (2, b"xxxxxxxxxx"), (0, b"yyyyyyyy"))
    assert b"".join(p for p in parts if isinstance(p, bytes)) == b"yyxxEEEExxxx"


def test_numbers_wrap_around() -> None:
    side = Reassembly((1 << 32) - 2)
    assert feed(side, (2, b"ef"), ((1 << 32) - 2, b"abcd")) == [b"abcd", b"ef"]


def test_a_hole_is_passed_over_when_it_has_been_waited_for_long_enough() -> None:
    side = Reassembly(0)
    assert side.add(5, b"late", 0) == []
    assert side.add(9, b"r", MAX_WAIT_NS) == []
    assert side.add(10, b"!", MAX_WAIT_NS + 1) == [5, b"late", b"r", b"!"]


def test_a_hole_is_passed_over_when_too_much_waits_behind_it() -> None:
    side = Reassembly(0, max_held_bytes=10)
    assert feed(side, (5, b"12345678")) == []
    assert feed(side, (13, b"90a")) == [5, b"12345678", b"90a"]
    assert side.held == 0


def test_a_segment_far_outside_any_window_is_ignored() -> None:
    side = Reassembly(0)
    assert feed(side, ((1 << 30) + 1, b"forged")) == []
    assert side.held == 0


def test_a_segment_just_beyond_the_window_moves_nothing() -> None:
    side = Reassembly(0)
    assert feed(side, (WINDOW_BYTES + 1, b"forged")) == []
    assert side.held == 0
    assert side.add(0, b"real", 2 * MAX_WAIT_NS) == [b"real"]


def test_what_is_read_past_a_hole_is_doubted_until_it_is_acknowledged() -> None:
    side = Reassembly(0)
    feed(side, (5, b"late"))
    passed = side.skip(0)
    assert passed == [5, b"late"]
    assert isinstance(passed[1], Doubted)
    assert isinstance(feed(side, (9, b"more"))[0], Doubted)
    assert side.acknowledge(5, 0) == []
    assert isinstance(feed(side, (13, b"more"))[0], Doubted)
    assert side.acknowledge(13, 0) == []
    assert not isinstance(feed(side, (17, b"sure"))[0], Doubted)


def test_a_hole_that_the_receiver_has_filled_is_passed_at_once_and_without_doubt() -> None:
    side = Reassembly(0)
    feed(side, (5, b"late"), (20, b"later"))
    passed = side.acknowledge(9, 0)
    assert passed == [5, b"late"]
    assert not isinstance(passed[1], Doubted)
    assert side.held == 5


def test_pieces_are_bounded_in_number_and_found_in_any_order() -> None:
    side = Reassembly(0)
    for at in range(2 * MAX_PIECES, 0, -2):
        assert side.add(at, b"x", 0) == []
    assert side.held == MAX_PIECES
    passed = side.add(2 * MAX_PIECES + 2, b"x", 0)
    assert passed == [2, b"x"]
