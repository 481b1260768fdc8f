"""Gzip, unpacked a bounded piece at a time, member after member; a cut file gives what is there."""

import zlib
from typing import Final, Protocol

from cronos.errors import InputError

GZIP_MAGIC: Final = b"\x1f\x8b"
_READ_BYTES: Final = 1 << 18
# What is left of it is copied for each piece and each member, of which some have 20 bytes.
_PACKED_BYTES: Final = 1 << 14
_WITH_HEADER: Final = 31


class Readable(Protocol):
    """Bytes one after the other; ``b""`` is the end."""

    def read(self, size: int = -1, /) -> bytes:
        """Give at most `size` bytes, at least one before the end."""
        ...


class Unpacked:
    """What a gzip stream holds.

    Args:
        source: the packed bytes.
        head: what was read of them already.
    """

    def __init__(self, source: Readable, head: bytes = b"") -> None:
        self._source = source
        self._packed = head
        self._unpacker = zlib.decompressobj(_WITH_HEADER)
        self._given = 0
        self._ended = False

    def read(self, size: int = -1, /) -> bytes:
        """Give the next bytes, at most `size` and never more than 256 KiB.

        Raises:
            InputError: it cannot be unpacked, and nothing could before.
        """
        most = _READ_BYTES if size < 0 else min(size, _READ_BYTES)
        while not self._ended:
            self._packed = self._packed or self._source.read(_PACKED_BYTES)
            if not self._packed:
                break
            piece = self._step(most)
            if piece:
                self._given += len(piece)
                return piece
        return b""

    def _step(self, most: int) -> bytes:
        try:
            piece = self._unpacker.decompress(self._packed, most)
        except zlib.error as error:
            # What follows the last whole member is padding, or a file that was cut and joined.
            self._ended = True
            if self._given:
                return b""
            raise InputError(
                "discover.broken_gzip",
                f"The input begins as gzip does but cannot be unpacked: {error}.",
                "Give the file as it was written, or unpack it first.",
            ) from error
        self._packed = self._unpacker.unconsumed_tail
        if self._unpacker.eof:
            self._packed = self._unpacker.unused_data
            self._unpacker = zlib.decompressobj(_WITH_HEADER)
        return piece
