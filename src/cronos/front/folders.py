"""A folder that a command fills: each file whole under its name, and never through a link.

Whoever else may write to the folder could put a link where a file is about to be, and have it
lead anywhere that the user may write. So folders are held open, below them nothing is followed,
and a file is written under a name that is new and then takes the place of what is there.
"""

import contextlib
import os
from collections.abc import Generator, Mapping
from pathlib import Path
from typing import Final

from cronos.errors import DeniedError
from cronos.front.outputs import as_text

_HIDDEN: Final = ".cronos-"
_NEW: Final = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def fill(folder: Path, below: str, files: Mapping[str, bytes]) -> tuple[str, ...]:
    """Write files into a folder, or into one below it, and give their paths.

    Args:
        folder: is made where it is not there; who names it decides where it leads.
        below: the name of the folder within, "" for none; it must be no link.
        files: contents by plain name.

    Raises:
        DeniedError: one cannot be written, or the folder within is a link.
    """
    place = folder / below if below else folder
    written: list[str] = []
    name = ""
    try:
        with _opened(folder, below) as handle:
            for name, data in sorted(files.items()):
                _write(handle, name, data)
                written.append(as_text(place / name))
    except OSError as error:
        raise DeniedError(
            "output.unwritable",
            f"{as_text(place / name)} cannot be written: {error.strerror}.",
            "Choose another folder with --out.",
        ) from error
    return tuple(written)


@contextlib.contextmanager
def _opened(folder: Path, below: str) -> Generator[int]:
    folder.mkdir(parents=True, exist_ok=True)
    outer = os.open(folder, _FOLDER)
    try:
        if not below:
            yield outer
            return
        with contextlib.suppress(FileExistsError):
            os.mkdir(below, dir_fd=outer)
        inner = os.open(below, _FOLDER | os.O_NOFOLLOW, dir_fd=outer)
        try:
            yield inner
        finally:
            os.close(inner)
    finally:
        os.close(outer)


def _write(folder: int, name: str, data: bytes) -> None:
    hidden = f"{_HIDDEN}{name}"
    with contextlib.suppress(FileNotFoundError):
        os.unlink(hidden, dir_fd=folder)  # of a command that was killed
    handle = os.open(hidden, _NEW, 0o666, dir_fd=folder)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        os.replace(hidden, name, src_dir_fd=folder, dst_dir_fd=folder)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(hidden, dir_fd=folder)
        raise
