"""Two ends speak, and others pose as them."""

import pytest

from cronos.link.reassembly import WINDOW_BYTES, Delivery, Doubted
from cronos.sense.decoders import Message
from cronos.sense.streams import Stream

ACK, RST = 0x10, 0x04


class Nothing:
    """A decoder that finds nothing."""

    def feed(self, from_client: bool, data: bytes) -> list[Message | str]:
        return []

    def gap(self, from_client: bool) -> None: ...


def stream(client: int = 100, server: int = 500) -> Stream:
    made = Stream(Nothing())
    made.begin(True, client)
    made.begin(False, server)
    return made


def take(
    one: Stream, outward: bool, seq: int, ack: int, data: bytes = b"", flags: int = ACK
) -> list[tuple[bool, Delivery]]:
    return one.take(outward, (seq, ack, flags, data), 0, checked=True)


@pytest.mark.parametrize(
    ("seq", "ack", "flags"),
    [
        (100, 500 + (1 << 24), ACK),
        (100, 500 - (1 << 24), ACK),
        (100, 500, 0),
        (101 + WINDOW_BYTES, 500, ACK),
        (200, 500 + 5000, ACK),
    ],
)
def test_a_segment_that_does_not_fit_waits_for_the_other_ends_word(
    seq: int, ack: int, flags: int
) -> None:
    one = stream()
    assert take(one, True, seq, ack, b"odd", flags) == []
    assert one.held == 0
    assert take(one, True, 100, 500, b"") == []
    told = take(one, False, 500, seq + 3)
    lost: list[tuple[bool, Delivery]] = [(True, seq - 100)] if seq > 100 else []
    assert told == [*lost, (True, b"odd")]
    assert take(one, True, seq + 3, 500, b"next") == [(True, b"next")]


def test_an_acknowledgement_of_something_else_lets_no_stray_in() -> None:
    one = stream()
    take(one, True, 1 << 30, 0, b"forged")
    assert take(one, True, 100, 500, b"real") == [(True, b"real")]
    assert take(one, False, 500, 104) == []
    assert take(one, False, 500, (1 << 30) + 5) == []


def test_numbers_that_wrap_fit_like_others() -> None:
    one = stream((1 << 32) - 2, (1 << 32) - 1)
    assert take(one, True, (1 << 32) - 2, (1 << 32) - 1, b"abcd") == [(True, b"abcd")]
    assert take(one, False, (1 << 32) - 1, 2, b"xy") == [(False, b"xy")]
    assert take(one, True, 2, 1, b"e") == [(True, b"e")]


def test_a_flood_of_strays_stays_small_and_the_newest_is_still_there() -> None:
    one = stream()
    for number in range(1000):
        take(one, True, (1 << 30) + number * 60_000, 0, b"x" * 60_000)
    last = (1 << 30) + 999 * 60_000
    told = take(one, False, 500, last + 60_000)
    assert sum(len(part) for _, part in told if isinstance(part, bytes)) == 8192


def test_what_doubted_bytes_began_is_not_sure_when_others_end_it() -> None:
    one = stream()
    assert one.sure(True, b"a")
    assert not one.sure(True, Doubted(b"b"))
    assert not one.sure(True, b"c")
    assert one.sure(True, b"d")


def test_a_reset_and_an_end_count_only_in_their_place() -> None:
    one = stream()
    assert not one.resets(True, 101)
    assert one.resets(True, 100)
    assert not one.closes(True, 105)
    assert not one.closes(True)
    take(one, True, 100, 500, b"12345")
    assert one.closes(True)
