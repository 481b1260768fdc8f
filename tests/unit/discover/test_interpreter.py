"""Messages go in, fields come out; whatever grammar and message are, the work is bounded."""

import struct
import time

import pytest
from tests.unit.discover.grammars import drawn

from cronos.discover import interpreter
from cronos.discover.builder import build
from cronos.discover.interpreter import Interpreter, Parsed, Refused, spread, whole
from cronos.discover.ir import (
    Blocks,
    Call,
    Case,
    Checksum,
    Data,
    Grammar,
    Maybe,
    MessageType,
    Number,
    Repeat,
    Seq,
    Size,
    Sized,
    Switch,
    Until,
    Varint,
)  # fmt: skip
from cronos.discover.model import Sem
from cronos.errors import InputError


def grammar(*items, rules=None):
    return Grammar("plant", (MessageType("a", Seq(items)),), rules or {})


def fields(result):
    assert isinstance(result, Parsed), result
    return [(f.name, f.offset, f.length, f.value) for f in result.fields]


WRITES = (
    Number("start_9", 2),
    Number("many_11", 2, Sem.COUNT),
    Number("bytes_12", 1, Sem.LENGTH),
    Repeat(Number("register_13", 2), Size("field", 0, "many_11")),
)
PDU = (
    Number("unit_6", 1),
    Number("function_7", 1, Sem.ENUM_FLAGS),
    Switch(
        "function_7",
        (
            Case((3, 4), Seq((Number("start_8", 2), Number("many_10", 2)))),
            Case((16,), Seq(WRITES)),
        ),
    ),
)
HEADER = (
    Number("transaction_0", 2, Sem.ID_SEQ),
    Number("protocol_2", 2, known=((0, 1.0),)),
    Number("length_4", 2, Sem.LENGTH),
)
REQUEST = Seq((*HEADER, Sized(Size("field", 0, "length_4"), Seq(PDU))))
MODBUS = Grammar("modbus", (MessageType("request", REQUEST, 1.0, "c2s"),))
WRITE = bytes.fromhex("0001 0000 000b 11 10 0001 0002 04 000a 0102")


def test_a_message_is_taken_apart_and_put_together():
    parsed = Interpreter(MODBUS).parse(WRITE)

    assert fields(parsed) == [
        ("transaction_0", 0, 2, 1), ("protocol_2", 2, 2, 0), ("length_4", 4, 2, 11),
        ("unit_6", 6, 1, 0x11), ("function_7", 7, 1, 16), ("start_9", 8, 2, 1),
        ("many_11", 10, 2, 2), ("bytes_12", 12, 1, 4),
        ("register_13", 13, 2, 10), ("register_13", 15, 2, 0x0102),
    ]  # fmt: skip
    assert build(MODBUS, parsed) == WRITE


def test_what_does_not_fit_is_refused_with_place_and_reason():
    run = Interpreter(MODBUS)

    assert run.parse(b"") == Refused("request: transaction_0 needs 2 bytes", 0)
    assert run.parse(WRITE + b"\0") == Refused("request: 1 bytes are left over", 17)
    assert "of 10" in run.parse(WRITE[:-1]).reason
    assert "no case" in run.parse(WRITE[:7] + b"\x63" + WRITE[8:]).reason
    assert run.parse(WRITE, "s2c") == Refused("no message type of this direction")
    assert isinstance(run.parse(WRITE, "c2s"), Parsed)
    assert "more than" in run.parse(bytes(interpreter.MAX_MESSAGE + 1)).reason


def test_random_values_where_others_are_known_are_refused_as_noise():
    one = grammar(Number("a_0", 4, known=((7, 0.99),)), Data("b_4", Size("rest")))
    run = Interpreter(one)

    assert run.parse(struct.pack(">I", 7) + b"x").bits > 31
    assert "random" in run.parse(b"abcdefgh").reason
    assert isinstance(run.parse(b"abcdefgh", floor=float("-inf")), Parsed)


def test_strict_values_refuse_what_was_never_seen():
    run = Interpreter(grammar(Number("a_0", 1, known=((7, 1.0),), strict=True)))

    assert fields(run.parse(b"\x07")) == [("a_0", 0, 1, 7)]
    assert run.parse(b"\x08") == Refused("a: a_0 is never 8", 0)


def test_a_masked_little_endian_length_with_a_constant():
    size = Size("field", -2, "n_0", mask=0x0FFF)
    run = Interpreter(grammar(Number("n_0", 2, Sem.LENGTH, "le"), Data("d_2", size)))

    assert fields(run.parse(struct.pack("<H", 0xA005) + b"abc"))[1] == ("d_2", 2, 3, b"abc")


