"""The ledger on SQLite: records in order, each chained to all before it, durable when acknowledged.

What lies at position *n* (from 1) is ``stored = seal version u8 | sealed record`` and
``chain(n) = SHA-256(chain(n-1) | n u64 | stored)``; ``chain(0)`` binds the format's version and
the instance. The hash covers stored bytes, so that a lost key erases content and the chain still
verifies. `cronos.govern.verify` says what this shows and what only a checkpoint kept elsewhere can.

Rule 1: one writer. A lock file refuses a second one; a foreign hand in the file is noticed at the
next append, and nothing is chained onto it.
Rule 2: an append is one transaction, fsynced (WAL, ``synchronous=FULL``) before it returns.
Rule 3: the ``head`` file is written after the commit and never before, so it can only lag. A
ledger that is shorter than its head file says has lost its end.
"""

import fcntl
import hashlib
import os
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, TypeAlias

import msgspec
from msgspec import Meta

from cronos.config import Positive, Section
from cronos.errors import CronosError, DeniedError, InputError
from cronos.govern.ledger_errors import broken, translate
from cronos.govern.verify import read_head, verify_file
from cronos.ports import Clock, Sealer
from cronos.types import MAX_FRAME_BYTES, Checkpoint, Manifest

FORMAT_VERSION: Final = 1
_APPLICATION_ID: Final = 0x43524E4C  # "CRNL"
_CREATE: Final = (
    "CREATE TABLE genesis(instance TEXT NOT NULL) STRICT",
    (
        "CREATE TABLE record(position INTEGER PRIMARY KEY, stored BLOB NOT NULL, "
        "chain BLOB NOT NULL) STRICT"
    ),
)
_INSERT: Final = "INSERT INTO record(position, stored, chain) VALUES (?, ?, ?)"
_LAST: Final = "SELECT position, chain FROM record ORDER BY position DESC LIMIT 1"
_RANGE: Final = (
    "SELECT position, stored, chain FROM record WHERE position >= ? ORDER BY position LIMIT ?"
)
_CHAIN_AT: Final = "SELECT chain FROM record WHERE position = ?"
_MAX_INSTANCE_CHARS: Final = 63

Row: TypeAlias = tuple[int, bytes, bytes]
"""Position, stored bytes, chain hash."""


class SqliteConfig(Section, frozen=True):
    """How the ledger is kept."""

    # Names the ledger in its genesis. Empty: the folder's parent, <state>/<instance>/ledger.
    instance: Annotated[str, Meta(max_length=_MAX_INSTANCE_CHARS)] = ""
    # How long another program may hold the file before an append fails.
    busy_timeout_ms: Positive = 2_000
    # The write-ahead log is cut back to this once its pages have moved to the file.
    log_limit_bytes: Positive = 64 << 20


