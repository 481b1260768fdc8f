"""A short story on a tap's feed: an attacker reads, writes what is unsafe, and is cut."""

import struct

import msgspec

from cronos.link.frames import frame
from cronos.link.tapfeed import TapFrame, pack

READ = struct.pack(">HHHBBHH", 1, 0, 6, 1, 3, 0, 2)
ANSWER = struct.pack(">HHHBBBHH", 1, 0, 7, 1, 3, 4, 500, 510)
WRITE = struct.pack(">HHHBBHH", 2, 0, 6, 1, 6, 1, 60_000)


def seen(seq, kind="data", data=b"", direction="request", connection=1, **more):
    made = TapFrame(
        seq, seq * 10, seq * 100, kind, connection, "192.0.2.7", 40312, "198.51.100.2", 502
    )
    return msgspec.structs.replace(made, data=data, direction=direction, **more)


def feed(*messages):
    return b"".join(frame(pack(message)) for message in messages)


STORY = (
    seen(1, "open"),
    seen(2, data=READ),
    seen(3, data=ANSWER, direction="response"),
    seen(4, data=WRITE[:5]),
    seen(5, data=WRITE[5:] + READ),
    seen(6, "cut", b"blocked", bytes_out=36, bytes_in=13),
    seen(7, "refused", b"blocked", connection=2),
)
