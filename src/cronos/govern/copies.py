"""Copies of ledgers: what a node gives of its own, and what it keeps of others'.

A copy is a ledger file like any other, of the *stored* bytes: whoever keeps it can read none of the
records, recomputes the chain with every one it takes, and can have it verified by `cronos audit
verify`. Beside it lie the owner's `epochs` (data keys, wrapped to the owner's key) and `subjects`
(sealed the same way): without them the owner itself could not open what it gets back.

Rule 1: no readable record is given away or kept. Rule 2: of `subjects` only the newest generation
is kept and the one before is overwritten, so that what was shredded at the owner's is shredded in
its copies too; a keeper that withholds this cannot open it either. Rule 3: what does not belong to
the chain that is kept is put aside, once, and never mixed in.
"""

import hashlib
import os
import shutil
import sqlite3
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeAlias

import msgspec

from cronos.crypto.durable import private_folder, read_bounded, sync_folder
from cronos.crypto.epochfile import explained, replace_file
from cronos.errors import CronosError, DeniedError, InputError
from cronos.govern.ledger import SEALED_FORMAT_VERSION, create_tables, link_hash
from cronos.govern.ledger_errors import broken, translate
from cronos.govern.verify import Genesis, examine_file
from cronos.ports import Sealer

FILES: Final = ("epochs", "subjects")
_SUBJECTS_MAGIC: Final = b"CRSJ\x01"
MAX_FILE_BYTES: Final = 64 << 20
_MAX_STORED_BYTES: Final = 2 << 20
_ROWS: Final = "SELECT position, stored, chain FROM record WHERE position >= ? ORDER BY position"
_LAST: Final = "SELECT position, chain FROM record ORDER BY position DESC LIMIT 1"
_CHAIN: Final = "SELECT chain FROM record WHERE position = ?"
_INSERT: Final = "INSERT INTO record(position, stored, chain) VALUES (?, ?, ?)"


Origin: TypeAlias = tuple[int, str, int, bytes]
"""Format version, instance, size and head of the readable ledger that it was sealed from."""


class Extent(msgspec.Struct, frozen=True):
    """How far a ledger goes; `origin` is its genesis, field by field, None where there is none."""

    origin: Origin | None
    size: int = 0
    head: bytes = bytes(32)


class LedgerSource:
    """This node's own ledger, read beside its writer; never written.

    Only what its writer has synced is seen: SQLite shows a transaction once its log is.

    Args:
        folder: the ledger's.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "ledger.db"
        self._database: sqlite3.Connection | None = None

    def extent(self) -> Extent:
        """Say how far it goes.

        Raises:
            CronosError: it cannot be read, or is not sealed: such a ledger is given to nobody.
        """
        if not self._path.exists():
            return Extent(None)
        with translate(self._path):
            database = self._opened()
            genesis = _genesis_in(database)
            if genesis is None:
                return Extent(None)
            size, head = database.execute(_LAST).fetchone() or (0, genesis.head())
        if genesis.version != SEALED_FORMAT_VERSION:
            raise DeniedError(
                "govern.copy_readable",
                f"The ledger {self._path} is readable; no copy of it is given to other nodes.",
                'Set sealer = "epochs", or keep copies by other means.',
            )
        return Extent(_origin(genesis), size, head)

    def chain_at(self, position: int) -> bytes:
        """Give the chain's hash behind a position; empty where there is none.

        Raises:
            CronosError: it cannot be read.
        """
        with translate(self._path):
            database = self._opened()
            if position == 0:
                genesis = _genesis_in(database)
                return genesis.head() if genesis else b""
            row = database.execute(_CHAIN, (position,)).fetchone()
        return bytes(row[0]) if row else b""

    def rows(self, first: int, max_rows: int, max_bytes: int) -> tuple[list[bytes], bytes]:
        """Give stored records from a position on, one at least if there is one, and their end.

        Raises:
            CronosError: it cannot be read.
        """
        with translate(self._path):
            return _rows(self._opened(), first, max_rows, max_bytes)

    def files(self) -> dict[str, bytes]:
        """Give what opening the records needs besides the keys.

        Raises:
            DeniedError: a file cannot be read.
        """
        found = {name: read_bounded(self._folder / name, MAX_FILE_BYTES) for name in FILES}
        return {name: data for name, data in found.items() if data}

    def stamp(self) -> tuple[tuple[int, int, int], ...]:
        """Give what changes whenever `files` does."""
        return self._seen(*FILES)

    def marker(self) -> tuple[tuple[int, int, int], ...]:
        """Give what changes whenever anything does; asks the file system alone."""
        return self._seen("ledger.db", "ledger.db-wal", *FILES)

    def _seen(self, *names: str) -> tuple[tuple[int, int, int], ...]:
        found: list[tuple[int, int, int]] = []
        for name in names:
            try:
                seen = (self._folder / name).stat()
            except OSError:
                found.append((0, 0, 0))
            else:
                found.append((seen.st_ino, seen.st_size, seen.st_mtime_ns))
        return tuple(found)

    def close(self) -> None:
        """Release the file; more than once is harmless."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _opened(self) -> sqlite3.Connection:
        if self._database is None:
            self._database = _connected(self._path)
            self._database.execute("PRAGMA query_only=ON")
        return self._database


