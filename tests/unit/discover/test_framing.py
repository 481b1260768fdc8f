"""Streams are cut where their messages end, whatever the protocol."""

import random

import pytest

from cronos.discover import framing
from cronos.discover.framing import BerRule, EndRule, HeaderRule, LengthRule, Run, Segment, cut


def run(*segments, number=0, side=""):
    return Run(
        tuple(Segment(float(n), data, turn=True) for n, data in enumerate(segments)), number, side
    )


def framed(rng, *, width=2, order="big", head=b"\x07\x01", rest=4, sizes=(0, 60)):
    """Messages of a header, a length of what follows it, and bytes."""
    return [
        head + len(body).to_bytes(width, order) + bytes(rest - 4) + body
        for body in (rng.randbytes(rng.randint(*sizes)) for _ in range(40))
    ]


@pytest.mark.parametrize(
    ("width", "order", "rule"),
    [
        (2, "big", LengthRule(2, 2, little=False, constant=4)),
        (2, "little", LengthRule(2, 2, little=True, constant=4)),
        (4, "big", LengthRule(2, 4, little=False, constant=6)),
        (1, "big", LengthRule(2, 1, little=False, constant=3)),
    ],
)
def test_a_length_in_the_header_is_found_and_followed(width, order, rule):
    messages = framed(random.Random(1), width=width, order=order)
    # Several messages in a segment, and one that is spread over segments.
    stream = [
        b"".join(messages[:3]),
        *messages[3:20],
        messages[20][:3],
        messages[20][3:] + messages[21],
    ]
    done = cut([run(*stream), run(*messages[22:], number=1)])

    assert [piece.data for piece in done.pieces if piece.number == 0] == messages[:22]
    assert [piece.data for piece in done.pieces if piece.number == 1] == messages[22:]
    assert done.rule == str(rule)


def test_a_ber_length_is_found():
    rng = random.Random(2)
    bodies = [rng.randbytes(rng.choice((3, 40, 150, 300))) for _ in range(40)]
    messages = []
    for body in bodies:
        size = len(body)
        long = b"\x82" + size.to_bytes(2, "big") if size > 127 else bytes((size,))
        messages.append(b"\x30" + long + body)
    done = cut([run(b"".join(messages[:5]), *messages[5:])])

    assert [piece.data for piece in done.pieces] == messages
    assert done.rule == str(BerRule(1))


def test_what_is_said_first_may_be_of_another_kind():
    messages = framed(random.Random(3))
    done = cut([run(b"HELLO v1", *messages), run(b"HELLO v1", *messages[::-1], number=1)])

    assert [piece.data for piece in done.pieces if piece.number == 0] == [b"HELLO v1", *messages]


def test_each_direction_may_have_a_rule_of_its_own():
    rng = random.Random(4)
    asked = framed(rng)
    told = [b"%d says %s\r\n" % (rng.randint(1, 999), b"x" * rng.randint(1, 50)) for _ in range(40)]
    done = cut([run(*asked, side="c2s"), run(*told, number=1, side="s2c")])

    assert [piece.data for piece in done.pieces if piece.number == 1] == told
    assert [piece.data for piece in done.pieces if piece.number == 0] == asked


def test_a_delimiter_that_stands_nowhere_else_is_an_end():
    rng = random.Random(5)
    messages = [b"\x0b" + rng.randbytes(20).replace(b"\x1c", b"") + b"\x1c\x0d" for _ in range(30)]
    done = cut([run(messages[0][:9], messages[0][9:], *messages[1:])])

    assert [piece.data for piece in done.pieces] == messages
    assert done.rule == str(EndRule(b"\x1c\x0d"))


def test_text_with_header_lines_has_a_body_as_long_as_they_say():
    messages = [
        b"PUT /%d X/1.0\r\nContent-Length: %d\r\n\r\n%s" % (n, n * 7, b"b" * (n * 7))
        for n in range(1, 20)
    ]
    done = cut(
        [run(*(b"".join(pair) for pair in zip(messages[::2], messages[1::2], strict=False)))]
    )

    assert [piece.data for piece in done.pieces] == messages[:18]
    assert done.rule == str(HeaderRule(b"\r\n\r\n"))


