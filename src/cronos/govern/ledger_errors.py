"""What SQLite reports, as sentences with a remedy."""

import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cronos.errors import CronosError, DeniedError

# After a failed fsync the kernel may call lost pages clean: no later success can be believed.
_UNSYNCED: Final = (sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_IOERR_DIR_FSYNC)

_SENTENCES: Final = {
    sqlite3.SQLITE_FULL: (
        "govern.disk_full",
        "There is no space left for the ledger {path}; nothing of this append was stored.",
        "Free space on its file system; appending then goes on by itself.",
    ),
    sqlite3.SQLITE_BUSY: (
        "govern.ledger_busy",
        "Another program holds the ledger {path}; nothing of this append was stored.",
        "End what writes to it (`fuser` on the file names it), then try again.",
    ),
    sqlite3.SQLITE_IOERR: (
        "govern.ledger_io",
        "The disk refused to write the ledger {path} ({reason}); nothing of it was stored.",
        "Check the disk, its quota and the process's file size limit, then try again.",
    ),
    sqlite3.SQLITE_CANTOPEN: (
        "govern.ledger_unopened",
        "The ledger {path} cannot be opened ({reason}).",
        "Check that its folder exists, is yours and has space.",
    ),
    sqlite3.SQLITE_MISUSE: (
        "govern.ledger_closed",
        "The ledger {path} is closed.",
        "Open it again before using it.",
    ),
}
_SAME: Final = {sqlite3.SQLITE_LOCKED: sqlite3.SQLITE_BUSY}


@contextmanager
def translate(path: Path) -> Generator[None, None, None]:
    """Turn whatever SQLite raises inside into a `CronosError` about the ledger at `path`."""
    try:
        yield
    except (sqlite3.Error, UnicodeDecodeError) as error:
        # SQLite quotes a damaged schema in its message, which is then no text itself.
        raise explain(path, error) from error


def explain(path: Path, error: Exception) -> CronosError:
    """Say what an error of SQLite means for the ledger at `path`."""
    # The module itself raises without a code: on a closed connection, and on damaged text.
    closed = isinstance(error, sqlite3.ProgrammingError)
    uncoded = sqlite3.SQLITE_MISUSE if closed else sqlite3.SQLITE_CORRUPT
    extended = int(getattr(error, "sqlite_errorcode", uncoded))
    primary = extended & 0xFF
    if extended in _UNSYNCED:
        return CronosError(
            "govern.ledger_unsynced",
            f"The disk did not confirm a write to the ledger {path}; it takes no more records.",
            "Check the disk, verify the ledger, then start this process again.",
        )
    if primary == sqlite3.SQLITE_READONLY:
        return DeniedError(
            "govern.ledger_readonly",
            f"The ledger {path} may not be written; nothing of this append was stored.",
            "Give its user write permission on the file and its folder, or remount read-write.",
        )
    known = _SENTENCES.get(_SAME.get(primary, primary))
    if known is None:
        return broken(path, f"its pages are damaged ({error})")
    code, sentence, remedy = known
    return CronosError(code, sentence.format(path=path, reason=error), remedy)


def broken(path: Path, reason: str) -> CronosError:
    """Say that the ledger at `path` is not what was written."""
    return CronosError(
        "govern.ledger_broken",
        f"The ledger {path} is broken: {reason}.",
        "Keep the folder as evidence and restore the ledger from a copy that verifies.",
    )
