"""What a command reads and writes as raw bytes: a file, or standard input and output.

A file that is written appears under its name when it is whole and durable, or not at all: until
then it has no name (`O_TMPFILE`), so that an interrupt, a full disk and even kill -9 leave nothing
behind. Where the file system knows no such files it has a hidden name beside the one it will get.
"""

import contextlib
import errno
import os
import select
import stat
import sys
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Final

from cronos.errors import DeniedError, InputError, UnreachableError

STANDARD: Final = "-"
_HIDDEN: Final = ".cronos-"
_STDIN: Final = 0
_STDOUT: Final = 1


class RawInput:
    """Raw bytes of a file or of standard input.

    Attributes:
        shown: its name, for people.
        size: how many bytes it has, 0 where nobody knows.
        identity: device and inode of a regular file, else None.
    """

    def __init__(self, handle: int, shown: str) -> None:
        self._handle = handle
        self.shown = shown
        found = os.fstat(handle)
        regular = stat.S_ISREG(found.st_mode)
        self.size = found.st_size if regular else 0
        self.identity = (found.st_dev, found.st_ino) if regular else None

    def readinto(self, buffer: memoryview) -> int:
        """Fill the front of `buffer`; 0 is the end.

        Raises:
            InputError: it cannot be read.
        """
        while True:
            try:
                return os.readv(self._handle, [buffer])
            except BlockingIOError:
                select.select([self._handle], [], [])
            except OSError as error:
                raise _unreadable(self.shown, error) from error


class RawOutput:
    """Raw bytes into a file or to standard output.

    Attributes:
        shown: its name, for people.
        to_file: whether it is a file, of which nothing stays unless it is whole.
        written: how many bytes it took.
    """

    def __init__(self, handle: int, shown: str) -> None:
        self._handle = handle
        self.shown = shown
        self.to_file = handle != _STDOUT
        self.written = 0

    def write(self, data: bytes | bytearray | memoryview) -> int:
        """Take some of `data` and say how much.

        Raises:
            DeniedError: there is no room.
            UnreachableError: whoever read it has gone.
        """
        while True:
            try:
                taken = os.write(self._handle, data)
            except BlockingIOError:
                select.select([], [self._handle], [])
            except BrokenPipeError:
                # Unlike a report, of which a reader may want only the head, this was all wanted.
                raise UnreachableError(
                    "output.reader_gone",
                    "Whoever read the output has gone before its end.",
                    "See why it ended; what it has is not the whole.",
                ) from None
            except OSError as error:
                raise _unwritable(self.shown, error, kept=not self.to_file) from error
            else:
                self.written += taken
                return taken


@contextlib.contextmanager
def reading(given: str) -> Generator[RawInput]:
    """Open a file, or standard input for ``-``.

    Raises:
        InputError: there is no such file, or it cannot be read.
    """
    if given == STANDARD:
        # Looked for by Python at its start: by now a file of ours may have the number.
        if sys.stdin is None:
            raise _closed("standard input")
        yield RawInput(_STDIN, "standard input")
        return
    try:
        handle = os.open(given, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(as_text(given), error) from error
    try:
        with contextlib.suppress(OSError):  # a pipe cannot be read ahead
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_SEQUENTIAL)
        yield RawInput(handle, as_text(given))
    finally:
        os.close(handle)


@contextlib.contextmanager
def writing(given: str, source: RawInput, *, force: bool) -> Generator[RawOutput]:
    """Give where to write; a file gets its name when the block ends without an exception.

    Args:
        given: a path, or ``-`` for standard output.
        source: what is read, which must be another file.
        force: replace a file that is there.

    Raises:
        InputError: there is a file of that name, it is `source`, or it is no regular file.
        DeniedError: there is no room, or writing is not allowed.
    """
    if given == STANDARD:
        if sys.stdout is None:
            raise _closed("standard output")
        _refuse_same(source, os.fstat(_STDOUT))
        yield RawOutput(_STDOUT, "standard output")
        return
    path = Path(given)
    _check_target(path, source, force=force)
    pending = _Pending(path)
    try:
        yield RawOutput(pending.handle, as_text(given))
        pending.commit(force=force)
    finally:
        pending.close()


def refuse_terminal(given: str, *, asked: bool) -> None:
    """Refuse to pour raw bytes over a terminal, unless the user wrote ``-o -``.

    Raises:
        InputError: it would.
    """
    if given == STANDARD and not asked and sys.stdout is not None and sys.stdout.isatty():
        raise InputError(
            "output.terminal",
            "The output would go to this terminal, which is no place for raw bytes.",
            "Say where with -o FILE, or -o - if you mean it.",
        )


