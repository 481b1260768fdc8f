"""How bytes lie in a spool's segments: as they are, or in sealed frames.

A sealed segment (``<first line>.sealed``) is a row of frames, each ``mark 4 | length u32 | line u64
| at u64 | lines u32 | size u32 | sealed``: `line` is the number of the line that the frame's bytes
begin in, `at` their place in all that was ever spooled, `lines` how many newlines they hold, `size`
how many they are. A frame opens only in the spool of that name and with these four numbers, so
none can be moved, repeated, left out unseen or brought from another spool. The first frame of a
segment is empty, and says where the segment begins.

What does not open is stepped over. In place of the lines that were in it comes one line that says
so, which no sensor takes for a record, and blank ones: all others keep their numbers. Where it held
a part of one line only, as of a pipe, that line says so, and its ends do not join to another. How
many lines were lost is believed only as far as the bytes that were stepped over can have held them,
or what one or two frames hold: a frame of an earlier spool of that name is no reason to count to
10^15.
"""

import os
import struct
from collections.abc import Iterator
from typing import Final, NamedTuple, Protocol

from cronos.errors import DeniedError
from cronos.ports import Sealer

_MARK: Final = b"\xffCSP"
_HEADER: Final = struct.Struct(">4sIQQII")
_PLACE: Final = struct.Struct(">QQII")
_PIECE_BYTES: Final = 1 << 20
_MAX_SEALED_BYTES: Final = _PIECE_BYTES + 4096
_SEARCH_BYTES: Final = 1 << 18
_COUNT_BYTES: Final = 1 << 18
# What looking for the next good frame of a segment may cost: half a second or so, and ten where
# it is full of small ones that do not open, each of which costs as much as many bytes.
_MAX_SEARCHED_BYTES: Final = 1 << 29
_REFUSAL_BYTES: Final = 1 << 11
_MAX_REMOVED_LINES: Final = 1 << 18


class Found(NamedTuple):
    """What a segment holds: where its good bytes end, and what comes next."""

    end: int
    line: int
    at: int
    whole: bool


class Segment(Protocol):
    """Reads one segment from its beginning."""

    def read(self, size: int) -> bytes:
        """Give the next bytes, at most `size`; ``b""`` where it ends for now."""
        ...

    def close(self) -> None:
        """Release the file; more than once is harmless."""
        ...

    def lost(self, line: int) -> bytes:
        """Give what stands for the lines that were lost at the end, before number `line`."""
        ...


class Store(Protocol):
    """A way to keep bytes in segments."""

    suffix: str
    reserve: int
    """How many bytes a segment and a frame may cost beside the lines."""

    def pack(self, data: bytes, line: int, at: int) -> bytes:
        """Give what to write for `data`, which begins in line `line` at place `at`."""
        ...

    def beginning(self, line: int, at: int) -> bytes:
        """Give what a segment begins with."""
        ...

    def survey(self, descriptor: int, first: int) -> Found:
        """Look through a segment whose first line has the number `first`."""
        ...

    def segment(self, descriptor: int, first: int) -> Segment:
        """Read a segment; it closes the descriptor."""
        ...


class PlainStore:
    """Bytes as they are."""

    suffix: str = ".spool"
    reserve: int = 0

    def pack(self, data: bytes, line: int, at: int) -> bytes:
        """Give `data` as it is."""
        del line, at
        return data

    def beginning(self, line: int, at: int) -> bytes:
        """Give nothing."""
        del line, at
        return b""

    def survey(self, descriptor: int, first: int) -> Found:
        """Count the newlines."""
        line, end, last = first, 0, b"\n"
        while data := os.pread(descriptor, _COUNT_BYTES, end):
            line += data.count(b"\n")
            end += len(data)
            last = data[-1:]
        return Found(end, line, 0, whole=last == b"\n")

    def segment(self, descriptor: int, first: int) -> Segment:
        """Read the file as it is."""
        del first
        return _PlainSegment(descriptor)


class _PlainSegment:
    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._offset = 0

    def read(self, size: int) -> bytes:
        data = os.pread(self._descriptor, size, self._offset)
        self._offset += len(data)
        return data

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def lost(self, line: int) -> bytes:
        """Give nothing: a file that anyone can write cannot show what it lacks."""
        del line
        return b""


class SealedStore:
    """Bytes in sealed frames.

    Args:
        sealer: what seals and opens them.
        name: the spool's; its frames open in no other.
        pieces: a frame need not end with a line: a pipe is spooled.
    """

    suffix: str = ".sealed"
    reserve: int = 512

    def __init__(self, sealer: Sealer, name: str, *, pieces: bool = False) -> None:
        self.pieces = pieces
        self._sealer = sealer
        self._context = f"cronos-spool-v1|{name}|".encode()

    def pack(self, data: bytes, line: int, at: int) -> bytes:
        """Give one frame, or several where it is much.

        Raises:
            CronosError: nothing can be sealed now.
        """
        packed = bytearray()
        for piece in _pieces(data):
            packed += self._frame(piece, line, at)
            line += piece.count(b"\n")
            at += len(piece)
        return bytes(packed)

    def beginning(self, line: int, at: int) -> bytes:
        """Give an empty frame, which says where the segment begins."""
        return self._frame(b"", line, at)

    def open(self, sealed: bytes, place: bytes) -> bytes:
        """Give a frame's bytes.

        Raises:
            DeniedError: it was changed, or is in the wrong place.
            UnreachableError: who holds the key does not answer.
        """
        return self._sealer.open(sealed, self._context + place)

    def survey(self, descriptor: int, first: int) -> Found:
        """Open every frame: what numbers the next line must be true."""
        walk, last = Walk(self, descriptor, first), b"\n"
        while (data := walk.next()) is not None:
            last = data[-1:] or last
        line, at = walk.claimed
        return Found(walk.end, line, at, whole=last == b"\n")

    def segment(self, descriptor: int, first: int) -> Segment:
        """Read what the frames hold."""
        return _SealedSegment(Walk(self, descriptor, first), descriptor)

    def _frame(self, data: bytes, line: int, at: int) -> bytes:
        place = _PLACE.pack(line, at, data.count(b"\n"), len(data))
        sealed = self._sealer.seal(data, self._context + place)
        return _MARK + len(sealed).to_bytes(4, "big") + place + sealed


