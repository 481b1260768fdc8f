"""Arbitrary and mutated captures: readings or a sentence, never another error."""

import contextlib
import struct

from bench.capture_generator import HEADER, tcp
from hypothesis import given, settings
from hypothesis import strategies as st

from cronos.errors import InputError
from cronos.link.packets import PacketDecoder
from cronos.sense.pcap import PcapConfig, PcapSensor
from cronos.types import Defect, Observation, Provenance, decode, encode

_LINKS = [0, 1, 12, 101, 108, 113, 147, 228, 229, 276]


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self.name, self.provenance, self.first = "fuzz", Provenance.AUTHENTICATED, 1
        self._data = data

    def read(self, size: int) -> bytes | None:
        out, self._data = self._data[:size], self._data[size:]
        return out

    def acknowledge(self, seq: int) -> None: ...

    def close(self) -> None: ...


def _survives(wire: bytes) -> None:
    seq = 0
    with contextlib.suppress(InputError):
        for batch in PcapSensor(PcapConfig(max_flows=8)).read(_Bytes(wire)):
            for reading in batch:
                assert isinstance(reading, Observation | Defect)
                assert decode(encode(reading)) == reading
                if isinstance(reading, Observation):
                    assert reading.seq == seq + 1
                    seq = reading.seq


def _records(frames: list[bytes], link: int) -> bytes:
    out = HEADER[:20] + struct.pack("<I", link)
    for n, frame in enumerate(frames):
        out += struct.pack("<IIII", n, 0, len(frame), len(frame)) + frame
    return out


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([b"", HEADER, b"\x0a\x0d\x0d\x0a"]), st.binary(max_size=400))
def test_any_bytes_give_readings_or_a_sentence(magic: bytes, rest: bytes) -> None:
    _survives(magic + rest)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.sampled_from("<>"), st.lists(st.integers(1, 6), max_size=6))
def test_any_blocks_give_readings_or_a_sentence(body: bytes, order: str, kinds: list[int]) -> None:
    wire = struct.pack(order + "IIIHHqI", 0x0A0D0D0A, 28, 0x1A2B3C4D, 1, 0, -1, 28)
    wire += struct.pack(order + "IIHHII", 1, 20, 1, 0, 0, 20)
    for kind in kinds:
        padded = body + bytes(-len(body) % 4)
        length = len(padded) + 12
        wire += struct.pack(order + "II", kind, length) + padded + struct.pack(order + "I", length)
    _survives(wire)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(_LINKS), st.lists(st.binary(max_size=120), max_size=8))
def test_any_frames_are_decoded_or_counted(link: int, frames: list[bytes]) -> None:
    _survives(_records(frames, link))


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from([b"\x08\0", b"\x86\xdd", b"\x81\0", b"\x88\x47", b"\x88\x64"]),
    st.sampled_from([b"\x45", b"\x46", b"\x4f", b"\x60", b""]),
    st.sampled_from([0, 6, 17, 44, 50, 51, 58, 60]),
    st.binary(min_size=20, max_size=120),
)
def test_near_packets_are_decoded_or_counted(
    ethertype: bytes, version: bytes, protocol: int, rest: bytes
) -> None:
    body = bytearray(version + rest)
    body[9 if version < b"\x50" else 6] = protocol
    frame = bytes(12) + ethertype + bytes(body)
    PacketDecoder().decode(frame, 0, len(frame), 1)


_SEGMENT = st.tuples(
    st.booleans(),
    st.sampled_from([0x02, 0x12, 0x10, 0x18, 0x11, 0x04, 0x14, 0x00]),
    st.integers(95, 130),
    st.integers(95, 130),
    st.binary(max_size=30),
)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from([502, 80, 443]), st.lists(_SEGMENT, max_size=40))
def test_any_conversation_is_followed(
    port: int, segments: list[tuple[bool, int, int, int, bytes]]
) -> None:
    a, b = bytes((192, 0, 2, 7)), bytes((198, 51, 100, 2))
    frames: list[bytes] = []
    for outward, flags, seq, ack, data in segments:
        ends = (a, b, 4000, port) if outward else (b, a, port, 4000)
        head = tcp(ends, (seq, ack, flags), len(data))[:40]
        frames.append(bytes(12) + b"\x08\0" + head + data)
    _survives(_records(frames, 1))
