"""SIMULATED operators who keep to the policy, and a network that does not make it easy for them.

Each is an entity of its own: an address, a rhythm, a clock that is off. They read and write what
the policy allows, over connections that are cut and made anew, segments that are split, sent twice
or overtaken, and they mistype a password now and then. The same seed gives the same bytes.
"""

import random
import struct
from pathlib import Path

SERVER = bytes((198, 51, 100, 2))
POLICY = """version = 1
[[server]]
address = "198.51.100.2"
[[server.client]]
address = "10.20.0.0/16"
functions = [1, 3, 4, 6, 16]
max_requests_per_s = 50
write = [{ table = "holding", first = 100, last = 119, min = 0, max = 1500 }]
"""
START_S = 1_763_000_000
_RECORD = struct.Struct("<IIII")
_IP = struct.Struct("!BBHHHBBH4s4s")
_TCP = struct.Struct("!HHIIBBHHH")
_ETHERNET = b"\x02\0\0\0\0\1\x02\0\0\0\0\2\x08\0"
_HEADER = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 262144, 1)

Packet = tuple[float, bytes]


def operator(number: int) -> bytes:
    """Give an operator's address."""
    return bytes((10, 20, number >> 8, number & 255))


def intruder(number: int) -> bytes:
    """Give the address of one who breaks the policy."""
    return bytes((203, 0, 113, number + 1))


def capture(path: Path, operators: int, intruders: int, seed: int) -> int:
    """Write the capture of all of them; give how many packets it holds."""
    packets: list[Packet] = []
    for number in range(operators):
        draw = random.Random(f"{seed}-{number}")
        packets += _day(draw, operator(number), broken=False)
    for number in range(intruders):
        draw = random.Random(f"{seed}-x{number}")
        packets += _day(draw, intruder(number), broken=True)
    packets.sort(key=lambda one: one[0])
    skew = random.Random(seed)
    with path.open("wb") as file:
        file.write(_HEADER)
        for at, packet in packets:
            # The capturing clock is set now and then: time goes back by as much as a tenth.
            told = at + START_S + skew.choice((0.0, 0.0, 0.0, -0.1, 0.05))
            length = len(packet) + len(_ETHERNET)
            file.write(_RECORD.pack(int(told), int(told % 1 * 1e6), length, length))
            file.write(_ETHERNET + packet)
    return len(packets)


def logins(path: Path, operators: int, seed: int) -> None:
    """Write their logins: one mistyped password in five, and clocks that are minutes off."""
    lines: list[tuple[float, str]] = []
    for number in range(operators):
        draw = random.Random(f"{seed}-l{number}")
        at, off = draw.uniform(0, 3000), draw.uniform(-180, 180)
        address = ".".join(map(str, operator(number)))
        for attempt in range(1 + (draw.random() < 0.2) + (draw.random() < 0.04)):
            lines.append((at + off, _line(at + off, f"Failed password for op{number}", address)))
            at += draw.uniform(2, 9) + attempt
        lines.append((at + off, _line(at + off, f"Accepted password for op{number}", address)))
    path.write_text("".join(line for _, line in sorted(lines)))


def _line(at: float, what: str, address: str) -> str:
    at += 600
    hours, minutes, seconds = int(at) // 3600 % 24, int(at) // 60 % 60, int(at) % 60
    clock = f"{hours:02}:{minutes:02}:{seconds:02}.{int(at % 1 * 1e6):06}"
    return f"<38>1 2026-11-14T{clock}Z gate sshd 7 - - {what} from {address} port 4022 ssh2\n"


def _day(draw: random.Random, client: bytes, *, broken: bool) -> list[Packet]:
    """Give one client's packets: a few connections of a few requests each."""
    packets: list[Packet] = []
    at, port = draw.uniform(0, 600), draw.randrange(20_000, 50_000)
    for connection in range(draw.randrange(1, 5)):
        requests = [_request(draw, number) for number in range(draw.randrange(2, 9))]
        if broken and connection == 0:
            requests.append(_adu(99, 6, 300, 9_999))
        at = _connection(draw, packets, (client, port + connection), requests, at)
        at += draw.uniform(0.5, 20)
    return packets


def _request(draw: random.Random, number: int) -> bytes:
    function = draw.choice((1, 3, 3, 3, 4, 6))
    if function == 6:
        return _adu(number, 6, draw.randrange(100, 120), draw.randrange(0, 1501))
    return _adu(number, function, draw.randrange(0, 200), draw.randrange(1, 20))


def _adu(transaction: int, function: int, first: int, second: int) -> bytes:
    return struct.pack(">HHHBBHH", transaction, 0, 6, 1, function, first, second)


def _answer(request: bytes) -> bytes:
    function, quantity = request[7], struct.unpack(">H", request[10:12])[0]
    if function == 6:
        return request
    size = (quantity + 7) // 8 if function == 1 else 2 * quantity
    data = bytes((1, function, size)) + bytes(size)
    return request[:4] + struct.pack(">H", len(data)) + data


def _connection(
    draw: random.Random,
    packets: list[Packet],
    client: tuple[bytes, int],
    requests: list[bytes],
    at: float,
) -> float:
    """Add one connection, with what networks do to it; give when it ended."""
    mine, theirs = draw.randrange(2**31), draw.randrange(2**31)

    def say(up: bool, flags: int, data: bytes = b"", *, later: float = 0.0, shift: int = 0) -> None:
        address, port = client
        ends = (address, SERVER, port, 502) if up else (SERVER, address, 502, port)
        numbers = (mine + shift, theirs) if up else (theirs + shift, mine)
        packets.append((at + later, _packet(ends, numbers, flags, data)))

    say(True, 0x02)
    at += 0.001
    mine += 1
    say(False, 0x12)
    if draw.random() < 0.1:
        say(False, 0x12, later=0.0004)  # sent twice
    theirs += 1
    at += 0.001
    say(True, 0x10)
    for request in requests:
        at += draw.uniform(0.2, 3.0)
        cut = draw.randrange(1, len(request)) if draw.random() < 0.15 else len(request)
        head, tail = request[:cut], request[cut:]
        overtaken = tail and draw.random() < 0.5
        say(True, 0x18, head, later=0.0006 if overtaken else 0.0)
        if tail:
            say(True, 0x18, tail, later=0.0003, shift=cut)
        if draw.random() < 0.1:
            say(True, 0x18, head, later=0.0009)  # sent again: its acknowledgement was late
        mine += len(request)
        at += draw.uniform(0.002, 0.02)
        answer = _answer(request)
        say(False, 0x18, answer)
        if draw.random() < 0.05:
            say(False, 0x18, answer, later=0.3)
        theirs += len(answer)
        at += 0.001
        say(True, 0x10)
    if draw.random() < 0.3:
        say(True, 0x14)  # cut off
        return at
    at += 0.01
    say(True, 0x11)
    mine += 1
    say(False, 0x11, later=0.001)
    theirs += 1
    say(True, 0x10, later=0.002)
    return at


def _packet(
    ends: tuple[bytes, bytes, int, int], numbers: tuple[int, int], flags: int, data: bytes
) -> bytes:
    source, destination, source_port, port = ends
    seq, ack = (one & 0xFFFFFFFF for one in numbers)
    head = _IP.pack(0x45, 0, 40 + len(data), 1, 0x4000, 64, 6, 0, source, destination)
    return head + _TCP.pack(source_port, port, seq, ack, 0x50, flags, 65535, 0, 0) + data
