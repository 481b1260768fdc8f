"""Moves a readable ledger to a sealed one, once, before its first sealed record.

What a kill, a full disk or a power cut leaves at each step, and what the next opening does:

1. ``ledger.db`` is verified and its write-ahead log folded in: it stands as before.
2. ``ledger.db.new`` is written: it is thrown away and begun again.
3. It is verified, every record opened, and the former chain computed again from what they hold;
   it is synced: as above.
4. ``ledger.db`` gets a second name, ``ledger.db.former``: the name is taken away again.
5. ``ledger.db.new`` is renamed over ``ledger.db``: from here the ledger is sealed.
6. ``ledger.db.former`` is overwritten and removed: done at the next opening if it is still there.

Positions stay, and the new genesis binds size and head of the former chain.
"""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias

from cronos.errors import CronosError, DeniedError, UnreachableError
from cronos.govern.verify import (
    FORMAT_VERSION,
    SEALED_FORMAT_VERSION,
    Genesis,
    examine_file,
    verify_file,
)
from cronos.ports import Sealer

Progress: TypeAlias = Callable[[int, int], None]
"""Told how many records of how many have been sealed, then how many have been read back."""

Row: TypeAlias = tuple[int, bytes, bytes]
"""Position, stored bytes, chain hash."""

Store: TypeAlias = Callable[[sqlite3.Connection, Genesis, Iterator[bytes]], Iterator[int]]
"""Makes a ledger of a genesis and the records given; yields the position reached now and then."""

_CHUNK: Final = 2_000
_TELL_EVERY: Final = 10_000
_BLOT_BYTES: Final = 1 << 20
_PATIENCE_S: Final = 5.0


def seal_ledger(path: Path, sealer: Sealer, store: Store, progress: Progress | None) -> None:
    """Seal the ledger at `path` if it is readable; the caller holds the writer's lock.

    Raises:
        DeniedError: it could not be sealed and is unchanged.
        CronosError: it does not verify, and is not touched.
        UnreachableError: the keys do not answer.
    """
    former = path.with_name(path.name + ".former")
    version = _version(path)
    if version == FORMAT_VERSION:
        former.unlink(missing_ok=True)
        _replace(path, former, sealer, store, progress)
        version = SEALED_FORMAT_VERSION
    if version == SEALED_FORMAT_VERSION and former.exists():
        _blot(former)
        former.unlink()
        _sync(path.parent)


def _replace(
    path: Path, former: Path, sealer: Sealer, store: Store, progress: Progress | None
) -> None:
    new = path.with_name(path.name + ".new")
    _discard(new)
    known = verify_file(path)
    try:
        _settle(path)
        genesis = Genesis(SEALED_FORMAT_VERSION, _instance(path), known.size, known.head)
        os.close(os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        _write(path, new, genesis, store, progress)
        found = examine_file(new, _Reopener(sealer, known.size, progress))
        if found.checkpoint.size != known.size or not (found.former_proved or not known.size):
            raise _unsealed(path, "what was written does not read back")
        _sync(new)
        os.link(path, former)
        new.replace(path)
        _sync(path.parent)
    except (sqlite3.Error, OSError) as error:
        _discard(new)
        raise _unsealed(path, str(error)) from error
    except CronosError as error:
        _discard(new)
        if isinstance(error, UnreachableError):
            raise
        raise _unsealed(path, error.sentence) from error


class _Reopener:
    """Opens what was just sealed, and tells how far it is: people wait for this too."""

    def __init__(self, sealer: Sealer, total: int, progress: Progress | None) -> None:
        self.seal_version = sealer.seal_version
        self._sealer = sealer
        self._total = total
        self._progress = progress
        self._opened = 0

    def open(self, sealed: bytes, context: bytes) -> bytes:
        self._opened += 1
        if self._progress is not None and self._opened % _TELL_EVERY == 0:
            self._progress(self._opened, self._total)
        return self._sealer.open(sealed, context)


def _write(
    path: Path, new: Path, genesis: Genesis, store: Store, progress: Progress | None
) -> None:
    with closing(sqlite3.connect(new, isolation_level=None)) as database:
        # Nothing of an unfinished file is ever used, so it needs no journal.
        database.execute("PRAGMA journal_mode=OFF")
        database.execute("PRAGMA synchronous=OFF")
        for position in store(database, genesis, _records(path)):
            if progress is not None:
                progress(position, genesis.former_size)


def _records(path: Path) -> Iterator[bytes]:
    """Give the readable records in order, without their seal version."""
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        last = 0
        while rows := database.execute(
            "SELECT position, stored FROM record WHERE position > ? ORDER BY position LIMIT ?",
            (last, _CHUNK),
        ).fetchall():
            for _, stored in rows:
                yield stored[1:]
            last = rows[-1][0]


def _settle(path: Path) -> None:
    """Fold the write-ahead log into the file: no log may lie beside the one that replaces it."""
    log = path.with_name(path.name + "-wal")
    with ExitStack() as held:
        left = held.enter_context(log.open("r+b")) if log.exists() else None
        with closing(sqlite3.connect(path, timeout=_PATIENCE_S, isolation_level=None)) as database:
            (mode,) = database.execute("PRAGMA journal_mode=DELETE").fetchone()
        if mode != "delete":
            raise sqlite3.OperationalError("another program reads it")
        if left is not None and not log.exists():
            _overwrite(left)


def _instance(path: Path) -> str:
    with closing(sqlite3.connect(path, isolation_level=None)) as database:
        (named,) = database.execute("SELECT instance FROM genesis").fetchone()
    return str(named)


def _version(path: Path) -> int:
    """Give the format of a ledger; 0 where there is none, or nothing that can be read as one."""
    if not path.exists() or path.stat().st_size == 0:
        return 0
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as database:
            tables = database.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
            return int(database.execute("PRAGMA user_version").fetchone()[0]) if tables else 0
    except sqlite3.Error:
        return 0


def _discard(new: Path) -> None:
    for name in (new.name, f"{new.name}-journal", f"{new.name}-wal", f"{new.name}-shm"):
        new.with_name(name).unlink(missing_ok=True)


def _blot(path: Path) -> None:
    """Overwrite what could be read; a copying file system or a flash disk keeps it all the same."""
    with suppress(OSError), path.open("r+b") as file:
        _overwrite(file)


def _overwrite(file: BinaryIO) -> None:
    size = os.fstat(file.fileno()).st_size
    with suppress(OSError):
        file.writelines(
            bytes(min(_BLOT_BYTES, size - start)) for start in range(0, size, _BLOT_BYTES)
        )
        file.flush()
        os.fsync(file.fileno())


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unsealed(path: Path, reason: str) -> DeniedError:
    size = path.stat().st_size >> 20
    return DeniedError(
        "govern.not_sealed",
        f"The ledger {path} could not be sealed ({reason}); it is unchanged and still verifies.",
        f"Make room for a second copy of it ({size + 1} MiB) and start again.",
    )
