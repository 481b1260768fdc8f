"""Write a capture of any size, the same bytes every time: many TCP flows, some UDP.

Each flow has a handshake, 8 segments each way and an end; one packet in ten is UDP. Usage:
``python bench/capture_generator.py out.pcap 1000000000``.
"""

import struct
import sys
from pathlib import Path
from typing import BinaryIO

_RECORD = struct.Struct("<IIII")
_IP = struct.Struct("!BBHHHBBH4s4s")
_TCP = struct.Struct("!HHIIBBHHH")
_UDP = struct.Struct("!HHHH")
_ETHERNET = b"\x02\0\0\0\0\1\x02\0\0\0\0\2\x08\0"
_PAYLOAD = bytes(range(256)) * 6
_SERVERS = [bytes((198, 51, 100, n)) for n in range(1, 33)]
HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)


class Writer:
    """Writes packets at 10 µs intervals, through a buffer."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.written = file.write(HEADER)
        self.packets = 0
        self.buffer = bytearray()

    def frame(self, packet: bytes) -> None:
        """Add one IP packet."""
        seconds, micros = divmod(self.packets * 10, 1_000_000)
        length = len(packet) + len(_ETHERNET)
        self.buffer += _RECORD.pack(1_700_000_000 + seconds, micros, length, length)
        self.buffer += _ETHERNET
        self.buffer += packet
        self.packets += 1
        if len(self.buffer) > 1 << 20:
            self.flush()

    def flush(self) -> None:
        """Write what is buffered."""
        self.written += self.file.write(self.buffer)
        self.buffer.clear()


def tcp(ends: tuple[bytes, bytes, int, int], numbers: tuple[int, int, int], size: int) -> bytes:
    """Build one TCP packet: sequence, acknowledgement and flags in `numbers`."""
    source, destination, source_port, port = ends
    seq, ack, flags = numbers
    head = _IP.pack(0x45, 0, 40 + size, 1, 0x4000, 64, 6, 0, source, destination)
    segment = _TCP.pack(source_port, port, seq, ack, 0x50, flags, 65535, 0, 0)
    return head + segment + _PAYLOAD[:size]


def flow(out: Writer, number: int, size: int) -> None:
    """Write one whole connection and the datagrams between."""
    client = (0x0A000000 + number // 20_000).to_bytes(4, "big")
    server, client_port = _SERVERS[number % 32], 20_000 + number % 20_000
    there = (client, server, client_port, 443)
    back = (server, client, 443, client_port)
    mine, theirs = number * 7919 % (1 << 31), number * 104_729 % (1 << 31)
    out.frame(tcp(there, (mine, 0, 0x02), 0))
    out.frame(tcp(back, (theirs, mine + 1, 0x12), 0))
    mine, theirs = mine + 1, theirs + 1
    out.frame(tcp(there, (mine, theirs, 0x10), 0))
    for turn in range(8):
        asked = size // 2
        out.frame(tcp(there, (mine, theirs, 0x18), asked))
        mine += asked
        out.frame(tcp(back, (theirs, mine, 0x18), min(size * 2, 1448)))
        theirs += min(size * 2, 1448)
        if turn % 4 == 0:
            head = _IP.pack(0x45, 0, 28 + size, 1, 0, 64, 17, 0, client, server)
            out.frame(head + _UDP.pack(client_port, 4789, 8 + size, 0) + _PAYLOAD[:size])
    out.frame(tcp(there, (mine, theirs, 0x11), 0))
    out.frame(tcp(back, (theirs, mine + 1, 0x11), 0))
    out.frame(tcp(there, (mine + 1, theirs + 1, 0x10), 0))


def generate(path: Path, size_bytes: int, payload_bytes: int = 900) -> int:
    """Write at least `size_bytes`; give how many packets that took."""
    with path.open("wb") as file:
        out = Writer(file)
        number = 0
        while out.written + len(out.buffer) < size_bytes:
            flow(out, number, payload_bytes)
            number += 1
        out.flush()
    return out.packets


if __name__ == "__main__":
    count = generate(Path(sys.argv[1]), int(sys.argv[2]))
    size = Path(sys.argv[1]).stat().st_size
    print(f"{count} packets, {size} bytes, mean packet {(size - 24) / count - 16:.0f} bytes")