class LedgerCopy:
    """A copy of a ledger; one process writes to it.

    Args:
        folder: its own, made with mode 0700 when something is kept.
        max_bytes: the most that the copy may take.
    """

    def __init__(self, folder: Path, max_bytes: int = 1 << 30) -> None:
        self.folder: Final = folder
        self.path: Final = folder / "ledger.db"
        self._max_bytes = max_bytes
        self._hashed: dict[str, tuple[tuple[int, int, int], bytes]] = {}
        self._database: sqlite3.Connection | None = None

    def extent(self) -> Extent:
        """Say how far it goes, durably.

        Raises:
            CronosError: it cannot be read.
        """
        if not self.path.exists():
            return Extent(None)
        with translate(self.path):
            database = self._opened()
            genesis = _genesis_in(database)
            if genesis is None:
                return Extent(None)
            size, head = database.execute(_LAST).fetchone() or (0, genesis.head())
        return Extent(_origin(genesis), size, head)

    def begin(self, origin: Origin) -> None:
        """Begin a copy of the ledger with this genesis; another one is put aside first.

        Raises:
            CronosError: it cannot be made here, or the ledger is readable.
        """
        genesis = Genesis(*origin)
        if genesis.version != SEALED_FORMAT_VERSION:
            raise _readable()
        with explained(self.folder):
            if self.path.exists():
                self._put_aside()
            private_folder(self.folder)
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        with translate(self.path):
            create_tables(self._opened(), genesis)
        with explained(self.folder):
            sync_folder(self.folder)

    def append(self, first: int, stored: Sequence[bytes], head: bytes) -> int:
        """Take stored records over, durable on return; give the position of the last.

        What is here already is compared and passed over, so the same rows twice are harmless.

        Raises:
            DeniedError: they do not continue this chain, are readable, or take too much room.
            CronosError: nothing was stored (disk full, read-only).
        """
        extent = self.extent()
        if extent.origin is None or not 1 <= first <= extent.size + 1:
            raise _forked(self.folder, first)
        start = self._chain_before(extent, first)
        rows: list[tuple[int, bytes, bytes]] = []
        for position, one in enumerate(stored, first):
            if not 1 < len(one) <= _MAX_STORED_BYTES or one[0] == 0:
                raise _readable()
            start = link_hash(start, position, one)
            rows.append((position, one, start))
        if start != head:
            raise _forked(self.folder, first)
        self._insert(extent, rows)
        return first + len(rows) - 1

    def rows(self, first: int, max_rows: int, max_bytes: int) -> tuple[list[bytes], bytes]:
        """Give stored records from a position on, one at least if there is one, and their end.

        Raises:
            CronosError: it cannot be read.
        """
        if not self.path.exists():
            return [], b""
        with translate(self.path):
            return _rows(self._opened(), first, max_rows, max_bytes)

    def put(self, name: str, data: bytes) -> bool:
        """Keep a file that opening the records needs; False where a newer one is here.

        Raises:
            InputError: there is no such file, or it is none.
            DeniedError: it cannot be written.
        """
        if name not in FILES or not 0 < len(data) <= MAX_FILE_BYTES:
            raise InputError(
                "govern.copy_file",
                f"A copy of a ledger holds no file {name[:40]!r} of {len(data)} bytes.",
                "Run versions of Cronos on both nodes that are at most one apart.",
            )
        private_folder(self.folder)
        with explained(self.folder):
            if name == "subjects" and _generation(data) < _generation(self.file(name)):
                return False
            for one in (name, f"{name}.bak"):
                replace_file(self.folder / one, data)
        return True

    def file(self, name: str) -> bytes:
        """Give a file that was put here; empty where there is none.

        Raises:
            DeniedError: it cannot be read.
        """
        return (read_bounded(self.folder / name, MAX_FILE_BYTES) or b"") if name in FILES else b""

    def digests(self) -> dict[str, bytes]:
        """Give the SHA-256 of each file that is here."""
        found = {name: self._digest(name) for name in FILES}
        return {name: digest for name, digest in found.items() if digest}

    def _digest(self, name: str) -> bytes:
        """Hash a file when it is another one than the last time: it is asked for with each row."""
        try:
            seen = (self.folder / name).stat()
        except OSError:
            return b""
        stamp = (seen.st_ino, seen.st_size, seen.st_mtime_ns)
        known = self._hashed.get(name)
        if known is None or known[0] != stamp:
            data = self.file(name)
            known = self._hashed[name] = (stamp, hashlib.sha256(data).digest() if data else b"")
        return known[1]

    def fold(self) -> None:
        """Move all of it into one file, and release that.

        Raises:
            CronosError: it cannot be written.
        """
        with translate(self.path):
            self._opened().execute("PRAGMA journal_mode=DELETE")
        self.close()

    def close(self) -> None:
        """Release the file; more than once is harmless."""
        if self._database is not None:
            self._database.close()
            self._database = None

    def _opened(self) -> sqlite3.Connection:
        if self._database is None:
            self._database = _connected(self.path)
            self._database.execute("PRAGMA journal_mode=WAL")
            self._database.execute("PRAGMA synchronous=FULL")
        return self._database

    def _chain_before(self, extent: Extent, first: int) -> bytes:
        if extent.origin is not None and first == 1:
            return Genesis(*extent.origin).head()
        with translate(self.path):
            row = self._opened().execute(_CHAIN, (first - 1,)).fetchone()
        if row is None:
            raise broken(self.path, f"record {first - 1} was removed")
        return bytes(row[0])

    def _insert(self, extent: Extent, rows: list[tuple[int, bytes, bytes]]) -> None:
        for position, _, chain in rows:
            if position > extent.size:
                break
            with translate(self.path):
                if self._opened().execute(_CHAIN, (position,)).fetchone() != (chain,):
                    raise _forked(self.folder, position)
        fresh = [row for row in rows if row[0] > extent.size]
        if not fresh:
            return
        if self.path.stat().st_size + sum(len(row[1]) for row in fresh) > self._max_bytes:
            raise DeniedError(
                "govern.copy_full",
                f"The copy in {self.folder} holds its limit of {self._max_bytes} bytes.",
                "Raise it, or let another node keep the copy.",
            )
        with translate(self.path):
            _commit(self._opened(), fresh)

    def _put_aside(self) -> None:
        """Keep what was here under another name; one such, the first, as evidence."""
        self.close()
        former = self.folder.with_name(self.folder.name + ".forked")
        if former.exists():
            shutil.rmtree(self.folder)
            return
        self.folder.rename(former)
        sync_folder(self.folder.parent)