class SqliteLedger:
    """Keeps records in ``ledger.db`` below `folder`, which is made if need be (mode 0700).

    May move between threads, but is used by one at a time.

    Args:
        config: how it is kept.
        folder: its own folder, on a local file system.
        sealer: how records lie at rest; shown with every checkpoint.
        clock: dates the checkpoints.

    Raises:
        DeniedError: another process writes to this ledger, or the folder may not be written.
        CronosError: the file is no ledger, or its end was lost.
    """

    manifest: ClassVar[Manifest] = Manifest(
        "sqlite",
        "Keeps records in a hash-chained SQLite file, durable before they are acknowledged.",
        capabilities=("append", "read", "verify"),
        limits={"record_bytes": MAX_FRAME_BYTES},
    )
    config_type: ClassVar[type[Section]] = SqliteConfig

    def __init__(self, config: SqliteConfig, folder: Path, sealer: Sealer, clock: Clock) -> None:
        self.path: Final = folder / "ledger.db"
        self._sealer = sealer
        self._clock = clock
        self._mark = bytes((sealer.seal_version,))
        self._halted: CronosError | None = None
        with ExitStack() as held:
            self._head_file = _claim(folder, held)
            with translate(self.path):
                self._database = _connect(self.path, config, held)
                self._instance = _genesis(self._database, self.path, _name(config, folder))
                self._size, self._head = _last(self._database, self._instance)
                self._compare_head(folder / "head")
            self._held = held.pop_all()

    def append(self, records: Sequence[bytes]) -> int:
        """Store canonical bytes in one durable transaction; give the position of the first.

        One fsync per call: group what may wait together. Without records nothing is written, and
        the position is the one that the next record will get.

        Raises:
            InputError: a record is longer than 1 MiB.
            CronosError: nothing was stored (disk full, read-only, busy, changed by another hand).
        """
        if self._halted is not None:
            raise self._halted
        first = self._size + 1
        rows = list(self._chained(records))
        if rows:
            try:
                with translate(self.path):
                    self._commit(rows)
            except CronosError as error:
                self._halted = error if error.code == "govern.ledger_unsynced" else None
                raise
            self._size, _, self._head = rows[-1]
            self._write_head()
        return first

    def read(self, first: int, count: int) -> Sequence[bytes]:
        """Give the opened records from position `first` on, at most `count`; verified on the way.

        Raises:
            InputError: `first` is below 1.
            DeniedError: a record was sealed by another key.
            CronosError: a record does not belong to the chain.
        """
        if first < 1:
            raise InputError(
                "govern.no_position",
                f"There is no record {first} in {self.path}.",
                "Positions are counted from 1.",
            )
        with translate(self.path):
            head = _chain_at(self._database, self._instance, first - 1)
            rows = self._database.execute(_RANGE, (first, max(0, count))).fetchall()
        records: list[bytes] = []
        for position, row in enumerate(rows, first):
            if head is None or row[0] != position or row[2] != _link(head, position, row[1]):
                raise broken(self.path, f"record {position} was changed or removed")
            head = row[2]
            records.append(self._opened(position, row[1]))
        return records

    def checkpoint(self) -> Checkpoint:
        """Give size, head and how records are sealed, dated with wall time."""
        return Checkpoint(self._size, self._head, self._sealer.sealing, self._clock.now().wall_ns)

    def verify(self) -> Checkpoint:
        """Recompute every hash from the file and compare it with what this writer knows.

        Raises:
            CronosError: the chain is broken; the sentence names the first bad position.
        """
        known = self.checkpoint()
        found = verify_file(self.path, self._sealer, known)
        return msgspec.structs.replace(known, size=found.size, head=found.head)

    def close(self) -> None:
        """Release the file and the lock; more than once is harmless."""
        self._held.close()

    def _chained(self, records: Sequence[bytes]) -> Iterator[Row]:
        position, head = self._size, self._head
        for record in records:
            if len(record) > MAX_FRAME_BYTES:
                raise InputError(
                    "govern.record_too_long",
                    f"A record of {len(record)} bytes is longer than {MAX_FRAME_BYTES}.",
                    "Record what matters of it, or a hash of the rest.",
                )
            position += 1
            stored = self._mark + self._sealer.seal(record, _context(position, self._instance))
            head = _link(head, position, stored)
            yield position, stored, head

    def _commit(self, rows: Sequence[Row]) -> None:
        database = self._database
        database.execute("BEGIN IMMEDIATE")
        try:
            self._require_own_end()
            database.executemany(_INSERT, rows)
            database.execute("COMMIT")
        except BaseException:
            # SQLite may have rolled back by itself, after a full disk for one.
            if database.in_transaction:
                with suppress(sqlite3.Error):
                    database.execute("ROLLBACK")
            raise

    def _require_own_end(self) -> None:
        if _last(self._database, self._instance) != (self._size, self._head):
            raise broken(self.path, f"another program changed its end, after record {self._size}")

    def _opened(self, position: int, stored: bytes) -> bytes:
        if stored[:1] != self._mark:
            raise DeniedError(
                "govern.other_seal",
                f"Record {position} of {self.path} carries seal version {stored[0]}.",
                "Open the ledger with the sealer that wrote it.",
            )
        return self._sealer.open(stored[1:], _context(position, self._instance))

    def _write_head(self) -> None:
        # The records are safe by now, so a failure here must not look like a lost append: the
        # head then lags, which it may. One page, no fsync: after a power cut it lags as well.
        line = f"cronos-head/1 {self._size:020d} {self._head.hex()}\n"
        with suppress(OSError):
            os.pwrite(self._head_file, line.encode(), 0)

    def _compare_head(self, path: Path) -> None:
        """See that the ledger still contains what its head file commits to."""
        if os.fstat(self._head_file).st_size == 0:
            self._write_head()
        size, head = read_head(path)
        if size > self._size:
            raise _cut_off(self.path, self._size, size)
        if _chain_at(self._database, self._instance, size) != head:
            raise broken(self.path, f"record {size} is not the one its `head` file names")