@pytest.mark.parametrize(
    ("form", "data", "value"),
    [("leb128", b"\x05", 5), ("leb128", b"\xac\x02", 300), ("leb128", b"\x80\x00", 0),
     ("ber", b"\x05", 5), ("ber", b"\x81\xc8", 200), ("ber", b"\x82\x01\x00", 256)],
)  # fmt: skip
def test_varints_keep_their_own_width_both_ways(form, data, value):
    one = grammar(Varint("v_0", form))
    parsed = Interpreter(one).parse(data)

    assert fields(parsed) == [("v_0", 0, len(data), value)]
    assert build(one, parsed) == data


@pytest.mark.parametrize(
    ("form", "data"),
    [("leb128", b"\x80"), ("leb128", b"\xff" * 12), ("ber", b"\x80"), ("ber", b"\x85\0\0\0\0\1"),
     ("ber", b"\x82\1"), ("ber", b"")],
)  # fmt: skip
def test_what_is_no_varint_is_refused(form, data):
    assert isinstance(Interpreter(grammar(Varint("v_0", form))).parse(data), Refused)


def test_repeats_are_counted_delimited_or_run_to_the_end():
    item = Seq((Number("l_0", 1, Sem.LENGTH), Data("v_1", Size("field", 0, "l_0"))))
    labels = grammar(Repeat(item, None, b"\0"), Number("zero_2", 1))
    words = b"\x03www\x01x\0"

    assert len(fields(Interpreter(labels).parse(words))) == 5
    assert "no sentinel" in Interpreter(labels).parse(words[:-1]).reason
    assert len(fields(Interpreter(grammar(Repeat(item))).parse(words[:-1]))) == 4
    assert len(fields(Interpreter(grammar(Repeat(item))).parse(b""))) == 0


def test_an_item_of_no_bytes_is_refused_and_not_repeated_for_ever():
    empty = grammar(Number("n_0", 4, Sem.COUNT), Repeat(Seq(()), Size("field", 0, "n_0")))

    assert "items in" in Interpreter(empty).parse(b"\xff\xff\xff\xff").reason
    assert "empty" in Interpreter(grammar(Repeat(Seq(())))).parse(b"x").reason


def test_a_checksum_is_verified_or_listed():
    one = grammar(Data("d_0", Size("rest", 2)), Checksum("c_0", "crc16-modbus", "le"))
    frame = bytes.fromhex("0103000000 0ac5cd".replace(" ", ""))
    run = Interpreter(one)

    assert fields(run.parse(frame))[1] == ("c_0", 6, 2, 0xCDC5)
    assert "does not hold" in run.parse(b"\x02" + frame[1:]).reason
    assert run.parse(b"\x02" + frame[1:], checksums=False).bad_checksums == ("c_0",)


def test_a_checksum_over_the_whole_message_takes_itself_as_zero():
    one = grammar(
        Number("t_0", 2), Checksum("c_2", "internet", whole=True), Data("d_4", Size("rest"))
    )
    echo = bytes.fromhex("0800 f7fd 0001 0001")

    assert isinstance(Interpreter(one).parse(echo), Parsed)
    assert isinstance(Interpreter(one).parse(echo[:-1] + b"\2"), Refused)


def test_interleaved_blocks_carry_a_checksum_each():
    block = Seq(
        (Data("d_0", Size("rest", 2, most=16)), Checksum("c_0", "crc16-dnp", "le", local=True))
    )
    one = grammar(
        Data("head_0", Size("fixed", 8)), Checksum("c_8", "crc16-dnp", "le"), Repeat(block)
    )
    message = bytes.fromhex("056408c40200030036ace3c4174b5a")  # an open capture of DNP3
    parsed = Interpreter(one).parse(message)

    assert [f.length for f in parsed.fields] == [8, 2, 3, 2]
    assert build(one, parsed) == message


def test_rules_nest_and_end():
    inner = Repeat(Call("ber"))
    value = Switch("tag_0", (Case((1,), inner),), 0x20, Data("v_2", Size("rest")))
    length = Varint("len_1", "ber", Sem.LENGTH)
    ber = Seq((Number("tag_0", 1), length, Sized(Size("field", 0, "len_1"), value)))
    run = Interpreter(grammar(Call("ber"), rules={"ber": ber}))
    deep = b"\x04\x01x"
    for _ in range(10):
        deep = bytes([0x30, len(deep)]) + deep

    assert len(fields(run.parse(deep))) == 23
    for _ in range(20):
        deep = bytes([0x30, len(deep)]) + deep
    assert "too deep" in run.parse(deep).reason


def test_a_rule_that_calls_itself_for_nothing_ends():
    run = Interpreter(grammar(Call("loop"), rules={"loop": Seq((Call("loop"), Call("loop")))}))

    assert "too deep" in run.parse(b"abc").reason


