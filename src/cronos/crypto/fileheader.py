"""What stands before the first chunk of a sealed file, and how a stranger's is read.

| offset | bytes | field |
|---|---|---|
| 0 | 6 | ``CRSEAL`` |
| 6 | 1 | version, 1 |
| 7 | 1 | how it opens: 0 with a key, 1 with a passphrase |
| 8 | 1 | binary logarithm of the size of a full chunk's record, 12 to 20 |
| 9 | 22 | with a passphrase only: how it is stretched (`filepass`) |
| then | 4 | length of the epoch packet |
| then | n | the epoch packet, topic ``file`` (`epoch`) |
"""

import struct
from typing import Final

import msgspec

from cronos.crypto.chunks import Reads, fill
from cronos.crypto.filepass import STRETCH_BYTES, Stretch, parse_stretch
from cronos.crypto.refusal import refused
from cronos.errors import InputError

MAGIC: Final = b"CRSEAL"
VERSION: Final = 1
# 256 KiB as sealed: more is no faster. The plain chunk is 30 bytes less, which is meant: writing
# large powers of two makes Linux take its page cache in large pieces, and on a virtual machine
# that gives free memory back to its host these are slow to come (measured: five times).
CHUNK_LOG2: Final = 18
LEAST_LOG2: Final = 12
MOST_LOG2: Final = 20
# 64 recipients of the widest suite and a signature take 115,000 bytes.
MAX_PACKET_BYTES: Final = 128 << 10
_START: Final = struct.Struct(">6sBBB")
_LENGTH: Final = struct.Struct(">I")


class Header(msgspec.Struct, frozen=True):
    """The fields of a header; `raw` is all of it."""

    raw: bytes
    chunk_log2: int
    stretch: Stretch | None
    packet: bytes


def make_header(stretch: Stretch | None, packet: bytes, chunk_log2: int = CHUNK_LOG2) -> Header:
    """Write a header."""
    start = _START.pack(MAGIC, VERSION, int(stretch is not None), chunk_log2)
    stretched = stretch.encode() if stretch else b""
    raw = start + stretched + _LENGTH.pack(len(packet)) + packet
    return Header(raw, chunk_log2, stretch, packet)


def read_header(source: Reads) -> Header:
    """Read up to the first chunk; every length is bounded before anything is allocated.

    Raises:
        InputError: it is no sealed file, or one of a later version.
        DeniedError: it is damaged.
    """
    start = _start(source)
    _, version, kind, chunk_log2 = _START.unpack(start)
    if version != VERSION:
        raise InputError(
            "crypto.newer_file",
            f"It is a sealed file of version {version}; this Cronos knows version {VERSION}.",
            "Open it with a later Cronos.",
        )
    if kind > 1 or not LEAST_LOG2 <= chunk_log2 <= MOST_LOG2:
        raise refused()
    stretched = _take(source, STRETCH_BYTES) if kind else b""
    stretch = parse_stretch(stretched) if kind else None
    prefix = _take(source, _LENGTH.size)
    (length,) = _LENGTH.unpack(prefix)
    if length > MAX_PACKET_BYTES:
        raise refused()
    packet = _take(source, length)
    return Header(start + stretched + prefix + packet, chunk_log2, stretch, packet)


def _start(source: Reads) -> bytes:
    buffer = memoryview(bytearray(_START.size))
    start = bytes(buffer[: fill(source, buffer)])
    if not start.startswith(MAGIC):
        raise InputError(
            "crypto.not_sealed",
            "It is no file that `cronos seal` wrote.",
            "Name a sealed file; other formats are not read.",
        )
    if len(start) < _START.size:
        raise refused()
    return start


def _take(source: Reads, count: int) -> bytes:
    buffer = memoryview(bytearray(count))
    if fill(source, buffer) < count:
        raise refused()
    return bytes(buffer)
