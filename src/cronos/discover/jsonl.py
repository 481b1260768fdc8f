"""Messages as JSON lines, plain or gzipped: one object a line, whoever wrote it.

``{"payload_hex": "0001…", "flow": 7, "direction": "c2s", "ts": 1.5}``; all but the first key may
lack and every other key is ignored. A line that cannot be read keeps its number and is remarked
on, so that what is said of message `i` is said of line `i`.
"""

from collections.abc import Iterator
from typing import Final

import msgspec

from cronos.discover.messages import Message
from cronos.discover.unpack import GZIP_MAGIC, Readable, Unpacked

MAX_PAYLOAD_BYTES: Final = 1 << 20
_MAX_LINE_BYTES: Final = 4 << 20
_READ_BYTES: Final = 1 << 18
_DIRECTIONS: Final = frozenset({"c2s", "s2c"})
_MAX_FLOW_CHARS: Final = 200
_LATEST_S: Final = 9.2e9


class Line(msgspec.Struct, frozen=True):
    """What is read of one line; truth that stands beside it is not even looked at."""

    payload_hex: str
    flow: int | str | None = ""
    direction: str | None = ""
    ts: float | None = 0.0


_DECODER: Final = msgspec.json.Decoder(Line)


def read_lines(source: Readable, head: bytes = b"") -> Iterator[Message | str]:
    """Yield a message for each line that is not blank, or a sentence why it is none.

    Args:
        source: where the lines are read from; unpacked if they begin as gzip does.
        head: what was read of it already.

    Raises:
        InputError: it is packed and cannot be unpacked.
    """
    for number, line in enumerate(_lines(_chunks(source, head)), 1):
        if line is None:
            yield f"Line {number} is longer than {_MAX_LINE_BYTES} bytes."
        elif line.strip():
            yield message_of(line, number)


def message_of(line: bytes, number: int) -> Message | str:
    """Read one line; a sentence where it is no message."""
    try:
        found = _DECODER.decode(line)
        payload = bytes.fromhex(found.payload_hex)
    except (ValueError, RecursionError) as error:
        return f"Line {number} is no message: {str(error)[:120]}."
    if len(payload) > MAX_PAYLOAD_BYTES:
        return f"Line {number} holds {len(payload)} bytes, more than {MAX_PAYLOAD_BYTES}."
    direction = found.direction if found.direction in _DIRECTIONS else ""
    flow = "" if found.flow is None else str(found.flow)[:_MAX_FLOW_CHARS]
    # Nothing later than 2262 fits into 64 bits of nanoseconds; such a time is no time.
    ts = found.ts if found.ts is not None and 0 <= found.ts < _LATEST_S else 0.0
    return Message(payload, flow, direction or "", ts)


def _lines(chunks: Iterator[bytes]) -> Iterator[bytes | None]:
    """Cut lines; None stands for one that is too long, of which nothing is kept."""
    held, dropping = bytearray(), False
    for chunk in chunks:
        held += chunk
        if b"\n" in chunk:
            *whole, rest = bytes(held).split(b"\n")
            for line in whole:
                yield None if dropping or len(line) > _MAX_LINE_BYTES else line
                dropping = False
            held = bytearray(rest)
        if len(held) > _MAX_LINE_BYTES:
            held.clear()
            dropping = True
    if dropping:
        yield None
    elif held:
        yield bytes(held)


def _chunks(source: Readable, head: bytes) -> Iterator[bytes]:
    head = head or source.read(_READ_BYTES)
    if head[:2] == GZIP_MAGIC:
        source = Unpacked(source, head)
        head = source.read(_READ_BYTES)
    while head:
        yield head
        head = source.read(_READ_BYTES)
