"""The same conversation under every link header."""

import struct
from socket import AF_INET6, inet_pton

import pytest
from bench.capture_generator import tcp

from cronos.link.packets import PacketDecoder, Transport, endpoints, reverse, spell

A, B = bytes((192, 0, 2, 7)), bytes((198, 51, 100, 2))
A6, B6 = inet_pton(AF_INET6, "2001:db8::7"), inet_pton(AF_INET6, "2001:db8::2")
V4 = tcp((A, B, 40_312, 502), (1000, 2000, 0x18), 5)
KEY4 = A + B + struct.pack("!HH", 40_312, 502)
KEY6 = A6 + B6 + struct.pack("!HH", 40_312, 502)


def v6(payload: bytes, following: int = 6, extensions: bytes = b"") -> bytes:
    head = struct.pack("!IHBB", 6 << 28, len(extensions) + len(payload), following, 64)
    return head + A6 + B6 + extensions + payload


V6 = v6(V4[20:])
MACS = b"\x02\0\0\0\0\1\x02\0\0\0\0\2"
ETHERNET4, ETHERNET6 = MACS + b"\x08\0", MACS + b"\x86\xdd"


def decode(frame: bytes, link: int = 1, decoder: PacketDecoder | None = None) -> Transport | None:
    return (decoder or PacketDecoder()).decode(
        b"before" + frame + b"after", 6, 6 + len(frame), link
    )


@pytest.mark.parametrize(
    ("frame", "link"),
    [
        (ETHERNET4 + V4, 1),
        (ETHERNET4 + V4 + bytes(6), 1),  # padded
        (MACS + b"\x81\0\0\5\x08\0" + V4, 1),
        (MACS + b"\x88\xa8\0\1\x81\0\0\5\x08\0" + V4, 1),
        (MACS + b"\x88\x47\0\0\x10\x40\0\0\x11\x40" + V4, 1),
        (MACS + b"\x88\x64\x11\0\0\1\0\x2d\0\x21" + V4, 1),
        (bytes(14) + b"\x08\0" + V4, 113),
        (b"\x08\0" + bytes(18) + V4, 276),
        (V4, 101),
        (V4, 228),
        (b"\2\0\0\0" + V4, 0),
        (b"\0\0\0\2" + V4, 108),
        (MACS + b"\x08\0" + b"\x46" + V4[1:2] + b"\0\x31" + V4[4:20] + b"\1\1\1\1" + V4[20:], 1),
    ],
)
def test_ipv4_is_found_under_every_link_header(frame: bytes, link: int) -> None:
    assert decode(frame, link) == (6, KEY4, 1000, 2000, 0x18, 5, bytes(range(5)))


@pytest.mark.parametrize(
    ("frame", "link"),
    [
        (ETHERNET6 + V6, 1),
        (V6, 101),
        (V6, 229),
        (b"\x1e\0\0\0" + V6, 0),
        (ETHERNET6 + v6(V4[20:], 0, b"\6\0\1\4\0\0\0\0"), 1),
        (b"\x86\xdd" + bytes(18) + V6, 276),
    ],
)
def test_ipv6_is_found_with_and_without_extension_headers(frame: bytes, link: int) -> None:
    assert decode(frame, link) == (6, KEY6, 1000, 2000, 0x18, 5, bytes(range(5)))


@pytest.mark.parametrize("size", [0, 3, 100])
def test_udp_reads_the_same_by_either_path(size: int) -> None:
    data = bytes(range(size))
    datagram = struct.pack("!HHHH", 5353, 53, 8 + size, 0) + data
    head = struct.pack("!BBHHHBBH", 0x45, 0, 28 + size, 1, 0, 64, 17, 0)
    expected = (17, A + B + struct.pack("!HH", 5353, 53), 0, 0, 0, size, data)
    assert decode(ETHERNET4 + head + A + B + datagram) == expected
    assert decode(head + A + B + datagram, 101) == expected


def test_a_packet_cut_by_the_snap_length_keeps_its_length_on_the_wire() -> None:
    packet = tcp((A, B, 1, 2), (1, 2, 0x10), 1000)[:100]
    for frame, link in ((ETHERNET4 + packet, 1), (packet, 101)):
        found = decode(frame, link)
        assert found
        assert found[5] == 1000
        assert len(found[6]) == 60


def fragments(data: bytes, sizes: list[int]) -> list[bytes]:
    out, at = [], 0
    for size in sizes:
        more = 0x2000 if at + size < len(data) else 0
        piece = data[at : at + size]
        head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(piece), 77, more | at // 8, 64, 6, 0)
        out.append(head + A + B + piece)
        at += size
    return out


def test_fragments_in_any_order_give_the_packet_once() -> None:
    whole = tcp((A, B, 40_312, 502), (1000, 2000, 0x18), 60)
    pieces = fragments(whole[20:], [40, 24, 16])
    for order in ((0, 1, 2), (2, 0, 1), (1, 1, 2, 0)):
        decoder = PacketDecoder()
        found = [decode(ETHERNET4 + pieces[n], 1, decoder) for n in order]
        assert [one for one in found if one] == [(6, KEY4, 1000, 2000, 0x18, 60, bytes(range(60)))]


def test_ipv6_fragments_give_the_packet_too() -> None:
    whole = V4[20:]
    decoder = PacketDecoder()
    first = v6(whole[:16], 44, struct.pack("!BBHI", 6, 0, 1, 9))
    last = v6(whole[16:], 44, struct.pack("!BBHI", 6, 0, 16, 9))
    assert decode(ETHERNET6 + first, 1, decoder) is None
    assert decode(ETHERNET6 + last, 1, decoder) == (6, KEY6, 1000, 2000, 0x18, 5, bytes(range(5)))


def test_what_is_not_ip_or_cut_in_its_header_is_counted_and_no_error() -> None:
    decoder = PacketDecoder()
    for frame, link in (
        (MACS + b"\x08\x06" + bytes(28), 1),
        (b"", 1),
        (MACS, 1),
        (ETHERNET4 + V4[:15], 1),
        (ETHERNET4 + V4[:25], 1),
        (V4, 147),
        (b"\x45", 101),
    ):
        assert decode(frame, link, decoder) is None
    assert decoder.unread + decoder.other == 7


def test_keys_turn_round_and_spell_their_ends() -> None:
    assert reverse(reverse(KEY4)) == KEY4
    assert reverse(reverse(KEY6)) == KEY6
    assert endpoints(reverse(KEY4)) == ("198.51.100.2", 502, "192.0.2.7", 40_312)
    assert endpoints(KEY6) == ("2001:db8::7", 40_312, "2001:db8::2", 502)
    assert endpoints(A + B) == ("192.0.2.7", 0, "198.51.100.2", 0)
    assert spell(inet_pton(AF_INET6, "::ffff:192.0.2.7")) == "192.0.2.7"
