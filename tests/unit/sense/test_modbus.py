"""A plant's conversation, ADU by ADU."""

import struct

import pytest

from cronos.errors import InputError
from cronos.sense.modbus import AduSplitter, Fields, ModbusStream, parse_adu


def adu(pdu: bytes, transaction: int = 1, unit: int = 17) -> bytes:
    return struct.pack(">HHHB", transaction, 0, len(pdu) + 1, unit) + pdu


def values(fields: Fields, *names: str) -> tuple[object, ...]:
    return tuple(fields.get(f"modbus.{name}") for name in names)


def test_a_read_request_tells_unit_function_address_and_quantity() -> None:
    fields = parse_adu(adu(struct.pack(">BHH", 3, 0x6B, 3)), "request")
    assert fields == {
        "modbus.unit_id": 17,
        "modbus.function_code": 3,
        "modbus.direction": "request",
        "modbus.transaction_id": 1,
        "modbus.address": 0x6B,
        "modbus.quantity": 3,
    }


def test_a_written_register_and_a_written_coil_tell_their_value() -> None:
    register = parse_adu(adu(struct.pack(">BHH", 6, 1, 900)), "request")
    assert values(register, "address", "quantity", "value") == (1, 1, 900)
    coil = parse_adu(adu(struct.pack(">BHH", 5, 0xAC, 0xFF00)), "request")
    assert values(coil, "address", "value", "max_value") == (0xAC, 1, 1)


def test_many_written_registers_tell_the_first_the_least_and_the_greatest() -> None:
    pdu = struct.pack(">BHHB3H", 16, 40, 3, 6, 7, 2, 65535)
    fields = parse_adu(adu(pdu), "request")
    assert values(fields, "address", "quantity", "value", "min_value", "max_value") == (
        (40, 3, 7, 2, 65535)
    )


def test_many_written_coils_are_read_bit_by_bit() -> None:
    pdu = struct.pack(">BHHB2B", 15, 19, 10, 2, 0xCD, 0x01)
    fields = parse_adu(adu(pdu), "request")
    assert values(fields, "address", "quantity", "value", "min_value", "max_value") == (
        (19, 10, 1, 0, 1)
    )


def test_a_mask_write_and_a_read_write_keep_what_is_written_apart_from_what_is_read() -> None:
    mask = parse_adu(adu(struct.pack(">BHHH", 22, 4, 0xF2, 0x25)), "request")
    assert values(mask, "address", "and_mask", "value") == (4, 0xF2, 0x25)
    both = parse_adu(adu(struct.pack(">BHHHHB2H", 23, 3, 6, 14, 2, 4, 255, 9)), "request")
    assert values(both, "read_address", "read_quantity", "address", "max_value") == (3, 6, 14, 255)


def test_an_exception_tells_its_code_and_the_function_it_refuses() -> None:
    fields = parse_adu(adu(b"\x83\x02"), "response")
    assert values(fields, "function_code", "exception_code") == (3, 2)


def test_an_unknown_function_code_still_tells_the_header() -> None:
    assert values(parse_adu(adu(b"\x5a\x00"), "request"), "function_code", "address") == (90, None)


@pytest.mark.parametrize(
    "broken",
    [b"", b"\0\1\0\0\0\6", adu(b"\x03\x00"), adu(b"\x03\x00\x01\x00\x01") + b"x", b"\0" * 12],
)
def test_what_is_no_adu_is_refused_with_a_remedy(broken: bytes) -> None:
    with pytest.raises(InputError, match="Not a Modbus ADU"):
        parse_adu(broken, "request")


def test_adus_cut_anywhere_come_out_whole() -> None:
    wire = b"".join(adu(struct.pack(">BHH", 6, n, n), n) for n in range(1, 9))
    for step in (1, 5, 13, 200):
        splitter = AduSplitter()
        found = [
            piece
            for at in range(0, len(wire), step)
            for piece in splitter.feed(wire[at : at + step])
        ]
        assert b"".join(found) == wire
        assert len(found) == 8


def test_garbage_before_an_adu_is_passed_over_and_counted() -> None:
    splitter = AduSplitter()
    good = adu(struct.pack(">BHH", 6, 1, 2))
    assert splitter.feed(b"GET / HTTP/1.1\r\n" + good) == [good]
    assert splitter.skipped == 16


def test_an_answer_is_told_the_address_that_was_asked_for() -> None:
    stream = ModbusStream()
    stream.feed("request", adu(struct.pack(">BHH", 3, 100, 2), 7))
    (answer,) = stream.feed("response", adu(struct.pack(">BB2H", 3, 4, 1, 2), 7))
    assert isinstance(answer, dict)
    assert values(answer, "address", "quantity", "direction") == (100, 2, "response")


def test_after_a_gap_the_next_adu_is_read() -> None:
    stream = ModbusStream()
    good = adu(struct.pack(">BHH", 6, 1, 2))
    assert stream.feed("request", good[:9]) == []
    stream.gap("request")
    assert len(stream.feed("request", good)) == 1


def test_a_stream_that_is_not_modbus_is_a_sentence_not_an_error() -> None:
    (reason,) = ModbusStream().feed("request", b"\xff" * 40)
    assert isinstance(reason, str)
    assert "no Modbus ADU" in reason
