"""Segments come late, twice, overlapping or never."""

from cronos.sense.reassembly import MAX_WAIT_NS, Delivery, Reassembly


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
