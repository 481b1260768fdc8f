"""How records lie in the lease book's file: one frame after another, sealed or as they are.

Every frame is ``mark | u32 length | u32 CRC-32 | payload``. An unsealed payload is one record. A
sealed one is ``u64 generation | u64 index | sealed``, and what is sealed is a row of
``u32 length | record``, at most one disk block of them: a block that the disk loses takes no more
than itself. A sealed frame opens only for this book's purpose, its generation and its index:

* A frame is believed only in the file's highest generation, and only with a higher index than
  all before it: none can be put in a second time, elsewhere, or into another book. Frames that
  are missing between two good ones are named. Order alone never discards a good lease.
* Each compaction begins a generation, so what it left out stays out.
* A tail, or the whole file, can be cut off or replaced by an older one unseen: whether there were
  more frames is written nowhere else. Where that was done, older frames with higher indices than
  the newer ones count as well.
"""

import contextlib
import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple, Protocol, TypeAlias

from cronos.errors import CronosError, InputError
from cronos.ports import Sealer
from cronos.types import MAX_FRAME_BYTES, Lease, Outcome, decode, encode

# 0xFF is in no UTF-8 text, so nothing that a lease says of its target looks like a frame.
_UNSEALED_MARK: Final = b"\xffCLB"
_SEALED_MARK: Final = b"\xffCLS"
_HEADER: Final = struct.Struct(">4sII")
_PLACE: Final = struct.Struct(">QQ")
_LENGTH: Final = struct.Struct(">I")
_BLOCK_BYTES: Final = 4096
# A full block, one more record, and whatever a sealer adds.
_MAX_PAYLOAD_BYTES: Final = MAX_FRAME_BYTES + 2 * _BLOCK_BYTES
# What looking for the next good frame may cost: half a second or so.
_MAX_SEARCHED_BYTES: Final = 1 << 29
# Anyone can write frames that do not open; each costs 50 us.
_MAX_REFUSED_FRAMES: Final = 1 << 15

_Opened: TypeAlias = tuple[int, int, tuple[int, int], bytes | None]
Record: TypeAlias = Lease | Outcome


class Frame(NamedTuple):
    """One frame of the file: where it lies, what it says, and what is wrong with it."""

    start: int
    end: int
    records: tuple[Record, ...] = ()
    remark: str = ""


class Frames(Protocol):
    """A way to write records into a file and to read them again."""

    def pack(self, bodies: Iterable[bytes]) -> bytes:
        """Give the frames that come next in the file."""
        ...

    def begin(self) -> bytes:
        """Give what a new file begins with; what is packed from now on follows it."""
        ...

    def mark(self) -> tuple[int, int]:
        """Name this place, for `go_back`."""
        ...

    def go_back(self, place: tuple[int, int]) -> None:
        """Forget what was packed since: none of it was kept."""
        ...

    def read(self, data: bytes) -> list[Frame]:
        """Find the frames of a whole file; what lies between them is damaged."""
        ...


def body_of(record: Record) -> bytes:
    """Give a record's canonical bytes.

    Raises:
        InputError: they are longer than a frame may be.
    """
    body = encode(record)
    if len(body) > MAX_FRAME_BYTES:
        raise InputError(
            "respond.lease_too_long",
            f"A lease of {len(body)} bytes is longer than the book's {MAX_FRAME_BYTES}.",
            "Shorten what its executor writes into the plan.",
        )
    return body


class UnsealedFrames:
    """Records as they are: what books held before they were sealed, or where nothing seals."""

    def pack(self, bodies: Iterable[bytes]) -> bytes:
        """Give one frame for each record."""
        return b"".join(_framed(_UNSEALED_MARK, body) for body in bodies)

    def begin(self) -> bytes:
        """Give nothing: these frames do not know their place."""
        return b""

    def mark(self) -> tuple[int, int]:
        """Name no place."""
        return 0, 0

    def go_back(self, place: tuple[int, int]) -> None:
        """Do nothing."""

    def read(self, data: bytes) -> list[Frame]:
        """Find the frames whose CRC holds."""
        return [_plain(*found) for found in _whole(data, _UNSEALED_MARK)]


