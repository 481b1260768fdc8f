"""Messages between a discovery's process and whoever started it."""

import pytest

from cronos.discover.wire import Unpacker, packed
from cronos.errors import UnreachableError
from cronos.link.frames import frame


@pytest.mark.parametrize("size", [0, 1, 1 << 20, (1 << 20) + 1, 3 << 20])
def test_a_message_of_any_size_comes_through_in_any_pieces(size):
    data = bytes(range(256)) * (size // 256) + bytes(size % 256)
    stream = packed("x", data) + packed("y", b"end")
    unpacker = Unpacker()
    step = 300_007
    found = [
        one for at in range(0, len(stream), step) for one in unpacker.feed(stream[at : at + step])
    ]

    assert found == [("x", data), ("y", b"end")]


@pytest.mark.parametrize(
    "bad", [b"\xff\xff\xff\xff", frame(b"\xc1"), frame(b"\x92\xa1x\xcf" + b"\xff" * 8), frame(b"")]
)
def test_what_is_no_message_ends_the_connection(bad):
    with pytest.raises(UnreachableError):
        Unpacker().feed(bad)
