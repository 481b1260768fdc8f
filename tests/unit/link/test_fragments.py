"""Fragments join, and hostile ones cost nothing but themselves."""

from cronos.link.fragments import Fragments


def test_repeated_fragments_are_harmless() -> None:
    fragments = Fragments()
    assert fragments.add(b"k", 8, b"world", more=False) is None
    assert fragments.add(b"k", 8, b"world", more=False) is None
    assert fragments.add(b"k", 0, b"hello, w", more=True) == b"hello, wworld"
    assert fragments.dropped == 0


def test_overlapping_fragments_are_dropped_and_counted() -> None:
    fragments = Fragments()
    fragments.add(b"k", 0, b"12345678", more=True)
    fragments.add(b"k", 0, b"abcdefgh", more=True)
    assert fragments.add(b"k", 8, b"end", more=False) is None
    assert fragments.dropped == 1
    fragments.add(b"j", 0, b"1234567812345678", more=True)
    assert fragments.add(b"j", 8, b"x", more=False) is None
    assert fragments.dropped == 2


def test_a_flood_of_first_fragments_pushes_out_the_oldest_only() -> None:
    fragments = Fragments()
    for number in range(300):
        fragments.add(str(number).encode(), 0, b"12345678", more=True)
    assert fragments.dropped == 44
    assert fragments.add(b"299", 8, b"!", more=False) == b"12345678!"
    assert fragments.add(b"0", 8, b"!", more=False) is None


def test_more_than_a_datagram_may_hold_is_dropped() -> None:
    fragments = Fragments()
    assert fragments.add(b"k", 65_528, b"12345678", more=False) is None
    assert fragments.dropped == 1