def test_without_a_rule_what_is_sent_at_once_is_a_message():
    rng = random.Random(6)
    segments = [rng.randbytes(rng.randint(20, 200)) for _ in range(50)]
    done = cut([run(*segments)])

    assert [piece.data for piece in done.pieces] == segments
    assert done.rule == "what is sent at once is a message"


def test_a_full_segment_goes_on_in_the_next_one_unless_the_other_side_spoke():
    big, end = b"a" * 1400, b"b" * 300
    goes_on = Run((Segment(0, big, turn=True), Segment(1, big), Segment(2, end), Segment(3, end)))
    answered = Run((Segment(0, big, turn=True), Segment(1, end, turn=True)))

    assert [len(piece.data) for piece in cut([goes_on]).pieces] == [3100, 300]
    assert [len(piece.data) for piece in cut([answered]).pieces] == [1400, 300]


def test_a_message_that_the_capture_cut_off_is_left_out_and_counted():
    messages = framed(random.Random(7), sizes=(20, 60))
    done = cut([run(*messages[:-1], messages[-1][:-3])])

    assert [piece.data for piece in done.pieces] == messages[:-1]
    assert done.left_bytes == len(messages[-1]) - 3


def test_a_length_that_lies_costs_its_own_segment_only():
    messages = framed(random.Random(8), sizes=(20, 60))
    lying = messages[10][:2] + b"\xff\xff" + messages[10][4:]
    done = cut([run(*messages[:10], lying, *messages[11:])])

    assert [piece.data for piece in done.pieces] == [*messages[:10], lying, *messages[11:]]


def test_random_bytes_have_no_length_field():
    for seed in range(20):
        rng = random.Random(seed)
        segments = [rng.randbytes(rng.randint(1, 100)) for _ in range(rng.choice((3, 12, 60)))]
        assert "length" not in cut([run(*segments)]).rule


def test_nothing_is_cut_into_nothing():
    assert cut([]).pieces == ()
    assert cut([Run(()), Run((Segment(0, b""),))]).pieces == ()


def lines(count, then):
    said = [b"hello %d\r\n" % n for n in range(450)] + [b"x"] * count + [then]
    return Run(tuple(Segment(float(n), data, n < 450) for n, data in enumerate(said)))


def test_an_end_that_is_nowhere_is_not_looked_for_again_and_again(monkeypatch):
    asked = []
    size = EndRule.size
    monkeypatch.setattr(
        EndRule, "size", lambda rule, data, at: asked.append(at) or size(rule, data, at)
    )
    done = cut([lines(20_000, b"")])

    assert done.rule == "messages end with 0d 0a"
    assert len(done.pieces) == 20_450
    assert sum(at > 6_000 for at in asked) < 1_000


def test_where_a_rule_fits_again_is_not_walked_to_the_end_again_and_again():
    asked = []

    class Counted(LengthRule):
        def size(self, data, at):
            asked.append(at)
            return super().size(data, at)

    # A length that reaches behind the end, then a segment from which the walk meets the next such
    # length, then one from which it meets none of them, to the end.
    said = [b"\x0f\x00\x00" + bytes(297), bytes(1_501), bytes(1_502)] * 60 + [bytes(1)]
    one = Run(tuple(Segment(float(n), data) for n, data in enumerate(said)))
    framing._walk(one, Counted(0, 3, False, 3), 1_000_000)

    assert 50_000 < len(asked) < 500_000


def test_no_more_messages_are_cut_than_asked_for():
    records = Run(tuple(Segment(float(n), b"\x01\x02\0" * 500) for n in range(20)))
    for run in (records, lines(500, b"end\r\n")):
        done = cut([run, run], most=300)
        cut_bytes = sum(len(piece.data) for piece in done.pieces)
        assert len(done.pieces) <= 300
        assert cut_bytes + done.left_bytes == 2 * sum(len(one.data) for one in run.segments)


def test_when_the_time_is_up_what_was_sent_at_once_is_a_message():
    run = lines(0, b"end\r\n")
    done = cut([run], late=lambda: True)

    assert done.rule == "what is sent at once is a message"
    assert [piece.data for piece in done.pieces] == [one.data for one in run.segments if one.data]
