"""Messages as JSON lines: what counts, what is ignored, what is remarked on."""

import gzip
import io
import json

import pytest

from cronos.discover.jsonl import MAX_PAYLOAD_BYTES, message_of, read_lines
from cronos.discover.messages import Message
from cronos.errors import InputError


def read(data):
    return list(read_lines(io.BytesIO(data)))


def line(**keys):
    return json.dumps(keys).encode() + b"\n"


def test_a_line_may_lack_everything_but_its_bytes():
    assert read(line(payload_hex="00ff")) == [Message(b"\x00\xff")]


def test_a_flow_may_be_a_number_or_a_name_and_other_keys_are_ignored():
    data = line(payload_hex="01", flow=7, direction="c2s", ts=2, fields=[{"offset": 0}], x=None)
    data += line(payload_hex="02", flow="a", direction="s2c", ts=None)

    assert read(data) == [Message(b"\x01", "7", "c2s", 2.0), Message(b"\x02", "a", "s2c")]


def test_a_direction_that_nobody_knows_is_none():
    assert read(line(payload_hex="01", direction="up"))[0].direction == ""


def test_a_line_that_is_no_message_keeps_its_place():
    first, second, third = read(line(payload_hex="01") + b"{}\n" + line(payload_hex="03"))

    assert first == Message(b"\x01")
    assert "Line 2 is no message" in second
    assert third == Message(b"\x03")


@pytest.mark.parametrize(
    "bad",
    [
        b"{",
        b"[1]",
        b'{"payload_hex": "0"}',
        b'{"payload_hex": "zz"}',
        b'{"payload_hex": 1}',
        b'{"payload_hex": "00", "ts": "late"}',
        b"\xff\xfe",
        b"[" * 100_000,
    ],
)
def test_whatever_a_line_holds_it_gives_a_sentence(bad):
    assert "Line 9" in message_of(bad, 9)


def test_blank_lines_are_none_and_the_last_needs_no_end():
    assert read(b"\n  \n" + line(payload_hex="01").rstrip()) == [Message(b"\x01")]


def test_gzip_is_unpacked_member_by_member():
    data = gzip.compress(line(payload_hex="01")) + gzip.compress(line(payload_hex="02"))

    assert [message.payload for message in read(data)] == [b"\x01", b"\x02"]


def test_a_gzip_that_was_cut_gives_what_is_there():
    lines = b"".join(line(payload_hex=f"{n % 256:02x}" * 40, flow=n * 7919) for n in range(50_000))
    data = gzip.compress(lines)

    found = read(data[: len(data) // 2])
    assert 1_000 < len([one for one in found if isinstance(one, Message)]) < 50_000


def test_what_only_begins_as_gzip_is_refused():
    with pytest.raises(InputError, match="cannot be unpacked"):
        read(b"\x1f\x8b" + b"x" * 100)


def test_a_line_or_a_payload_without_end_is_left_out():
    endless = b'{"payload_hex": "' + b"0" * (5 << 20) + b'"}\n'
    long = line(payload_hex="00" * (MAX_PAYLOAD_BYTES + 1))
    found = read(endless + long + line(payload_hex="01"))

    assert "longer" in found[0]
    assert "more than" in found[1]
    assert found[2] == Message(b"\x01")


def test_a_bomb_is_unpacked_in_bounded_pieces():
    bomb = gzip.compress(b"0" * (64 << 20))

    assert read(bomb) == ["Line 1 is longer than 4194304 bytes."]


@pytest.mark.parametrize("ts", ["1e308", "-5", "null", "9.3e9"])
def test_a_time_that_is_none_is_not_known(ts):
    assert message_of(b'{"payload_hex": "00", "ts": %s}' % ts.encode(), 1).ts == 0.0
