"""Files that survive: written whole and synced before they take a name, or not written at all.

Everything here is for the owner alone (0600, 0700) and follows no link. A full disk, a signal or
a power cut leaves either the old bytes or the new ones under a name, never a mixture.
"""

import contextlib
import errno
import os
import secrets
import stat
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Final

from cronos.errors import DeniedError, InputError

UNWRITABLE: Final = "crypto.unwritable"
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_CHUNK: Final = 1 << 16


def private_folder(folder: Path) -> None:
    """Make a folder that only this user may use, or check that one is.

    Raises:
        DeniedError: it cannot be made, or others own it or may write to it.
    """
    try:
        # Whatever the umask is: who may write above could put another folder in its place.
        for above in reversed(folder.parents):
            if not above.exists():
                above.mkdir(mode=0o755, exist_ok=True)
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.stat()
    except OSError as error:
        raise unwritable(folder, error) from error
    require_unshared(folder, found)


def require_unshared(folder: Path, found: os.stat_result) -> None:
    """Refuse a folder that others own or may write to.

    Raises:
        DeniedError: they do or may.
    """
    if found.st_uid not in (os.geteuid(), 0) or found.st_mode & 0o022:
        raise DeniedError(
            "crypto.folder_shared",
            f"The folder {folder} belongs to or may be written by others.",
            f"Make it yours alone: chmod 700 {folder}",
        )


def read_bounded(path: Path, most: int) -> bytes | None:
    """Read a regular file of at most `most` bytes; None where there is none.

    Raises:
        DeniedError: it cannot be read, is a link or no regular file, or is longer.
    """
    return _read(path, most, lambda _found: None)


def read_secret(path: Path, most: int, *, forbidden: int = 0o077) -> bytes | None:
    """Read a file that nobody else may read; None where there is none.

    Args:
        path: what to read; the file that is judged is the one that is read.
        most: how many bytes it may have.
        forbidden: the bits of its mode that none may be set of.

    Raises:
        DeniedError: others may read or write it, or own it; or as `read_bounded` does.
    """

    def judge(found: os.stat_result) -> None:
        if found.st_uid not in (os.geteuid(), 0) or found.st_mode & forbidden:
            raise DeniedError(
                "crypto.secret_shared",
                f"The file {path} belongs to others, or they may read it.",
                f"Make it yours alone: chmod 600 {path}",
            )

    return _read(path, most, judge)


def _read(path: Path, most: int, judge: Callable[[os.stat_result], None]) -> bytes | None:
    try:
        handle = os.open(path, _READ)
    except FileNotFoundError:
        return None
    except OSError as error:
        link = "it is a link" if error.errno == errno.ELOOP else ""
        raise unreadable(path, link or error.strerror or "no reason given") from error
    try:
        found = os.fstat(handle)
        if not stat.S_ISREG(found.st_mode):
            raise unreadable(path, "it is no regular file")
        judge(found)
        data = b""
        while len(data) <= most and (piece := os.read(handle, most + 1 - len(data))):
            data += piece
    except OSError as error:
        raise unreadable(path, error.strerror or "no reason given") from error
    finally:
        os.close(handle)
    if len(data) > most:
        raise unreadable(path, f"it is longer than {most} bytes")
    return data


def write_synced(path: Path, data: bytes) -> None:
    """Write a file of mode 0600 and sync it; what was under this name goes first.

    Raises:
        OSError: it was not written whole; nothing is left under this name.
    """
    path.unlink(missing_ok=True)
    handle = os.open(path, _NEW | os.O_EXCL, 0o600)
    try:
        write_all(handle, data)
        os.fsync(handle)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    finally:
        os.close(handle)


def write_all(handle: int, data: bytes) -> None:
    """Write all of `data`, however the system cuts it."""
    left = memoryview(data)
    while left:
        left = left[os.write(handle, left) :]


def publish(path: Path, data: bytes) -> None:
    """Write a new file of mode 0600, whole or not at all; never over one that is there.

    Raises:
        InputError: there is a file of this name.
        DeniedError: it cannot be written.
    """
    new = path.with_name(f".{path.name}.{secrets.token_hex(8)}.new")
    try:
        write_synced(new, data)
        try:
            path.hardlink_to(new)
        finally:
            new.unlink()
        sync_folder(path.parent)
    except FileExistsError:
        raise InputError(
            "crypto.file_exists",
            f"There is a file {path} already.",
            "Choose another name, or remove that file first.",
        ) from None
    except OSError as error:
        raise unwritable(path, error) from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextlib.contextmanager
def blotted_after(*paths: Path) -> Generator[None]:
    """Overwrite what these names stand for now, once they have been given to other files.

    The best that a program can do to bytes on a disk: a copying file system or a flash drive may
    keep them all the same. A name that still has its file at the end is left alone.
    """
    with contextlib.ExitStack() as stack:
        old: list[int] = []
        for path in paths:
            with contextlib.suppress(OSError):
                old.append(os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC))
                stack.callback(os.close, old[-1])
        yield
        for handle in old:
            found = os.fstat(handle)
            if found.st_nlink == 0:
                _blot(handle, found.st_size)


def _blot(handle: int, size: int) -> None:
    with contextlib.suppress(OSError):
        os.lseek(handle, 0, os.SEEK_SET)
        for start in range(0, size, _CHUNK):
            write_all(handle, bytes(min(_CHUNK, size - start)))
        os.fsync(handle)


def unwritable(path: Path, error: OSError) -> DeniedError:
    """Give the error of a full or read-only disk."""
    return DeniedError(
        UNWRITABLE,
        f"{path} cannot be written: {error.strerror or error}.",
        "Make room, or choose another folder. Nothing was changed.",
    )


def unreadable(path: Path, reason: str) -> DeniedError:
    """Give the error of what is there and cannot be read."""
    return DeniedError(
        "crypto.unreadable", f"{path} cannot be read: {reason}.", "Look at who put it there."
    )
