"""The threat lane's numbering: the same messages by stream and by datagram, in one order.

By stream a message goes whole, behind a header; by datagram in parts that fit. Both carry the
sender's `session` (drawn at its start), the message's number, and `floor`, the lowest number that
the sender still offers: what is missing below it will never come.

::

    stream   = 0x01 | session u64 | number u64 | floor u64 | message
    datagram = 0x02 | session u64 | number u64 | floor u64 | part u16 | parts u16 | bytes
    answer   = 0x03 | session u64 | held u64 | later u64       both ways

An answer is cumulative: all below `held` has arrived, and of the 64 numbers from there on those
whose bit is set in `later`.
"""

import struct
from typing import Final, NamedTuple, TypeAlias

from cronos.errors import InputError

_WHOLE: Final = struct.Struct(">BQQQ")
_PART: Final = struct.Struct(">BQQQHH")
_ANSWER: Final = struct.Struct(">BQQQ")
_WHOLE_TAG: Final = 1
_PART_TAG: Final = 2
_ANSWER_TAG: Final = 3
MAX_PARTS: Final = 64
# Whoever counts from the highest on leaves what fits its field.
_HIGHEST: Final = 1 << 62
PART_HEADER_BYTES: Final = _PART.size
AHEAD: Final = 64


class Whole(NamedTuple):
    """A message as it comes by stream."""

    session: int
    number: int
    floor: int
    data: bytes


class Part(NamedTuple):
    """One of the parts of a message, as they come by datagram."""

    session: int
    number: int
    floor: int
    part: int
    parts: int
    data: bytes


class Answer(NamedTuple):
    """What a receiver has."""

    session: int
    held: int
    later: int


Read: TypeAlias = Whole | Part | Answer


def pack_whole(session: int, number: int, floor: int, data: bytes) -> bytes:
    """Give a message for a stream."""
    return _WHOLE.pack(_WHOLE_TAG, session, number, floor) + data


def pack_parts(message: Whole, room: int) -> list[bytes]:
    """Cut a message into datagrams of at most `room` bytes; [] where they would be too many."""
    size = room - PART_HEADER_BYTES
    parts = max(1, -(-len(message.data) // size))
    if parts > MAX_PARTS:
        return []
    head = (_PART_TAG, message.session, message.number, message.floor)
    return [
        _PART.pack(*head, part, parts) + message.data[part * size : (part + 1) * size]
        for part in range(parts)
    ]


def pack_answer(answer: Answer) -> bytes:
    """Give an answer."""
    return _ANSWER.pack(_ANSWER_TAG, *answer)


def unpack(data: bytes) -> Read:
    """Read any of the three.

    Raises:
        InputError: it is none of them.
    """
    try:
        match data[0]:
            case 1:
                _, session, number, floor = _WHOLE.unpack_from(data)
                if max(number, floor) < _HIGHEST:
                    return Whole(session, number, floor, bytes(data[_WHOLE.size :]))
            case 2:
                _, session, number, floor, part, parts = _PART.unpack_from(data)
                if part < parts <= MAX_PARTS and max(number, floor) < _HIGHEST:
                    body = bytes(data[_PART.size :])
                    return Part(session, number, floor, part, parts, body)
            case 3:
                _, session, held, later = _ANSWER.unpack(data)
                return Answer(session, held, later)
            case _:
                pass
    except (struct.error, IndexError):
        pass
    raise InputError(
        "mesh.bad_copy",
        "A peer sent on the threat lane what is no message of this version.",
        "Run versions of Cronos on both nodes that are at most one apart.",
    )
