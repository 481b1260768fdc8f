import pytest

from cronos.errors import InputError
from cronos.link.tapfeed import TapAck, TapFrame, TapHello, pack, unpack, unpack_ack

FRAME = TapFrame(7, 1, 2, "data", 3, "192.0.2.7", 40312, "192.0.2.8", 502, "response", b"\0\1")


@pytest.mark.parametrize("message", [TapHello("s", "a:1", "b:2"), FRAME])
def test_what_the_tap_says_is_what_the_reader_hears(message):
    assert unpack(pack(message)) == message


def test_acknowledgements_survive_the_way_back():
    assert unpack_ack(pack(TapAck(9))) == TapAck(9)


@pytest.mark.parametrize(
    "body", [b"", b"\xff", b"\x90", pack(TapAck(1)), pack(FRAME)[:-1], b"\x91" * 5000]
)
def test_foreign_bytes_are_refused_with_a_remedy(body):
    with pytest.raises(InputError) as caught:
        unpack(body)
    assert caught.value.remedy


def test_a_port_out_of_range_is_refused():
    bad = TapFrame(7, 1, 2, "data", 3, "192.0.2.7", 70_000, "192.0.2.8", 502)
    with pytest.raises(InputError, match="65535"):
        unpack(pack(bad))


def test_a_frame_is_no_acknowledgement():
    with pytest.raises(InputError):
        unpack_ack(pack(FRAME))