def settle(copy: LedgerCopy, folder: Path, sealer: Sealer | None) -> Extent:
    """Verify a copy and let it be the ledger in `folder`, where there is none; in one step.

    With a `sealer` for the copy's folder every record is opened, which nobody can forge; without it
    only the chain is verified, which a keeper could have made up: then `folder` should be another
    place than the ledger's own.

    Raises:
        DeniedError: something is there, or the keys are not those that it was sealed with.
        CronosError: it does not verify.
    """
    extent = copy.extent()
    if extent.origin is None or (folder.exists() and any(folder.iterdir())):
        raise DeniedError(
            "govern.not_empty",
            f"A ledger is recovered onto an empty place; {folder} is none, or nothing was given.",
            "Move what lies there away first.",
        )
    copy.fold()
    found = examine_file(copy.path, sealer).checkpoint
    if (found.size, found.head) != (extent.size, extent.head):
        raise broken(copy.path, "it changed while it was verified")
    private_folder(folder)
    with explained(folder):
        folder.rmdir()
        copy.folder.rename(folder)
        sync_folder(folder.parent)
    return extent


def _connected(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, timeout=2, isolation_level=None, check_same_thread=False)


def _origin(genesis: Genesis) -> Origin:
    return (genesis.version, genesis.instance, genesis.former_size, genesis.former_head)


def _genesis_in(database: sqlite3.Connection) -> Genesis | None:
    if not database.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]:
        return None
    version = int(database.execute("PRAGMA user_version").fetchone()[0])
    row = database.execute("SELECT * FROM genesis LIMIT 1").fetchone()
    return None if row is None else Genesis(version, *row)


def _rows(
    database: sqlite3.Connection, first: int, max_rows: int, max_bytes: int
) -> tuple[list[bytes], bytes]:
    found: list[bytes] = []
    head, size = b"", 0
    cursor = database.execute(_ROWS, (first,))
    for position, stored, chain in cursor:
        size += len(stored) + 8
        if found and (len(found) >= max_rows or size > max_bytes):
            break
        if position != first + len(found):
            break
        found.append(stored)
        head = bytes(chain)
    cursor.close()
    return found, head


def _commit(database: sqlite3.Connection, rows: Sequence[tuple[int, bytes, bytes]]) -> None:
    database.execute("BEGIN IMMEDIATE")
    try:
        database.executemany(_INSERT, rows)
        database.execute("COMMIT")
    except BaseException:
        if database.in_transaction:
            with suppress(sqlite3.Error):
                database.execute("ROLLBACK")
        raise


def _generation(subjects: bytes) -> int:
    if not subjects.startswith(_SUBJECTS_MAGIC):
        return -1
    at = len(_SUBJECTS_MAGIC)
    return int.from_bytes(subjects[at : at + 8], "big")


def _readable() -> DeniedError:
    return DeniedError(
        "govern.copy_readable",
        "A record that is not sealed was offered to be kept, or one that is none.",
        "Only sealed ledgers are copied to other nodes.",
    )


def _forked(folder: Path, first: int) -> CronosError:
    return DeniedError(
        "govern.copy_forked",
        f"What was given from record {first} on does not continue the copy in {folder}.",
        "Compare the two ledgers: one was rolled back, or begun anew.",
    )