class SealedFrames:
    """Records that only this node can read, each frame bound to its place.

    Args:
        sealer: what seals them.
        purpose: which of the node's books this is.
    """

    def __init__(self, sealer: Sealer, purpose: str) -> None:
        self._sealer = sealer
        self._purpose = f"cronos-leases-v1|{purpose}|".encode()
        self._generation = 1
        self._index = 0

    def pack(self, bodies: Iterable[bytes]) -> bytes:
        """Give frames of at most one block, or of one longer record.

        Raises:
            CronosError: nothing can be sealed now, for want of a key.
        """
        return b"".join(self._sealed(block) for block in _blocks(bodies))

    def begin(self) -> bytes:
        """Begin the next generation with an empty frame: also a file without leases has one.

        Raises:
            CronosError: nothing can be sealed now, for want of a key.
        """
        self._generation, self._index = self._generation + 1, 0
        return self._sealed(b"")

    def mark(self) -> tuple[int, int]:
        """Name this place by generation and index."""
        return self._generation, self._index

    def go_back(self, place: tuple[int, int]) -> None:
        """Use the same indices again, for other frames."""
        self._generation, self._index = place

    def read(self, data: bytes) -> list[Frame]:
        """Open every frame, keep those of the newest generation, in their order."""
        opened = list(self._tried(data))
        self._generation = max(
            [place[0] for _, _, place, body in opened if body is not None] or [1]
        )
        self._index = 0
        return [self._judged(*found) for found in opened]

    def _sealed(self, body: bytes) -> bytes:
        place = _PLACE.pack(self._generation, self._index)
        payload = place + self._sealer.seal(body, self._purpose + place)
        self._index += 1
        return _framed(_SEALED_MARK, payload)

    def _tried(self, data: bytes) -> Iterator[_Opened]:
        """Give start, end, place and body of each frame; no body where it does not open."""
        refused = 0
        for start, end, payload in _whole(data, _SEALED_MARK):
            place, body = self._opened(payload)
            yield start, end, place, body
            refused += body is None
            if refused == _MAX_REFUSED_FRAMES:
                return

    def _opened(self, payload: bytes) -> tuple[tuple[int, int], bytes | None]:
        if len(payload) < _PLACE.size:
            return (0, 0), None
        place, sealed = payload[: _PLACE.size], payload[_PLACE.size :]
        generation, index = _PLACE.unpack(place)
        body: bytes | None = None
        with contextlib.suppress(CronosError):
            body = self._sealer.open(sealed, self._purpose + place)
        return (int(generation), int(index)), body

    def _judged(self, start: int, end: int, place: tuple[int, int], body: bytes | None) -> Frame:
        generation, index = place
        if body is None:
            return Frame(start, end, (), f"the frame at byte {start} does not open with our key")
        if generation != self._generation or index < self._index:
            return Frame(start, end, (), f"the frame at byte {start} was put in out of its order")
        missing, self._index = index - self._index, index + 1
        records = _records(body)
        if records is None:
            return Frame(start, end, (), f"the frame at byte {start} is not understood")
        remark = f"{missing} frames before byte {start} are missing" if missing else ""
        return Frame(start, end, records, remark)


def _framed(mark: bytes, payload: bytes) -> bytes:
    return _HEADER.pack(mark, len(payload), zlib.crc32(payload)) + payload


def _blocks(bodies: Iterable[bytes]) -> Iterator[bytes]:
    block = bytearray()
    for body in bodies:
        if block and len(block) + _LENGTH.size + len(body) > _BLOCK_BYTES:
            yield bytes(block)
            block.clear()
        block += _LENGTH.pack(len(body)) + body
    if block:
        yield bytes(block)


def _records(block: bytes) -> tuple[Record, ...] | None:
    """Give the records of a block, None where it is none that we understand."""
    records: list[Record] = []
    at = 0
    while at + _LENGTH.size <= len(block):
        end = at + _LENGTH.size + int(_LENGTH.unpack_from(block, at)[0])
        record = _record(block[at + _LENGTH.size : end])
        if record is None or end > len(block):
            return None
        records.append(record)
        at = end
    return tuple(records) if at == len(block) else None


def _plain(start: int, end: int, body: bytes) -> Frame:
    record = _record(body)
    if record is None:
        return Frame(start, end, (), f"the frame at byte {start} is not understood")
    return Frame(start, end, (record,))


def _record(body: bytes) -> Record | None:
    try:
        record = decode(body)
    except ValueError:
        return None
    return record if isinstance(record, Lease | Outcome) else None


def _whole(data: bytes, mark: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Give start, end and payload of each frame whose CRC holds.

    Between them lies what is damaged: from there on every mark is tried, while the work allows.
    """
    at = searched = 0
    while (at := data.find(mark, at)) >= 0 and searched <= _MAX_SEARCHED_BYTES:
        end = _frame_end(data, at)
        payload = memoryview(data)[at + _HEADER.size : end]
        if end and zlib.crc32(payload) == _HEADER.unpack_from(data, at)[2]:
            yield at, end, bytes(payload)
            at = end
        else:
            searched += len(payload)
            at += 1


def _frame_end(data: bytes, at: int) -> int:
    """Say where the frame at a mark would end, 0 when it cannot be one."""
    if at + _HEADER.size > len(data):
        return 0
    _, length, _ = _HEADER.unpack_from(data, at)
    end = at + _HEADER.size + int(length)
    return end if length <= _MAX_PAYLOAD_BYTES and end <= len(data) else 0
