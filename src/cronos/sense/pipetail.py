"""What was taken out of a pipe and is not sealed yet.

The bytes of a pipe are spliced into a small file before they are read: they are never only in this
process, where a crash would lose them. Then they are sealed into the spool, and the file is
emptied. **For that moment, some hundred microseconds or until the next start after a crash, they
lie readable in the file `tail` of the spool's folder** (mode 0600), at most 256 KiB of them. Who
can write that file needs no key to put bytes into the pipe's; they are believed like those.

Bytes lie in the file at their place in all that was ever spooled, modulo 2^40. So the spool knows,
by the place that its last frame ends at, which of them it holds already: each is sealed once.
"""

import os
from pathlib import Path
from typing import Final

_TURN_BYTES: Final = 1 << 40  # no file system's limit is met however long a pipe runs
_MOST_BYTES: Final = 1 << 18


class PipeTail:
    """The file between a pipe and the spool, in the spool's folder."""

    def __init__(self, folder: Path) -> None:
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.open(folder / "tail", flags, 0o600)

    def take(self, descriptor: int, size: int, at: int) -> int:
        """Splice up to `size` bytes, of which the first has the place `at`; give how many.

        Raises:
            OSError: it is no pipe, or the disk is full; nothing was taken.
        """
        offset = at % _TURN_BYTES
        most = min(size, _MOST_BYTES, _TURN_BYTES - offset)
        return os.splice(descriptor, self._file, most, offset_dst=offset)

    def left(self, at: int) -> bytes:
        """Give the bytes that lie here from place `at` on: those that no frame holds."""
        offset = at % _TURN_BYTES
        count = os.fstat(self._file).st_size - offset
        # More than was ever taken at once is the end of a turn, all of it sealed.
        return os.pread(self._file, count, offset) if 0 < count <= _MOST_BYTES else b""

    def clear(self) -> None:
        """Forget them: a frame holds them all."""
        os.ftruncate(self._file, 0)

    def close(self) -> None:
        """Release the file; more than once is harmless."""
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