HOSTILE = {
    "checksums over everything, over and over": grammar(Repeat(Checksum("c_0", "crc16-x25"))),
    "texts that do not end": grammar(Repeat(Until("u_0", b"\0\1", include=True))),
    "bytes one by one": grammar(Repeat(Number("n_0", 1))),
    "a doubling rule": grammar(
        Call("a"), rules={one: Seq((Maybe(Call(two)),) * 2) for one, two in ("ab", "ba")}
    ),
    "many types that fail late": Grammar(
        "plant",
        tuple(
            MessageType(f"t_{n}", Seq((Repeat(Number("n_0", 1), None, b"\xff"), Number("x_0", 8))))
            for n in range(256)
        ),
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", sorted(HOSTILE))
@pytest.mark.parametrize(
    "message", [bytes(65_000), b"\0\1" * 32_000, bytes(interpreter.MAX_MESSAGE)]
)
def test_hostile_grammars_and_messages_end_soon(what, message):
    began = time.process_time()
    result = Interpreter(HOSTILE[what]).parse(message, checksums=False)

    assert time.process_time() - began < 2
    if isinstance(result, Parsed):
        assert len(result.fields) <= interpreter.MAX_STEPS


@pytest.mark.parametrize("seed", range(12))
def test_drawn_messages_of_drawn_grammars_come_back_byte_by_byte(seed):
    one, messages = drawn(seed)
    run = Interpreter(one)
    for message in messages:
        parsed = run.parse(message, floor=float("-inf"))
        assert b"".join(message[f.offset : f.offset + f.length] for f in parsed.fields) == message
        assert build(one, parsed) == message


def test_a_grammar_that_may_not_run_is_refused():
    with pytest.raises(InputError):
        Interpreter(grammar(Call("nobody")))


def test_the_first_type_that_fits_is_taken():
    types = tuple(
        MessageType(name, Seq((Number(f"n_{name}", 1, known=((value, 1.0),), strict=True),)))
        for name, value in (("one", 1), ("two", 2))
    )
    run = Interpreter(Grammar("plant", types))

    assert run.parse(b"\x02").type == 1
    assert run.parse(b"\x01").type == 0


def blocks(*items, size=3):
    return grammar(Number("n_0", 1), Blocks(size, Checksum("sum_0", "sum8"), Seq(items)))


def test_data_in_blocks_is_read_in_one_piece_and_told_where_it_stands():
    plant = blocks(Number("a_0", 2), Number("b_0", 4), Data("rest_0", Size("rest")))
    message = b"\x09" + b"\1\2\3\6" + b"\4\5\6\x0f" + b"x\x78"
    parsed = Interpreter(plant).parse(message)

    assert fields(parsed) == [
        ("n_0", 0, 1, 9), ("a_0", 1, 2, 0x0102), ("b_0", 3, 1, 0x03040506), ("sum_0", 4, 1, 6),
        ("b_0", 5, 3, 0x03040506), ("sum_0", 8, 1, 15), ("rest_0", 9, 1, b"x"),
        ("sum_0", 10, 1, 120),
    ]  # fmt: skip
    assert [f.more for f in parsed.fields] == [0, 0, 3, 0, 0, 0, 0, 0]
    assert [(f.name, f.length) for f in whole(parsed.fields)][2] == ("b_0", 4)
    assert build(plant, parsed) == message


@pytest.mark.parametrize("cut", range(1, 11))
def test_blocks_that_end_too_early_are_refused(cut):
    plant = blocks(Number("a_0", 2), Number("b_0", 4), Data("rest_0", Size("rest")))
    message = b"\x09" + b"\1\2\3\6" + b"\4\5\6\x0f" + b"x\x78"
    parsed = Interpreter(plant).parse(message[:cut])

    assert isinstance(parsed, Refused) or cut == 9  # where the second block ends, all is there


def test_a_wrong_checksum_between_blocks_refuses_or_is_told():
    plant = blocks(Data("rest_0", Size("rest")))
    message = b"\x09" + b"\1\2\3\7" + b"\4\4"

    refused = Interpreter(plant).parse(message)
    assert refused == Refused("a: sum_0 does not hold", 4)
    told = Interpreter(plant).parse(message, checksums=False)
    assert isinstance(told, Parsed)
    assert told.bad_checksums == ("sum_0",)


def test_where_data_misfits_is_said_of_the_message():
    strict = Number("c_0", 1, known=((7, 1.0),), strict=True)
    plant = blocks(Data("a_0", Size("fixed", 4)), strict, size=2)
    message = b"\0" + b"\1\1\2" + b"\1\1\2" + b"\6\6"

    assert Interpreter(plant).parse(message) == Refused("a: c_0 is never 6", 7)


def test_blocks_of_one_byte_cost_steps():
    plant = blocks(Data("rest_0", Size("rest")), size=1)
    message = b"\0" + b"\1\1" * 40_000

    parsed = Interpreter(plant).parse(message)
    assert isinstance(parsed, Parsed)
    assert sum(len(f.value) for f in parsed.fields if isinstance(f.value, bytes)) == 40_000
    assert whole(parsed.fields)[1].value == b"\1" * 40_000
    assert isinstance(Interpreter(plant).parse(message * 3), Refused)
    assert spread((), (), 0, 1, 1) == []
