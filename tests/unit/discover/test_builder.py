"""From fields back to bytes: what was changed stays changed, what follows from it follows."""

import msgspec
import pytest

from cronos.discover.builder import build
from cronos.discover.interpreter import Interpreter, Occurrence, Parsed
from cronos.discover.ir import (
    Blocks,
    Checksum,
    Data,
    Grammar,
    MessageType,
    Number,
    Repeat,
    Seq,
    Size,
    Sized,
    Until,
    Varint,
)  # fmt: skip
from cronos.discover.model import Sem
from cronos.errors import InputError


def grammar(*items):
    return Grammar("plant", (MessageType("a", Seq(items)),))


FRAME = grammar(
    Number("length_0", 2, Sem.LENGTH, "le"),
    Sized(
        Size("field", 2, "length_0", mask=0x0FFF),
        Seq((Number("n_2", 1, Sem.LENGTH), Data("text_3", Size("field", 0, "n_2"), Sem.TEXT),
             Data("rest_4", Size("rest")))),
    ),
    Checksum("sum_5", "crc16-arc"),
)  # fmt: skip


def changed(parsed, name, value):
    return msgspec.structs.replace(
        parsed,
        fields=tuple(
            msgspec.structs.replace(f, value=value) if f.name == name else f for f in parsed.fields
        ),
    )


def frame():
    fields = [
        ("length_0", 0xA000),
        ("n_2", 0),
        ("text_3", b"pump"),
        ("rest_4", b"\1\2"),
        ("sum_5", 0),
    ]
    return Parsed(0, tuple(Occurrence(name, 0, 0, value) for name, value in fields))


def test_lengths_and_checksums_follow_from_what_they_cover():
    message = build(FRAME, frame())

    assert message[:8] == b"\x05\xa0\x04pump\x01"
    assert isinstance(Interpreter(FRAME).parse(message), Parsed)


def test_a_changed_field_gives_a_message_that_parses_again():
    run = Interpreter(FRAME)
    parsed = run.parse(build(FRAME, frame()))
    longer = build(FRAME, changed(parsed, "text_3", b"a longer name"))
    again = run.parse(longer)

    assert {f.name: f.value for f in again.fields}["text_3"] == b"a longer name"
    assert build(FRAME, again) == longer


def test_a_varint_length_grows_with_what_it_says():
    one = grammar(Varint("l_0", "ber", Sem.LENGTH), Data("d_1", Size("field", 0, "l_0")))
    parsed = Interpreter(one).parse(b"\x02ab")

    assert build(one, changed(parsed, "d_1", bytes(300)))[:3] == b"\x82\x01\x2c"


def refused(one, parsed):
    with pytest.raises(InputError) as error:
        build(one, parsed)
    return error.value.code == "discover.unbuildable"


def test_fields_that_the_grammar_does_not_make_are_refused():
    good = frame()

    assert refused(FRAME, Parsed(7, good.fields))
    assert refused(FRAME, Parsed(0, good.fields[:-1]))
    assert refused(FRAME, Parsed(0, (*good.fields, good.fields[0])))
    assert refused(FRAME, Parsed(0, good.fields[::-1]))
    assert refused(FRAME, changed(good, "text_3", 5))
    assert refused(FRAME, changed(good, "n_2", 256))
    assert refused(FRAME, changed(good, "rest_4", bytes(5_000)))


def test_a_delimiter_inside_a_text_is_refused():
    one = grammar(Until("t_0", b"|"), Data("bar_1", Size("fixed", 1)))
    parsed = Interpreter(one).parse(b"ab|")

    assert refused(one, changed(parsed, "t_0", b"a|b"))


def test_a_repeat_that_never_ends_is_refused():
    one = grammar(Repeat(Seq(())))

    assert refused(one, Parsed(0, (), (1 << 60,)))


def test_data_in_blocks_is_cut_anew_where_it_grew_and_a_length_outside_follows():
    size = Size("field", 0, "n_0")
    body = Seq((Data("text_0", size, Sem.TEXT), Checksum("inner_0", "xor8")))
    plant = grammar(Number("n_0", 1, Sem.LENGTH), Blocks(4, Checksum("sum_0", "sum8"), body))
    fields = [Occurrence("n_0", 0, 1, 0), Occurrence("text_0", 0, 3, b"abc"),
              Occurrence("inner_0", 0, 1, 0)]  # fmt: skip
    first = build(plant, Parsed(0, tuple(fields)))
    parsed = Interpreter(plant).parse(first)

    assert first == b"\3abc\x60\x86"
    assert isinstance(parsed, Parsed)
    longer = build(plant, changed(parsed, "text_0", b"abcdefgh"))
    again = Interpreter(plant).parse(longer)
    assert isinstance(again, Parsed)
    assert longer[0] == 8
    assert [f.name for f in again.fields] == [
        "n_0", "text_0", "sum_0", "text_0", "sum_0", "inner_0", "sum_0"
    ]  # fmt: skip
    assert build(plant, again) == longer
