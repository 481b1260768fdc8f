"""A bounded queue of lines on disk, for sources that cannot be read twice.

A socket or a pipe gives each byte once; the worker that parses it may crash. So what was read
is appended here first, and stays until `acknowledge` frees it. Segments are files of whole
lines, named by the number of their first line: the numbering survives restarts and trims. They
are sealed, see `cronos.sense.spoolframes`, unless nothing seals. Segments from before there was
sealing are sealed once, all into one; from then on nothing unsealed is read.

What was appended has left this process and lies in the page cache: it survives `kill -9`, not a
power cut. There is no fsync: a spool outlives its worker, not its machine.
"""

import contextlib
import errno
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from cronos.errors import CronosError, InputError
from cronos.ports import Sealer
from cronos.sense.pipetail import PipeTail
from cronos.sense.spoolframes import PlainStore, SealedStore, Segment, Store

_SEGMENTS: Final = 8  # a full spool is about this many files: a trim frees an eighth
_MOVED_BYTES: Final = 1 << 18
_NUMBER: Final = re.compile(r"[0-9]{16}")  # of a segment's first line
_NEW: Final = os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC


class Spool:
    """Lines on disk, appended at one end, read and trimmed at the other.

    One process at a time uses a folder. When `max_bytes` would be exceeded, `append` refuses
    and keeps what is there: the reader of a socket stops reading while `room` is 0, so that the
    sender waits (TCP) or the kernel's buffer drops (UDP), never the spool.

    A last line without its newline is what a crash left of an append: it is dropped, unless
    `keep_torn` says that the rest of it is still to come (a pipe).

    Args:
        folder: where the segments lie; made with mode 0700.
        max_bytes: the most they may take, what sealing adds included.
        sealer: hides the lines; None, or one that says "unsealed", leaves them readable.
        keep_torn: a pipe is spooled.

    Raises:
        InputError: the folder cannot be used.
        UnreachableError: who holds the sealer's key does not answer.
    """

    def __init__(
        self,
        folder: Path,
        max_bytes: int,
        sealer: Sealer | None = None,
        *,
        keep_torn: bool = False,
    ) -> None:
        self._folder = folder
        self._max_bytes = max_bytes
        self._segment_bytes = max(max_bytes // _SEGMENTS, 1)
        self._store: Store = PlainStore()
        self._pipe: PipeTail | None = None
        self._tail = -1
        self._segment: Segment = PlainStore().segment(-1, 1)
        try:
            self._open(sealer, keep_torn=keep_torn)
        except OSError as error:
            self.close()
            raise self._broken(error) from error
        except CronosError:
            self.close()
            raise

    def _open(self, sealer: Sealer | None, *, keep_torn: bool) -> None:
        folder = self._folder
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if sealer is not None and sealer.seal_version:
            self._store = SealedStore(sealer, folder.name, pieces=keep_torn)
            self._migrate(keep_torn=keep_torn)
        elif self._named(SealedStore.suffix):
            raise _sealed_once(folder)
        self._firsts = self._named(self._store.suffix) or [1]
        self._begin(keep_torn=keep_torn)
        if keep_torn and isinstance(self._store, SealedStore):
            self._pipe = PipeTail(folder)
            self._settle(self._pipe)

    def _begin(self, *, keep_torn: bool) -> None:
        """Take up the segments that are there, or make the first."""
        self._tail = self._opened(self._firsts[-1])
        self._sizes = [self._path(first).stat().st_size for first in self._firsts]
        found = self._store.survey(self._tail, self._firsts[-1])
        self._next_line, self._at, self._whole = found.line, found.at, found.whole
        if found.end < self._sizes[-1]:
            self._cut(found.end)
        if not found.end:
            # After a crash between making a segment and writing its beginning, its place in all
            # that was spooled is in the one before.
            self._at = self._place_before()
            self._cut(0)
            beginning = self._store.beginning(self._next_line, self._at)
            self._put(beginning)
            self._sizes[-1] = len(beginning)
        if not self._whole and not keep_torn:
            self._drop_torn()
        self._reading = 0  # index of the segment that `read` is in
        self._segment = self._store.segment(self._reopened(self._firsts[0]), self._firsts[0])
        self._gap = b""  # what stands for lines that were lost at the end of a segment

    @property
    def first_line(self) -> int:
        """The number of the oldest line kept, from 1; where `read` began if nothing was freed."""
        return self._firsts[0]

    @property
    def room(self) -> int:
        """How many bytes may still be appended."""
        return max(self._max_bytes - sum(self._sizes) - self._store.reserve, 0)

    @property
    def lines(self) -> int:
        """How many whole lines are kept."""
        return self._next_line - self._firsts[0]

    def append(self, lines: bytes) -> None:
        """Add whole lines; `lines` ends with a newline.

        Raises:
            InputError: the spool is full or cannot be written; nothing was added.
            UnreachableError: nothing can be sealed now; nothing was added.
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
        try:
            self._roll()
            self._add(lines)
        except OSError as error:
            raise self._broken(error) from error

    def take_from(self, descriptor: int, size: int) -> int:
        """Move up to `size` bytes out of a pipe or file; give how many, 0 at its end.

        A pipe is spliced: its bytes are never only in this process, where a crash loses them.
        Where the spool is sealed they lie readable on the disk until they are sealed, a moment
        later; see `cronos.sense.pipetail`.

        Raises:
            InputError: the descriptor cannot be read or the spool not be written.
            UnreachableError: nothing can be sealed now; what was taken is sealed later.
        """
        try:
            self._roll()
            if self._pipe is not None:
                return self._take_aside(self._pipe, descriptor, size)
            try:
                count = os.splice(descriptor, self._tail, size, offset_dst=self._sizes[-1])
            except (OSError, AttributeError) as error:
                return self._take_plainly(descriptor, size, error)
            if count:
                data = os.pread(self._tail, count, self._sizes[-1])
                self._grew(data, len(data))
        except OSError as error:
            raise self._broken(error) from error
        return count

    def read(self, size: int) -> bytes | None:
        """Give the next bytes, at most `size`; None when all that was appended has been given.

        Raises:
            UnreachableError: who holds the sealer's key does not answer.
        """
        while True:
            if self._gap:
                data, self._gap = self._gap[:size], self._gap[size:]
                return data
            data = self._segment.read(size)
            if data:
                return data
            if self._reading + 1 >= len(self._firsts):
                return None
            self._gap = self._segment.lost(self._firsts[self._reading + 1])
            self._enter(self._reading + 1)

    def acknowledge(self, line: int) -> None:
        """Free the segments that hold only lines up to `line`; the rest stays."""
        if line + 1 >= self._next_line and self._whole and self._next_line > self._firsts[-1]:
            # Without a key now, the segment goes later: what it holds has been dealt with.
            with contextlib.suppress(CronosError):
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
        self._segment.close()
        if self._tail >= 0:
            os.close(self._tail)
            self._tail = -1
        if self._pipe is not None:
            self._pipe.close()

    # --- writing -------------------------------------------------------------------------------

    def _add(self, data: bytes) -> None:
        packed = self._store.pack(data, self._next_line, self._at)
        self._put(packed)
        self._grew(data, len(packed))

    def _put(self, packed: bytes) -> None:
        """Write at the end of the last segment, all or nothing."""
        try:
            _write_all(self._tail, packed, self._sizes[-1])
        except OSError:
            os.ftruncate(self._tail, self._sizes[-1])
            raise

    def _grew(self, data: bytes, stored: int) -> None:
        self._sizes[-1] += stored
        self._next_line += data.count(b"\n")
        self._at += len(data)
        self._whole = data.endswith(b"\n")

    def _take_aside(self, pipe: PipeTail, descriptor: int, size: int) -> int:
        """Take from a pipe into the file aside, then seal what lies there."""
        self._settle(pipe)
        try:
            count = pipe.take(descriptor, size, self._at)
        except (OSError, AttributeError) as error:
            return self._take_plainly(descriptor, size, error)
        self._settle(pipe)
        return count

    def _settle(self, pipe: PipeTail) -> None:
        """Seal what was taken from the pipe and is not sealed yet, then forget it there."""
        data = pipe.left(self._at)
        cut = data.rfind(b"\n") + 1
        if cut and self._sizes[-1] >= self._segment_bytes:
            # A pipe's bytes seldom end with a line; segments must, or nothing could be freed.
            self._add(data[:cut])
            self._roll()
            data = data[cut:]
        if data:
            self._add(data)
        pipe.clear()

    def _take_plainly(self, descriptor: int, size: int, why: OSError | AttributeError) -> int:
        """Read what is no pipe, or not on Linux; a full disk must not cost what was read."""
        if isinstance(why, OSError) and why.errno != errno.EINVAL:
            raise why
        data = os.read(descriptor, size)
        if data:
            self._add(data)
        return len(data)

    def _cut(self, end: int) -> None:
        os.ftruncate(self._tail, end)
        self._sizes[-1] = end

    def _drop_torn(self) -> None:
        """End a last line that a crash tore: by cutting it off, or where that is sealed, there."""
        if isinstance(self._store, SealedStore):
            self._add(b"\n")
            return
        end = self._sizes[-1]
        while end:
            start = max(end - _MOVED_BYTES, 0)
            found = os.pread(self._tail, end - start, start).rfind(b"\n")
            end = start + found + 1 if found >= 0 else start
            if found >= 0:
                break
        self._cut(end)
        self._whole = True

    # --- segments ------------------------------------------------------------------------------

    def _named(self, suffix: str) -> list[int]:
        paths = self._folder.glob(f"*{suffix}")
        return sorted(int(path.stem) for path in paths if _NUMBER.fullmatch(path.stem))

    def _path(self, first: int, suffix: str = "") -> Path:
        return self._folder / f"{first:016d}{suffix or self._store.suffix}"

    def _opened(self, first: int) -> int:
        return os.open(self._path(first), os.O_RDWR | _NEW, 0o600)

    def _reopened(self, first: int) -> int:
        return os.open(self._path(first), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)

    def _roll(self) -> None:
        full = self._sizes[-1] >= self._segment_bytes
        if full and self._whole and self._next_line > self._firsts[-1]:
            self._start_segment()

    def _start_segment(self) -> None:
        beginning = self._store.beginning(self._next_line, self._at)
        try:
            tail = self._opened(self._next_line)
            try:
                os.ftruncate(tail, 0)
                _write_all(tail, beginning, 0)
            except OSError:
                os.close(tail)
                # Lines go on in the segment before, so one of this name would renumber them.
                self._path(self._next_line).unlink()
                raise
        except OSError as error:
            raise self._broken(error) from error
        os.close(self._tail)
        self._tail = tail
        self._firsts.append(self._next_line)
        self._sizes.append(len(beginning))

    def _place_before(self) -> int:
        if len(self._firsts) < 2:
            return 0
        descriptor = self._reopened(self._firsts[-2])
        try:
            return self._store.survey(descriptor, self._firsts[-2]).at
        finally:
            os.close(descriptor)

    def _enter(self, index: int) -> None:
        segment = self._store.segment(self._reopened(self._firsts[index]), self._firsts[index])
        self._segment.close()
        self._segment, self._reading = segment, index

    # --- segments from before there was sealing ------------------------------------------------

    def _migrate(self, *, keep_torn: bool) -> None:
        """Seal all unsealed segments into one, then remove them; after a crash, begin again."""
        plain = PlainStore()
        firsts = self._named(plain.suffix)
        if firsts and not self._named(self._store.suffix):
            beside = self._folder / "migrating"
            descriptor = os.open(beside, os.O_WRONLY | os.O_TRUNC | _NEW, 0o600)
            with os.fdopen(descriptor, "wb") as file:
                file.write(self._store.beginning(firsts[0], 0))
                line, at = firsts[0], 0
                for data in self._unsealed(firsts, keep_torn=keep_torn):
                    file.write(self._store.pack(data, line, at))
                    line, at = line + data.count(b"\n"), at + len(data)
                file.flush()
                os.fsync(file.fileno())
            beside.replace(self._path(firsts[0]))
        for first in firsts:
            self._path(first, plain.suffix).unlink(missing_ok=True)

    def _unsealed(self, firsts: list[int], *, keep_torn: bool) -> Iterator[bytes]:
        """Give what the unsealed segments hold, in whole lines where a torn one is dropped."""
        rest = b""
        for first in firsts:
            with self._path(first, PlainStore.suffix).open("rb") as file:
                while data := file.read(_MOVED_BYTES):
                    data = rest + data
                    whole = len(data) if keep_torn else data.rfind(b"\n") + 1
                    yield data[:whole]
                    rest = data[whole:]

    def _broken(self, error: OSError) -> InputError:
        return InputError(
            "sense.spool_broken",
            f"The spool {self._folder} cannot be used: {error.strerror or error}.",
            "Give a writable folder with space left (--state).",
        )


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        view = view[os.pwrite(descriptor, view, offset + len(data) - len(view)) :]


def _sealed_once(folder: Path) -> InputError:
    return InputError(
        "sense.spool_sealed",
        f"The spool {folder} was sealed, and nothing seals or opens it now.",
        "Let it be sealed as before, or remove the folder and what it holds.",
    )
