"""Both capture formats, both byte orders, cut anywhere."""

import struct

import pytest

from cronos.link.capture import CaptureReader


def pcap(order: str, magic: int, packets: list[tuple[int, int, bytes]], link: int = 1) -> bytes:
    out = struct.pack(order + "IHHiIII", magic, 2, 4, 0, 0, 65535, link)
    for seconds, fraction, data in packets:
        out += struct.pack(order + "IIII", seconds, fraction, len(data), len(data)) + data
    return out


def block(order: str, kind: int, body: bytes) -> bytes:
    body += bytes(-len(body) % 4)
    length = len(body) + 12
    return struct.pack(order + "II", kind, length) + body + struct.pack(order + "I", length)


def section(order: str) -> bytes:
    return block(order, 0x0A0D0D0A, struct.pack(order + "IHHq", 0x1A2B3C4D, 1, 0, -1))


def interface(order: str, link: int, options: bytes = b"") -> bytes:
    return block(order, 1, struct.pack(order + "HHI", link, 0, 65535) + options)


def enhanced(order: str, number: int, ticks: int, data: bytes) -> bytes:
    head = struct.pack(
        order + "IIIII", number, ticks >> 32, ticks & 0xFFFFFFFF, len(data), len(data)
    )
    return block(order, 6, head + data)


def read(wire: bytes, step: int) -> tuple[list[tuple[int, int, bytes]], CaptureReader]:
    reader, found = CaptureReader(), []
    for at in range(0, len(wire), step):
        for time_ns, link, start, end in reader.feed(wire[at : at + step]):
            found.append((time_ns, link, reader.buffer[start:end]))
    return found, reader


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize(("magic", "scale"), [(0xA1B2C3D4, 1000), (0xA1B23C4D, 1)])
@pytest.mark.parametrize("step", [1, 17, 10_000])
def test_pcap_in_either_order_and_resolution_gives_its_packets(
    order: str, magic: int, scale: int, step: int
) -> None:
    wire = pcap(order, magic, [(5, 7, b"first"), (6, 8, b""), (7, 9, b"third")], link=113)
    found, reader = read(wire, step)
    assert found == [
        (5_000_000_000 + 7 * scale, 113, b"first"),
        (6_000_000_000 + 8 * scale, 113, b""),
        (7_000_000_000 + 9 * scale, 113, b"third"),
    ]
    assert (reader.rest, reader.broken, reader.offset) == (0, "", len(wire))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("step", [1, 17, 10_000])
def test_pcapng_of_several_sections_interfaces_and_resolutions(order: str, step: int) -> None:
    nanoseconds = struct.pack(order + "HHB3xHHq", 9, 1, 9, 14, 8, 100)
    other = ">" if order == "<" else "<"
    binary = struct.pack(other + "HHB3xHH", 9, 1, 0x80 | 10, 0, 0)
    wire = (
        section(order)
        + interface(order, 1)
        + interface(order, 101, nanoseconds)
        + block(order, 0x0BAD, b"unknown")
        + enhanced(order, 0, 5_000_001, b"micro")
        + enhanced(order, 1, 7, b"nano")
        + block(order, 3, struct.pack(order + "I", 6) + b"simple")
        + section(other)
        + interface(other, 276, binary)
        + enhanced(other, 0, 1024, b"binary")
    )
    found, reader = read(wire, step)
    assert found == [
        (5_000_001_000, 1, b"micro"),
        (100_000_000_007, 101, b"nano"),
        (0, 1, b"simple"),
        (1_000_000_000, 276, b"binary"),
    ]
    assert (reader.rest, reader.broken) == (0, "")


def test_a_long_block_that_nobody_needs_is_passed_over_without_being_held() -> None:
    wire = section("<") + interface("<", 1) + block("<", 0x0BAD, bytes(3 << 20))
    wire += enhanced("<", 0, 1, b"after")
    reader, found, held = CaptureReader(), 0, 0
    for at in range(0, len(wire), 65_536):
        found += len(reader.feed(wire[at : at + 65_536]))
        held = max(held, reader.rest)
    assert found == 1
    assert held < 200_000


def test_a_truncated_file_leaves_a_rest_and_the_offset_of_the_packet_it_cut() -> None:
    wire = pcap("<", 0xA1B2C3D4, [(1, 0, b"whole"), (2, 0, b"cut off")])
    found, reader = read(wire[:-3], 1000)
    assert len(found) == 1
    assert reader.rest == 16 + 4
    assert reader.offset == 24 + 16 + 5


@pytest.mark.parametrize(
    ("wire", "why"),
    [
        (b"GET / HTTP/1.1", "magic number"),
        (pcap("<", 0xA1B2C3D4, []) + struct.pack("<IIII", 1, 1, 1 << 30, 9), "1073741824 bytes"),
        (section("<") + struct.pack("<III", 6, 7, 0), "block of 7 bytes"),
        (section("<") + struct.pack("<III", 6, 1 << 28, 0), "268435456"),
        (section("<") + enhanced("<", 3, 1, b"x"), "interface 3"),
        (b"\x0a\x0d\x0d\x0a" + bytes(24), "byte-order"),
    ],
)
def test_what_cannot_be_followed_is_broken_with_a_reason(wire: bytes, why: str) -> None:
    _, reader = read(wire, 1000)
    assert why in reader.broken
    assert reader.feed(b"more") == []
