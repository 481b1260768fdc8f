"""Elements of random grammars: each writes the bytes that its name promises."""

import struct

import numpy as np
import pytest

from cronos.discover.synthetic_fields import (
    Bcd,
    Draft,
    Moment,
    Number,
    Options,
    Own,
    Real,
    Repeat,
    Scope,
    Tagged,
    Talk,
    Words,
    ber_length,
    varint,
)

AT = 1_700_000_000.5


def written(*elements, talk=None):
    draft = Draft()
    for element in elements:
        element.write(draft, talk or Talk(np.random.default_rng(1), AT))
    draft.finish()
    return bytes(draft.data), draft.fields


def number(value, width=1):
    return Number("n", width, "be", "constant", "value", (value,))


def test_a_scope_counts_what_follows_and_its_constant_in():
    data, _ = written(number(9), Scope("l", (number(1, 4),), width=2, plus=3))
    assert data == bytes.fromhex("09000700000001")

    data, _ = written(number(9), Scope("l", (number(1, 4),), width=2, order="le", whole=True))
    assert data == bytes.fromhex("09070000000001")


def test_masked_bits_stand_above_the_length():
    data, _ = written(Scope("l", (number(1, 4),), width=2, high=4))

    assert int.from_bytes(data[:2], "big") & 0x0FFF == 4


@pytest.mark.parametrize(
    ("value", "hexed"), [(5, "05"), (127, "7f"), (128, "8180"), (500, "8201f4")]
)
def test_ber_lengths_are_short_below_128_and_long_from_there(value, hexed):
    assert ber_length(value).hex() == hexed


@pytest.mark.parametrize(("value", "hexed"), [(5, "05"), (127, "7f"), (128, "8001"), (300, "ac02")])
def test_varints_carry_seven_bits_a_byte(value, hexed):
    assert varint(value).hex() == hexed


def test_ber_values_nest():
    data, fields = written(Tagged("s", 0x30, (Tagged("i", 2, (number(7),)),)))

    assert data == bytes.fromhex("3003020107")
    assert [f.sem for f in fields] == ["enum_flags", "length", "enum_flags", "length", "value"]


def test_counts_count_and_byte_counts_measure():
    for unit in (0, 1):
        data, fields = written(Repeat("r", 1, "be", (number(3, 2),), 9, unit))
        assert data[0] == (len(data) - 1 if unit else (len(data) - 1) // 2)
        assert fields[0].sem == ("length" if unit else "count")


def test_options_follow_one_another_and_are_padded():
    data, fields = written(Options("o", (5, 6), (number(1, 3), number(2, 3)), align=4, end=255))

    at = 0
    while data[at] != 255:
        assert data[at + 1] == 3
        at += 2 + 4
    assert at == len(data) - 1
    assert fields[-1].name == "o_end"


def test_times_are_near_the_message_in_every_form():
    scale = {"unix32": (0, 1.0), "unix64ms": (0, 1e3), "unix64us": (0, 1e6),
             "ntp": (2208988800, float(1 << 32)), "filetime": (11644473600, 1e7)}  # fmt: skip
    for form, (shift, unit) in scale.items():
        data, _ = written(Moment("t", "le", form))
        assert abs(int.from_bytes(data, "little") / unit - shift - AT) < 1.5
    data, _ = written(Moment("t", "be", "double"))
    assert abs(struct.unpack(">d", data)[0] - AT) < 1.5
    assert written(Bcd("d", 6, clock=True))[0].hex() == "231114221320"


def test_a_flow_remembers_its_counters_addresses_and_readings():
    talk = Talk(np.random.default_rng(3), AT)
    counter = Number("c", 2, "be", "counter", "id_seq", (1,))
    first, second = (int.from_bytes(written(counter, talk=talk)[0], "big") for _ in range(2))
    reading = [struct.unpack("<f", written(Real("f", 4, "le"), talk=talk)[0])[0] for _ in range(2)]

    assert second == first + 1
    assert abs(reading[0] - reading[1]) < 1
    assert written(Own("a"), talk=talk)[0] == talk.addresses[0]
    talk.direction = "s2c"
    assert written(Own("a"), talk=talk)[0] == talk.addresses[1]


def test_text_has_the_frame_it_says():
    assert len(written(Words("t", "fixed", 16))[0]) == 16
    assert written(Words("t", "nul"))[0].endswith(b"\0")
    data, fields = written(Words("t", "utf16", 2))
    assert int.from_bytes(data[:2], "big") == len(data) - 2 == fields[1].length
