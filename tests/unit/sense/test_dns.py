"""DNS questions and their answers."""

import struct

import pytest

from cronos.sense.dns import decode_dns


def message(name: bytes, kind: int = 1, flags: int = 0x0100) -> bytes:
    return struct.pack(">HHHHHH", 7, flags, 1, 0, 0, 0) + name + struct.pack(">HH", kind, 1)


def test_a_question_tells_name_and_type_but_no_rcode() -> None:
    assert decode_dns(message(b"\3WWW\7example\3com\0", 28)) == {
        "query.hostname": "www.example.com",
        "query.type": "AAAA",
    }


def test_an_answer_tells_how_it_was_answered() -> None:
    assert decode_dns(message(b"\1x\0", 65_280, 0x8183)) == {
        "query.hostname": "x",
        "query.type": "TYPE65280",
        "rcode": "NXDOMAIN",
    }


def test_a_name_of_odd_bytes_is_escaped_and_the_root_is_a_dot() -> None:
    assert decode_dns(message(b"\3a\x1b \0"))["query.hostname"] == "a\\027\\032"
    assert decode_dns(message(b"\0"))["query.hostname"] == "."


@pytest.mark.parametrize(
    "broken",
    [
        b"",
        bytes(12),
        message(b"\xc0\x0c"),
        message(b"\x3fx"),
        message(b"\1x" * 200 + b"\0"),
        message(b"\1x\0")[:-1],
        message(b"\1x\0", flags=0x2800),
    ],
)
def test_what_is_no_question_gives_nothing(broken: bytes) -> None:
    assert decode_dns(broken) == {}
