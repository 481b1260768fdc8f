"""What two nodes say to each other about bulk that an engine carries between them.

::

    hello  = MAGIC | 0x01 | life u64                           on the lane `bulk`, at each link
    keys   = MAGIC | 0x02 | a frame of `memberwire`            the agreement on what seals
    notice = MAGIC | 0x03 | lane u8 | first u64 | last u64     positions in the engine's stream
    held   = MAGIC | 0x04 | lane u8 | session u64 | number u64 all up to it has arrived
    part   = MAGIC | 0x05 | lane u8 | session u64 | number u64 | kind u8 | bytes

All of them go by the nodes' own stream; a part also goes, sealed, by the engine. Parts of a lane
are numbered from 0 in a session of their sender's; number 0 is empty and says where it begins.
"""

import struct
from typing import Final, NamedTuple, TypeAlias

from cronos.errors import InputError
from cronos.types import Lane

MAGIC: Final = b"\xe5crn-bulk\x01"
_HELLO: Final = struct.Struct(">Q")
_NOTICE: Final = struct.Struct(">BQQ")
_HELD: Final = struct.Struct(">BQQ")
_PART: Final = struct.Struct(">BQQB")
LANES: Final[tuple[Lane, ...]] = (Lane.RECORDS, Lane.BULK)
WHOLE: Final = 0  # the last part of a message, or all of it
MORE: Final = 1
BEGIN: Final = 2


class Hello(NamedTuple):
    """The sender takes parts; `life` is another after each of its starts."""

    life: int


class Keys(NamedTuple):
    """A frame of the agreement on keys."""

    frame: bytes


class Notice(NamedTuple):
    """Between these positions of the engine's stream for this lane are parts for the receiver."""

    lane: Lane
    first: int
    last: int


class Arrived(NamedTuple):
    """All parts of a session up to a number have arrived."""

    lane: Lane
    session: int
    number: int


class Part(NamedTuple):
    """A message, or a piece of one."""

    lane: Lane
    session: int
    number: int
    kind: int
    data: bytes


Said: TypeAlias = Hello | Keys | Notice | Arrived | Part


def pack(said: Said) -> bytes:
    """Give a frame."""
    match said:
        case Hello(life):
            return MAGIC + b"\x01" + _HELLO.pack(life)
        case Keys(frame):
            return MAGIC + b"\x02" + frame
        case Notice(lane, first, last):
            return MAGIC + b"\x03" + _NOTICE.pack(LANES.index(lane), first, last)
        case Arrived(lane, session, number):
            return MAGIC + b"\x04" + _HELD.pack(LANES.index(lane), session, number)
        case Part(lane, session, number, kind, data):
            head = _PART.pack(LANES.index(lane), session, number, kind)
            return MAGIC + b"\x05" + head + data


def unpack(frame: bytes) -> Said:
    """Read a frame.

    Raises:
        InputError: it is none.
    """
    at = len(MAGIC) + 1
    body = memoryview(frame)[at:]
    try:
        match frame[at - 1] if frame.startswith(MAGIC) else 0:
            case 1:
                return Hello(*_HELLO.unpack(body))
            case 2:
                return Keys(bytes(body))
            case 3:
                lane, first, last = _NOTICE.unpack(body)
                return Notice(LANES[lane], first, last)
            case 4:
                lane, session, number = _HELD.unpack(body)
                return Arrived(LANES[lane], session, number)
            case 5:
                lane, session, number, kind = _PART.unpack_from(body)
                if kind <= BEGIN:
                    return Part(LANES[lane], session, number, kind, bytes(body[_PART.size :]))
            case _:
                pass
    except (struct.error, IndexError):
        pass
    raise InputError(
        "mesh.bad_bulk",
        "A peer sent about bulk what is nothing of this version.",
        "Run versions of Cronos on both nodes that are at most one apart.",
    )