class Walk:
    """Goes through the frames of a segment, over whatever is damaged.

    Attributes:
        line: the number of the line that comes next.
        end: where the last frame ends that is whole, be it good or not; what follows is torn.
    """

    def __init__(self, store: SealedStore, descriptor: int, first: int) -> None:
        self.line = first
        self.end = 0
        self._store = store
        self._descriptor = descriptor
        self._offset = 0
        self._good = 0  # where the last good frame ends
        self._at = 0
        self._lost = (0, 0)  # lines and bytes that frames since then say they hold
        self._searched = 0

    @property
    def claimed(self) -> tuple[int, int]:
        """Give line and place that come next, were what does not open at the end what it says.

        Numbers must not be used twice: a scorer takes them for what it has judged already.
        """
        return self.line + self._lost[0], self._at + self._lost[1]

    def next(self) -> bytes | None:
        """Give what the next good frame holds; None when there is none for now.

        Raises:
            UnreachableError: who holds the key does not answer.
        """
        while self._searched <= _MAX_SEARCHED_BYTES:
            header = os.pread(self._descriptor, _HEADER.size, self._offset)
            if len(header) < _HEADER.size:
                return None
            mark, length, line, at, lines, size = _HEADER.unpack(header)
            sealed = self._sealed(length) if mark == _MARK else b""
            if sealed:
                data = self._opened(sealed, header[-_PLACE.size :])
                if data is not None and self._follows(line) and at >= self._at:
                    gap = self.gap(line) or self._torn(at)
                    self._take(line + lines, at + size, length)
                    return gap + data
                self._lament(line, lines, size, length)
            if not self._skip():
                return None
        return None

    def gap(self, line: int) -> bytes:
        """Give what stands for the lines before number `line`, as far as they can have been."""
        lost = line - self.line
        if lost == 0 or not self._follows(line):
            return b""
        return b"(up to %d lines were damaged in the spool)\n" % lost + b"\n" * (lost - 1)

    def _torn(self, at: int) -> bytes:
        """Give what stands for the bytes before place `at` that were lost out of one line."""
        lost = at - self._at
        if not (lost and self._good and self._store.pieces):
            return b""
        # What no text holds spoils the line for every sensor, without a newline that would count.
        return b"\xff(%d bytes were damaged in the spool)" % lost

    def _sealed(self, length: int) -> bytes:
        if length > _MAX_SEALED_BYTES:
            return b""
        sealed = os.pread(self._descriptor, length, self._offset + _HEADER.size)
        return sealed if len(sealed) == length else b""

    def _opened(self, sealed: bytes, place: bytes) -> bytes | None:
        try:
            return self._store.open(sealed, place)
        except DeniedError:
            return None

    def _follows(self, line: int) -> bool:
        """Say whether a good frame can stand here, after what could not be read or was removed."""
        return 0 <= line - self.line <= max(self._offset - self._good, _MAX_REMOVED_LINES)

    def _take(self, line: int, at: int, length: int) -> None:
        self._offset += _HEADER.size + length
        self.end = self._good = self._offset
        self.line, self._at, self._lost = line, at, (0, 0)

    def _lament(self, line: int, lines: int, size: int, length: int) -> None:
        self._searched += length + _REFUSAL_BYTES
        self.end = max(self.end, self._offset + _HEADER.size + length)
        if line == self.line + self._lost[0] and lines <= size <= length:
            self._lost = self._lost[0] + lines, self._lost[1] + size

    def _skip(self) -> bool:
        """Go to the next mark; False when there is none, and go where one may come."""
        at = self._offset + 1
        while data := os.pread(self._descriptor, _SEARCH_BYTES, at):
            found = data.find(_MARK)
            if found >= 0:
                self._searched += at + found - self._offset
                self._offset = at + found
                return True
            if len(data) < len(_MARK):
                break
            at += len(data) - len(_MARK) + 1  # a mark may lie across what is read next
        self._searched += at - self._offset
        self._offset = at
        return False


class _SealedSegment:
    def __init__(self, walk: Walk, descriptor: int) -> None:
        self._walk = walk
        self._descriptor = descriptor
        self._data = b""
        self._given = 0

    def read(self, size: int) -> bytes:
        while self._given >= len(self._data):
            data = self._walk.next()
            if data is None:
                return b""
            self._data, self._given = data, 0
        given = self._data[self._given : self._given + size]
        self._given += len(given)
        return given

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def lost(self, line: int) -> bytes:
        return self._walk.gap(line)


def _pieces(data: bytes) -> Iterator[bytes]:
    """Cut what is much, after a newline where there is one."""
    at = 0
    while len(data) - at > _PIECE_BYTES:
        end = data.rfind(b"\n", at, at + _PIECE_BYTES) + 1
        end = end if end > at else at + _PIECE_BYTES
        yield data[at:end]
        at = end
    yield data[at:] if at else data
