"""A bounded queue of lines on disk, for sources that cannot be read twice.

A socket or a pipe gives each byte once; the worker that parses it may crash. So what was read
is appended here first, and stays until `acknowledge` frees it. Segments are files of whole
lines, named by the number of their first line: the numbering survives restarts and trims.

What was appended has left this process and lies in the page cache: it survives `kill -9`, not a
power cut. There is no fsync: a spool outlives its worker, not its machine.
"""

import contextlib
import os
from pathlib import Path
from typing import Final

from cronos.errors import InputError

_SUFFIX: Final = ".spool"
_SEGMENTS: Final = 8  # a full spool is about this many files: a trim frees an eighth
_COUNT_BYTES: Final = 1 << 18


class Spool:
    """Lines on disk, appended at one end, read and trimmed at the other.

    One process at a time uses a folder. When `max_bytes` would be exceeded, `append` refuses
    and keeps what is there: the reader of a socket stops reading while `room` is 0, so that the
    sender waits (TCP) or the kernel's buffer drops (UDP), never the spool.

    A last line without its newline is what a crash left of an append: it is dropped, unless
    `keep_torn` says that the rest of it is still to come (a pipe).
    """

    def __init__(self, folder: Path, max_bytes: int, *, keep_torn: bool = False) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._segment_bytes = max(max_bytes // _SEGMENTS, 1)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._firsts = sorted(
                int(path.stem) for path in folder.glob(f"*{_SUFFIX}") if path.stem.isdecimal()
            ) or [1]
            self._tail = os.open(self._path(self._firsts[-1]), os.O_RDWR | os.O_CREAT, 0o600)
            self._sizes = [self._path(first).stat().st_size for first in self._firsts]
            self._next_line, self._whole = self._count_tail()
            if not self._whole and not keep_torn:
                self._drop_torn()
            self._reading = 0  # index of the segment that `read` is in
            self._offset = 0
            self._reader = os.open(self._path(self._firsts[0]), os.O_RDONLY)
        except OSError as error:
            raise self._broken(error) from error

    @property
    def first_line(self) -> int:
        """The number of the oldest line kept, from 1; where `read` began if nothing was freed."""
        return self._firsts[0]

    @property
    def room(self) -> int:
        """How many bytes may still be appended."""
        return max(self._max_bytes - sum(self._sizes), 0)

    @property
    def lines(self) -> int:
        """How many whole lines are kept."""
        return self._next_line - self._firsts[0]

    def append(self, lines: bytes) -> None:
        """Add whole lines; `lines` ends with a newline.

        Raises:
            InputError: the spool is full or cannot be written; nothing was added.
        """
        if not lines.endswith(b"\n"):
            raise InputError(
                "sense.torn_append",
                f"What was given to the spool {self._folder} does not end with a newline.",
                "Append whole lines only.",
            )
        if len(lines) > self.room:
            raise InputError(
                "sense.spool_full",
                f"The spool {self._folder} holds its limit of {self._max_bytes} bytes.",
                "Wait until what was read is acknowledged, or raise its limit.",
            )
        self._roll()
        view = memoryview(lines)
        size = self._sizes[-1]
        try:
            while view:
                view = view[os.pwrite(self._tail, view, size + len(lines) - len(view)) :]
        except OSError as error:
            os.ftruncate(self._tail, size)
            raise self._broken(error) from error
        self._grew(lines)

    def take_from(self, descriptor: int, size: int) -> int:
        """Move up to `size` bytes out of a pipe or file; give how many, 0 at its end.

        A pipe is spliced: its bytes are never only in this process, where a crash loses them.

        Raises:
            InputError: the descriptor cannot be read or the spool not be written.
        """
        self._roll()
        try:
            try:
                count = os.splice(descriptor, self._tail, size, offset_dst=self._sizes[-1])
            except (OSError, AttributeError):  # no pipe, or no Linux
                data = os.read(descriptor, size)
                count = os.pwrite(self._tail, data, self._sizes[-1]) if data else 0
            if count:
                self._grew(os.pread(self._tail, count, self._sizes[-1]))
        except OSError as error:
            raise self._broken(error) from error
        return count

    def read(self, size: int) -> bytes | None:
        """Give the next bytes, at most `size`; None when all that was appended has been given."""
        while True:
            data = os.pread(self._reader, size, self._offset)
            if data:
                self._offset += len(data)
                return data
            if self._reading + 1 >= len(self._firsts):
                return None
            self._enter(self._reading + 1)

    def acknowledge(self, line: int) -> None:
        """Free the segments that hold only lines up to `line`; the rest stays."""
        if line + 1 >= self._next_line and self._whole and self._sizes[-1]:
            self._start_segment()
        while len(self._firsts) > 1 and self._firsts[1] <= line + 1:
            if self._reading == 0:
                self._enter(1)
            with contextlib.suppress(OSError):
                self._path(self._firsts[0]).unlink()
            del self._firsts[0], self._sizes[0]
            self._reading -= 1

    def close(self) -> None:
        """Release the files; what they hold stays for the next opening."""
        for name in ("_tail", "_reader"):
            descriptor = getattr(self, name)
            if descriptor >= 0:
                os.close(descriptor)
                setattr(self, name, -1)

    def _path(self, first: int) -> Path:
        return self._folder / f"{first:016d}{_SUFFIX}"

    def _count_tail(self) -> tuple[int, bool]:
        """Count the last segment's lines: the next line's number, and whether it ends whole."""
        line, at, last = self._firsts[-1], 0, b"\n"
        while data := os.pread(self._tail, _COUNT_BYTES, at):
            line += data.count(b"\n")
            at += len(data)
            last = data[-1:]
        return line, last == b"\n"

    def _drop_torn(self) -> None:
        end = self._sizes[-1]
        while end:
            start = max(end - _COUNT_BYTES, 0)
            found = os.pread(self._tail, end - start, start).rfind(b"\n")
            end = start + found + 1 if found >= 0 else start
            if found >= 0:
                break
        os.ftruncate(self._tail, end)
        self._sizes[-1] = end
        self._whole = True

    def _grew(self, data: bytes) -> None:
        self._sizes[-1] += len(data)
        self._next_line += data.count(b"\n")
        self._whole = data.endswith(b"\n")

    def _roll(self) -> None:
        if self._sizes[-1] >= self._segment_bytes and self._whole:
            self._start_segment()

    def _start_segment(self) -> None:
        try:
            tail = os.open(self._path(self._next_line), os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise self._broken(error) from error
        os.close(self._tail)
        self._tail = tail
        self._firsts.append(self._next_line)
        self._sizes.append(0)

    def _enter(self, index: int) -> None:
        reader = os.open(self._path(self._firsts[index]), os.O_RDONLY)
        os.close(self._reader)
        self._reader, self._reading, self._offset = reader, index, 0

    def _broken(self, error: OSError) -> InputError:
        return InputError(
            "sense.spool_broken",
            f"The spool {self._folder} cannot be used: {error.strerror or error}.",
            "Give a writable folder with space left (--state).",
        )
