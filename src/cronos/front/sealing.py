"""What `seal`, `open`, `sign` and `verify` share: the keys they use, and the files these lie in."""

import argparse
import contextlib
import getpass
import os
import stat
import sys
from collections.abc import Generator
from pathlib import Path
from typing import Final

from cronos.errors import DeniedError, InputError
from cronos.front import settings
from cronos.front.keyring import using_keys
from cronos.front.outputs import STANDARD, as_text
from cronos.front.text import is_terminal
from cronos.ports import KeyProvider

SUFFIX: Final = ".sealed"
_MAX_TEXT_BYTES: Final = 8 << 10
_MAX_PASSPHRASE_BYTES: Final = 4 << 10


@contextlib.contextmanager
def keys_of(options: argparse.Namespace, *, wanted: bool) -> Generator[KeyProvider | None]:
    """Open the keystore of the chosen state folder, or reach the agent that holds it.

    Args:
        options: --config and --state.
        wanted: False where no key of ours is used; then there need be no keystore.
    """
    if not wanted:
        yield None
        return
    ask = _ask if is_terminal() else None
    with using_keys(settings.config_of(options), settings.state_of(options), ask=ask) as keys:
        yield keys


def _ask() -> str:
    try:
        return getpass.getpass("Passphrase of the keystore: ")
    except EOFError:
        raise InputError(
            "crypto.no_passphrase",
            "No passphrase was given.",
            "Run it again and type it, or configure where it comes from.",
        ) from None


def read_text(path: Path, what: str) -> bytes:
    """Read a key or a signature: a short text file.

    Raises:
        InputError: it cannot be read, or is too long to be one.
    """
    with _opened(path, what) as handle:
        return _bounded(handle, path, what, _MAX_TEXT_BYTES)


def read_passphrase(path: Path, source: str) -> bytes:
    """Read the first line of a file that nobody else may read (a pipe will do).

    Args:
        path: of the file.
        source: what is sealed or opened, which must not be the same standard input.

    Raises:
        InputError: it cannot be read, is empty, or is `source`.
        DeniedError: others may read it.
    """
    with _opened(path, "passphrase") as handle:
        if source == STANDARD and sys.stdin is not None and os.path.sameopenfile(handle, 0):
            raise InputError(
                "crypto.passphrase_in_data",
                "The passphrase and the data would both come from standard input.",
                "Give one of them in a file.",
            )
        found = os.fstat(handle)
        if found.st_uid not in (os.geteuid(), 0) or (
            stat.S_ISREG(found.st_mode) and found.st_mode & 0o077
        ):
            raise DeniedError(
                "crypto.secret_shared",
                f"The file {as_text(path)} belongs to others, or they may read it.",
                f"Make it yours alone: chmod 600 {as_text(path)}",
            )
        data = _bounded(handle, path, "passphrase", _MAX_PASSPHRASE_BYTES)
    line = data.partition(b"\n")[0].rstrip(b"\r")
    if not line:
        raise InputError(
            "crypto.no_passphrase",
            f"The first line of {as_text(path)} is empty.",
            "Write the passphrase there.",
        )
    return line


def output_of(options: argparse.Namespace, default: str) -> str:
    """Give the path that was asked for, or the default, which may be empty for none.

    Raises:
        InputError: neither is there; or one JSON document and raw bytes would mix.
    """
    chosen: str = options.output or default
    if not chosen:
        raise InputError(
            "output.unnamed",
            f"It is not clear what {as_text(options.source)} becomes:"
            f" its name does not end in {SUFFIX}.",
            "Say where with -o FILE.",
        )
    if chosen == STANDARD and options.json:
        raise InputError(
            "output.mixed",
            "The output and the JSON document would both go to standard output.",
            "Give the output a file with -o FILE.",
        )
    return chosen


@contextlib.contextmanager
def _opened(path: Path, what: str) -> Generator[int]:
    try:
        handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise _unreadable(path, what, error) from error
    try:
        yield handle
    finally:
        os.close(handle)


def _bounded(handle: int, path: Path, what: str, most: int) -> bytes:
    data = b""
    try:
        while len(data) <= most and (piece := os.read(handle, most + 1 - len(data))):
            data += piece
    except OSError as error:
        raise _unreadable(path, what, error) from error
    if len(data) > most:
        raise InputError(
            "input.too_long",
            f"{as_text(path)} is too long for a {what}.",
            f"Name the file that holds the {what}.",
        )
    return data


def _unreadable(path: Path, what: str, error: OSError) -> InputError:
    return InputError(
        "input.unreadable",
        f"The {what} {as_text(path)} cannot be read: {error.strerror}.",
        "Give the path of a readable file.",
    )


def plural(count: int, what: str) -> str:
    """Count something in words."""
    return f"{count:,} {what}{'s' * (count != 1)}"
