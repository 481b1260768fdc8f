"""The one input of discovery."""

import msgspec
import pytest

from cronos.discover.messages import Message


def test_a_message_needs_nothing_but_its_bytes():
    message = Message(b"\x01\x02")

    assert (message.payload, message.flow, message.direction, message.ts) == (
        b"\x01\x02",
        "",
        "",
        0,
    )
    assert (message.source, message.destination) == ("", "")


def test_a_message_cannot_be_changed_and_survives_its_encoding():
    message = Message(b"\x00", flow="7", direction="c2s", ts=1.5, source="10.0.0.1")

    with pytest.raises(AttributeError):
        message.flow = "8"
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=Message) == message