def as_text(path: str | Path) -> str:
    """Give a path for people and JSON, which hold no bytes that are not UTF-8."""
    return os.fsencode(path).decode(errors="replace")


class _Pending:
    """A file without a name, or with a hidden one, in the folder where it will have its own.

    Raises:
        DeniedError: there is no room, or writing is not allowed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._hidden: Path | None = None
        try:
            self._folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise _unwritable(as_text(path), error) from error
        try:
            self.handle = self._created()
        except OSError as error:
            os.close(self._folder)
            raise _unwritable(as_text(path), error) from error

    def _created(self) -> int:
        try:
            return os.open(self._path.parent, os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR):
                raise
        handle, hidden = tempfile.mkstemp(prefix=_HIDDEN, dir=self._path.parent)
        self._hidden = Path(hidden)
        return handle

    def commit(self, *, force: bool) -> None:
        """Make it durable and give it its name; `force` replaces whoever has it."""
        try:
            os.fsync(self.handle)
            if force:
                self._replace()
            else:
                self._link(self._path)
            os.fsync(self._folder)
        except FileExistsError:
            raise _exists(self._path) from None
        except OSError as error:
            raise _unwritable(as_text(self._path), error) from error

    def _replace(self) -> None:
        if self._hidden is None:
            # An inode's number in the name: no other living file of ours has this one.
            hidden = self._path.parent / f"{_HIDDEN}{os.fstat(self.handle).st_ino:x}"
            self._link(hidden)
            self._hidden = hidden
        self._hidden.replace(self._path)
        self._hidden = None

    def _link(self, name: Path) -> None:
        """Give it a name that nobody has; the kernel sees to that, without a gap."""
        source = self._hidden or f"/proc/self/fd/{self.handle}"
        try:
            # A folder's descriptor makes Python call linkat, which alone follows /proc's link.
            os.link(source, name, src_dir_fd=self._folder)
        except OSError as error:
            if self._hidden is None or error.errno not in (errno.EPERM, errno.EOPNOTSUPP):
                raise
            # A file system without hard links (FAT): here, there is a gap.
            if name.exists():
                raise _exists(name) from None
            self._hidden.replace(name)
            self._hidden = None

    def close(self) -> None:
        """Let go; what has not got its name is gone."""
        if self._hidden is not None:
            with contextlib.suppress(OSError):
                self._hidden.unlink()
        os.close(self.handle)
        os.close(self._folder)


def _check_target(path: Path, source: RawInput, *, force: bool) -> None:
    try:
        found = path.lstat()
    except FileNotFoundError:
        return
    except OSError as error:
        raise _unwritable(as_text(path), error) from error
    with contextlib.suppress(OSError):
        _refuse_same(source, path.stat())
    if not force:
        raise _exists(path)
    if not stat.S_ISREG(found.st_mode) and not stat.S_ISLNK(found.st_mode):
        raise InputError(
            "output.no_file",
            f"{as_text(path)} is no regular file, and cannot be replaced by one.",
            "Write to standard output (-o -) and redirect it.",
        )


def _refuse_same(source: RawInput, found: os.stat_result) -> None:
    if source.identity == (found.st_dev, found.st_ino):
        raise InputError(
            "output.same_file",
            f"{source.shown} would be read and written at once.",
            "Name another file with -o.",
        )


def _exists(name: Path) -> InputError:
    return InputError(
        "output.exists",
        f"There is a file {as_text(name)} already.",
        "Choose another name with -o, or replace it with --force.",
    )


def _unreadable(shown: str, error: OSError) -> InputError:
    return InputError(
        "input.unreadable",
        f"{shown} cannot be read: {error.strerror}.",
        "Give the path of a readable file.",
    )


def _unwritable(shown: str, error: OSError, *, kept: bool = False) -> DeniedError:
    left = "what it took so far" if kept else "nothing"
    return DeniedError(
        "output.unwritable",
        f"{shown} cannot be written: {error.strerror}.",
        f"Make room or choose another place; {left} was left behind.",
    )


def _closed(shown: str) -> InputError:
    return InputError(
        "front.closed",
        f"The {shown} of this process is closed.",
        "Name a file instead, or run it where there is one.",
    )
