"""Arbitrary bytes as DNS."""

import struct

from hypothesis import given, settings
from hypothesis import strategies as st

from cronos.sense.dns import decode_dns


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 65_535), st.binary(max_size=300))
def test_any_message_is_a_question_or_nothing(flags: int, rest: bytes) -> None:
    fields = decode_dns(struct.pack(">HHHHHH", 1, flags, 1, 0, 0, 0) + rest)
    name = fields.get("query.hostname", "")
    assert isinstance(name, str)
    assert name.isascii()
    assert name.isprintable()
    decode_dns(rest)
