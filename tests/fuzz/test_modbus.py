"""Arbitrary bytes as Modbus."""

import contextlib
import struct
from typing import Literal

from hypothesis import given, settings
from hypothesis import strategies as st

from cronos.errors import InputError
from cronos.sense.modbus import AduSplitter, ModbusStream, parse_adu

_DIRECTIONS = st.sampled_from(["request", "response"])


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), _DIRECTIONS)
def test_any_bytes_are_fields_or_a_sentence(
    data: bytes, direction: Literal["request", "response"]
) -> None:
    with contextlib.suppress(InputError):
        parse_adu(data, direction)


@settings(max_examples=200, deadline=None)
@given(st.binary(min_size=1, max_size=253), _DIRECTIONS)
def test_any_pdu_in_a_good_header_is_fields_or_a_sentence(
    pdu: bytes, direction: Literal["request", "response"]
) -> None:
    with contextlib.suppress(InputError):
        fields = parse_adu(struct.pack(">HHHB", 1, 0, len(pdu) + 1, 9) + pdu, direction)
        assert fields["modbus.function_code"] == pdu[0] & 0x7F
        assert all(isinstance(value, int | str) for value in fields.values())


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=600), st.integers(1, 60))
def test_a_stream_cut_anywhere_gives_the_same_adus_in_bounded_memory(
    data: bytes, step: int
) -> None:
    whole, pieces = AduSplitter(), AduSplitter()
    found = [adu for at in range(0, len(data), step) for adu in pieces.feed(data[at : at + step])]
    assert found == whole.feed(data)
    assert sum(map(len, found)) + pieces.skipped <= len(data)
    assert len(data) - sum(map(len, found)) - pieces.skipped < 260


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(_DIRECTIONS, st.binary(max_size=60), st.booleans()), max_size=10))
def test_any_conversation_is_fields_and_sentences(
    parts: list[tuple[Literal["request", "response"], bytes, bool]],
) -> None:
    stream = ModbusStream()
    for direction, data, gap in parts:
        if gap:
            stream.gap(direction)
        for found in stream.feed(direction, data):
            assert isinstance(found, dict | str)
