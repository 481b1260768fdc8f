"""Capture files: cut pcap and pcapng into packets while they stream through.

`CaptureReader` is fed whatever was read and gives the packets that are whole. It holds at most
one unfinished block, and reads both byte orders and every time resolution of either format.

Source: draft-ietf-opsawg-pcap (pcap), draft-ietf-opsawg-pcapng (pcapng).
"""

import struct
from typing import Final, NamedTuple, TypeAlias

# (time since the epoch in ns, link type, first byte, byte after the last) within `buffer`
Packet: TypeAlias = tuple[int, int, int, int]

MAGICS: Final = (
    b"\xa1\xb2\xc3\xd4",
    b"\xd4\xc3\xb2\xa1",
    b"\xa1\xb2\x3c\x4d",
    b"\x4d\x3c\xb2\xa1",
)
PCAPNG_MAGIC: Final = b"\x0a\x0d\x0d\x0a"
_NANOSECOND: Final = (b"\xa1\xb2\x3c\x4d", b"\x4d\x3c\xb2\xa1")
_BIG_ENDIAN: Final = (b"\xa1\xb2\xc3\xd4", b"\xa1\xb2\x3c\x4d")
_PCAP_HEADER_BYTES: Final = 24
_MAX_PACKET_BYTES: Final = 1 << 20
_MAX_INTERFACES: Final = 4096

_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _ENHANCED_PACKET = 0x0A0D0D0A, 1, 2, 3, 6
_MIN_BODY_BYTES: Final = {_SECTION: 16, _INTERFACE: 8, _OLD_PACKET: 20, _SIMPLE_PACKET: 4}
_TIME_RESOLUTION: Final = 9
_TIME_OFFSET: Final = 14


class _Interface(NamedTuple):
    link: int
    snap_bytes: int
    ticks_per_s: int
    offset_s: int