def _claim(folder: Path, held: ExitStack) -> int:
    """Take the writer's lock and give the descriptor of the head file."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        held.callback(os.close, lock)
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        head = os.open(folder / "head", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        held.callback(os.close, head)
    except BlockingIOError as error:
        raise DeniedError(
            "govern.ledger_in_use",
            f"Another process writes to the ledger in {folder}.",
            "End it first, or read the ledger with `cronos audit verify`, which needs no lock.",
        ) from error
    except OSError as error:
        raise DeniedError(
            "govern.ledger_folder",
            f"The ledger's folder {folder} cannot be used: {error.strerror}.",
            "Choose a writable folder with --state, or free space on its file system.",
        ) from error
    return head


def _connect(path: Path, config: SqliteConfig, held: ExitStack) -> sqlite3.Connection:
    if not path.exists():
        size = (path.with_name("head")).stat().st_size and read_head(path.with_name("head"))[0]
        if size:
            raise _cut_off(path, 0, size)
        # SQLite gives its -wal and -shm files the mode of this one.
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    database = sqlite3.connect(
        path,
        timeout=config.busy_timeout_ms / 1000,
        isolation_level=None,
        check_same_thread=False,
    )
    held.callback(database.close)
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "trusted_schema=OFF",
        "cell_size_check=ON",
        f"journal_size_limit={config.log_limit_bytes}",
    ):
        database.execute(f"PRAGMA {pragma}")
    return database


def _genesis(database: sqlite3.Connection, path: Path, instance: str) -> str:
    """Give the instance that the ledger names; a new file becomes a ledger first."""
    schema = database.execute("SELECT sql FROM sqlite_schema LIMIT 3").fetchall()
    if not schema:
        _create(database, instance)
        return instance
    if sorted(schema) != sorted((sql,) for sql in _CREATE):
        raise InputError(
            "govern.not_a_ledger",
            f"{path} is not a Cronos ledger.",
            "Move it away; a new ledger is made where there is none.",
        )
    version = int(database.execute("PRAGMA user_version").fetchone()[0])
    if version != FORMAT_VERSION:
        raise InputError(
            "govern.ledger_version",
            f"{path} has format {version}; this version writes format {FORMAT_VERSION}.",
            "Start the version of Cronos that wrote it, or begin a new ledger elsewhere.",
        )
    (named,) = database.execute("SELECT instance FROM genesis").fetchone()
    return str(named)


def _create(database: sqlite3.Connection, instance: str) -> None:
    database.execute("BEGIN IMMEDIATE")
    for statement in _CREATE:
        database.execute(statement)
    database.execute("INSERT INTO genesis(instance) VALUES (?)", (instance,))
    database.execute(f"PRAGMA application_id={_APPLICATION_ID}")
    database.execute(f"PRAGMA user_version={FORMAT_VERSION}")
    database.execute("COMMIT")


def _name(config: SqliteConfig, folder: Path) -> str:
    # A name on disk may be no text at all; what the genesis binds always is.
    above = os.fsencode(folder.absolute().parent.name).decode(errors="replace")
    return config.instance or above[:_MAX_INSTANCE_CHARS] or "local"


def _last(database: sqlite3.Connection, instance: str) -> tuple[int, bytes]:
    row: tuple[int, bytes] | None = database.execute(_LAST).fetchone()
    return (0, _genesis_hash(instance)) if row is None else row


def _chain_at(database: sqlite3.Connection, instance: str, position: int) -> bytes | None:
    if position == 0:
        return _genesis_hash(instance)
    row: tuple[Any] | None = database.execute(_CHAIN_AT, (position,)).fetchone()
    return None if row is None else bytes(row[0])


def _genesis_hash(instance: str) -> bytes:
    name = instance.encode()
    start = b"cronos-ledger" + FORMAT_VERSION.to_bytes(2, "big") + len(name).to_bytes(2, "big")
    return hashlib.sha256(start + name).digest()


def _link(head: bytes, position: int, stored: bytes) -> bytes:
    return hashlib.sha256(head + position.to_bytes(8, "big") + stored).digest()


def _context(position: int, instance: str) -> bytes:
    return f"{position}/{instance}".encode()


def _cut_off(path: Path, size: int, expected: int) -> CronosError:
    return CronosError(
        "govern.ledger_cut_off",
        f"The ledger {path} ends at record {size}, but had {expected} before.",
        "Put its `ledger.db-wal` back if it was left behind, or restore a copy that verifies.",
    )
