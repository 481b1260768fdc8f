"""Captures written by hand: packets of conversations whose messages are known."""

import struct

MAC = b"\x02\0\0\0\0\1", b"\x02\0\0\0\0\2"
CLIENT, SERVER = "10.0.0.9", "10.0.0.1"
FIN, SYN, PSH, ACK = 1, 2, 8, 16


def address(text):
    return bytes(int(part) for part in text.split("."))


def ipv4(protocol, source, destination, body):
    head = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(body), 1, 0x4000, 64, protocol, 0)
    return MAC[1] + MAC[0] + b"\x08\x00" + head + address(source) + address(destination) + body


def udp(source, sport, destination, dport, data):
    body = struct.pack("!HHHH", sport, dport, 8 + len(data), 0) + data
    return ipv4(17, source, destination, body)


def tcp(ends, seq, ack, flags, data=b""):
    source, sport, destination, dport = ends
    modulus = 1 << 32
    body = struct.pack(
        "!HHIIBBHHH", sport, dport, seq % modulus, ack % modulus, 0x50, flags, 65535, 0, 0
    )
    return ipv4(6, source, destination, body + data)


def ether(number, data):
    return MAC[1] + MAC[0] + number.to_bytes(2, "big") + data


def pcap(frames, start=1_700_000_000.0, step=0.01, link=1):
    """Write frames, or (time, frame) pairs, as a capture file."""
    out = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, link)
    for number, frame in enumerate(frames):
        ts, data = frame if isinstance(frame, tuple) else (start + number * step, frame)
        out += struct.pack("<IIII", int(ts), round(ts % 1 * 1e6), len(data), len(data)) + data
    return out


class Talk:
    """One TCP connection: `c` and `s` say something, `frames` is what was sent."""

    def __init__(self, sport=40_000, dport=502, client=CLIENT, server=SERVER, handshake=True):
        self.ends = (client, sport, server, dport), (server, dport, client, sport)
        self.seq = [0xFFFFFF00, 1000]
        self.frames = []
        if handshake:
            self._send(0, SYN)
            self._send(1, SYN | ACK)
            self._send(0, ACK)

    def _send(self, side, flags, data=b""):
        frame = tcp(self.ends[side], self.seq[side], self.seq[1 - side], flags, data)
        self.frames.append(frame)
        self.seq[side] += len(data) + (1 if flags & (SYN | FIN) else 0)
        return frame

    def c(self, *segments):
        for data in segments:
            self._send(0, PSH | ACK, data)
        return self

    def s(self, *segments):
        for data in segments:
            self._send(1, PSH | ACK, data)
        return self