class CaptureReader:
    """Gives the packets of one capture; `feed` until the source ends, then look at `rest`.

    `broken` is a sentence once nothing more can be read: block lengths chain the file together,
    so behind a wrong one there is no way to find the next packet. `offset` is where in the
    capture the bytes begin that were not understood yet.
    """

    def __init__(self) -> None:
        self.buffer = b""
        self.offset = 0
        self.broken = ""
        self._at = 0
        self._skip = 0
        self._format = ""
        self._order = "<"
        self._record = struct.Struct("<IIII")
        self._fraction_ns = 1000
        self._link = 0
        self._interfaces: list[_Interface] = []

    @property
    def rest(self) -> int:
        """How many bytes of an unfinished packet or header are held."""
        return len(self.buffer) - self._at

    def feed(self, data: bytes) -> list[Packet]:
        """Take the next bytes; the packets given lie in `buffer` until the next call."""
        if self._skip:
            passed = min(self._skip, len(data))
            self._skip -= passed
            self.offset += passed
            data = data[passed:]
        self.buffer = self.buffer[self._at :] + data if self.rest else data
        self._at = 0
        packets: list[Packet] = []
        if not self.broken and (self._format or self._begin()):
            if self._format == "pcap":
                self._records(packets)
            else:
                self._blocks(packets)
        self.offset += self._at
        return packets

    def _begin(self) -> bool:
        magic = self.buffer[:4]
        if magic == PCAPNG_MAGIC:
            self._format = "pcapng"
        elif magic in MAGICS:
            if len(self.buffer) < _PCAP_HEADER_BYTES:
                return False
            self._format = "pcap"
            order = ">" if magic in _BIG_ENDIAN else "<"
            self._record = struct.Struct(order + "IIII")
            self._fraction_ns = 1 if magic in _NANOSECOND else 1000
            # The upper bits tell of a frame check sequence; they are no link type.
            self._link = struct.unpack_from(order + "I", self.buffer, 20)[0] & 0xFFFF
            self._at = _PCAP_HEADER_BYTES
        elif len(self.buffer) >= 4:
            self.broken = "it does not begin with the magic number of pcap or pcapng"
        return bool(self._format)

    def _records(self, packets: list[Packet]) -> None:
        buffer, unpack, at = self.buffer, self._record.unpack_from, self._at
        fraction_ns, link, end = self._fraction_ns, self._link, len(self.buffer)
        while end - at >= 16:
            seconds, fraction, length, _ = unpack(buffer, at)
            if length > _MAX_PACKET_BYTES:
                self.broken = f"a packet of {length} bytes is announced"
                break
            stop = at + 16 + length
            if stop > end:
                break
            packets.append((seconds * 1_000_000_000 + fraction * fraction_ns, link, at + 16, stop))
            at = stop
        self._at = at

    def _blocks(self, packets: list[Packet]) -> None:
        while not self.broken and self.rest >= 12:
            at = self._at
            if self.buffer[at : at + 4] == PCAPNG_MAGIC and not self._byte_order(at):
                break
            kind, length = struct.unpack_from(self._order + "II", self.buffer, at)
            if length < 12 + _MIN_BODY_BYTES.get(kind, 0) or length % 4:
                self.broken = f"a block of {length} bytes is announced"
            elif length > self.rest:
                self._unfinished(kind, length)
                break
            else:
                self._block(kind, at + 8, at + length - 4, packets)
                self._at = at + length

    def _byte_order(self, at: int) -> bool:
        magic = self.buffer[at + 8 : at + 12]
        if magic not in (b"\x1a\x2b\x3c\x4d", b"\x4d\x3c\x2b\x1a"):
            self.broken = "a section header has no byte-order magic"
            return False
        self._order = ">" if magic == b"\x1a\x2b\x3c\x4d" else "<"
        self._interfaces = []
        return True

    def _unfinished(self, kind: int, length: int) -> None:
        """Wait for the rest of a block, or pass over one that is long and not needed."""
        if length <= _MAX_PACKET_BYTES + 64:
            return
        if kind in (_SECTION, _INTERFACE, _OLD_PACKET, _SIMPLE_PACKET, _ENHANCED_PACKET):
            self.broken = f"a block of {length} bytes is announced"
            return
        self._skip = length - self.rest
        self._at = len(self.buffer)

    def _block(self, kind: int, start: int, end: int, packets: list[Packet]) -> None:
        if kind == _ENHANCED_PACKET and end - start >= 20:
            interface, high, low, length = struct.unpack_from(
                self._order + "IIII", self.buffer, start
            )
            self._packet(interface, (high << 32 | low, start + 20, length), end, packets)
        elif kind == _OLD_PACKET:
            interface, _, high, low, length = struct.unpack_from(
                self._order + "HHIII", self.buffer, start
            )
            self._packet(interface, (high << 32 | low, start + 20, length), end, packets)
        elif kind == _SIMPLE_PACKET:
            (length,) = struct.unpack_from(self._order + "I", self.buffer, start)
            snap = self._interfaces[0].snap_bytes if self._interfaces else 0
            length = min(length, end - start - 4, snap or length)
            self._packet(0, (0, start + 4, length), end, packets)
        elif kind == _INTERFACE:
            self._interface(start, end)

    def _packet(
        self, interface: int, found: tuple[int, int, int], end: int, packets: list[Packet]
    ) -> None:
        ticks, start, length = found
        if interface >= len(self._interfaces):
            self.broken = f"a packet names interface {interface}, which is not described"
        elif start + length > end:
            self.broken = f"a packet of {length} bytes is announced in a block of {end - start}"
        else:
            described = self._interfaces[interface]
            time_ns = ticks * 1_000_000_000 // described.ticks_per_s
            time_ns += described.offset_s * 1_000_000_000
            # Nothing later than 2262 fits into 64 bits; such a time is no time.
            time_ns = time_ns if 0 <= time_ns < 1 << 63 else 0
            packets.append((time_ns, described.link, start, start + length))

    def _interface(self, start: int, end: int) -> None:
        if len(self._interfaces) >= _MAX_INTERFACES:
            self.broken = f"more than {_MAX_INTERFACES} interfaces are described"
            return
        link, _, snap = struct.unpack_from(self._order + "HHI", self.buffer, start)
        ticks, offset, at = 1_000_000, 0, start + 8
        while end - at >= 4:
            code, length = struct.unpack_from(self._order + "HH", self.buffer, at)
            value = self.buffer[at + 4 : min(at + 4 + length, end)]
            if code == _TIME_RESOLUTION and len(value) == 1:
                power = value[0] & 0x7F
                ticks = 2**power if value[0] & 0x80 else 10 ** min(power, 30)
            elif code == _TIME_OFFSET and len(value) == 8:
                (offset,) = struct.unpack(self._order + "q", value)
            elif code == 0:
                break
            at += 4 + (length + 3 & ~3)
        self._interfaces.append(_Interface(link, snap, ticks, offset))
