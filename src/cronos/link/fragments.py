"""IP fragments: join those of one datagram, in bounded memory.

A datagram whose fragments overlap other than by repetition is dropped: overlapping is not a
thing of ordinary senders, and what the receiver would make of it cannot be known.

Source: RFC 791 §3.2, RFC 5722 (overlaps), RFC 8200 §4.5.
"""

from collections import OrderedDict
from typing import Final

_MAX_DATAGRAMS: Final = 256
_MAX_PIECES: Final = 128
_MAX_BYTES: Final = 65_535


class _Datagram:
    __slots__ = ("end", "held", "pieces")

    def __init__(self) -> None:
        self.pieces: dict[int, bytes] = {}
        self.held = 0
        self.end = -1  # the datagram's length, once its last fragment is there


class Fragments:
    """At most 256 unfinished datagrams of 64 KiB; the oldest is given up for a new one.

    `dropped` counts datagrams given up: never finished, overlapping, or too long.
    """

    def __init__(self) -> None:
        self._open: OrderedDict[bytes, _Datagram] = OrderedDict()
        self.dropped = 0

    def add(self, key: bytes, offset: int, data: bytes, more: bool) -> bytes | None:
        """Take one fragment; give the datagram's payload when this one completes it."""
        datagram = self._open.get(key)
        if datagram is None:
            datagram = self._open[key] = _Datagram()
            if len(self._open) > _MAX_DATAGRAMS:
                self._open.popitem(last=False)
                self.dropped += 1
        if datagram.pieces.get(offset) == data and (more or datagram.end >= 0):
            return None
        if not more:
            datagram.end = offset + len(data)
        datagram.pieces[offset] = datagram.pieces.get(offset, b"") or data
        datagram.held += len(data)
        if (
            offset + len(data) > _MAX_BYTES
            or datagram.held > _MAX_BYTES
            or len(datagram.pieces) > _MAX_PIECES
            or 0 <= datagram.end < datagram.held
        ):
            self._drop(key)
            return None
        return self._join(key, datagram) if datagram.held == datagram.end else None

    def _join(self, key: bytes, datagram: _Datagram) -> bytes | None:
        """Put the pieces together; as many bytes as needed that do not fit are an overlap."""
        joined = bytearray()
        for offset in sorted(datagram.pieces):
            if offset != len(joined):
                self._drop(key)
                return None
            joined += datagram.pieces[offset]
        if len(joined) != datagram.end:
            self._drop(key)
            return None
        del self._open[key]
        return bytes(joined)

    def _drop(self, key: bytes) -> None:
        del self._open[key]
        self.dropped += 1
