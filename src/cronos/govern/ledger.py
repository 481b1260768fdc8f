"""The ledger on SQLite: records in order, each chained to all before it, durable when acknowledged.

What lies at position *n* (from 1) is ``stored = seal version u8 | sealed record`` and
``chain(n) = SHA-256(chain(n-1) | n u64 | stored)``; ``chain(0)`` binds the format's version and
the instance. The hash covers stored bytes, so that a lost key erases content and the chain still
verifies. `cronos.govern.verify` says what this shows and what only a checkpoint kept elsewhere can.

With a sealer that seals, the ledger has format 2: no readable record is in it, each record is
sealed for the subject it tells of (`cronos.govern.whose`), and the genesis also binds the readable
ledger that it was moved from, if it was (`cronos.govern.sealing`).

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
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from typing import Annotated, Any, ClassVar, Final, TypeAlias

import msgspec
from msgspec import Meta

from cronos.config import Positive, Section
from cronos.errors import CronosError, DeniedError, InputError
from cronos.govern.ledger_errors import broken, translate
from cronos.govern.sealing import Progress, seal_ledger
from cronos.govern.verify import Genesis, read_head, verify_file
from cronos.govern.whose import Whose
from cronos.ports import Clock, Sealer
from cronos.types import MAX_FRAME_BYTES, Checkpoint, Manifest

FORMAT_VERSION: Final = 1
SEALED_FORMAT_VERSION: Final = 2
_APPLICATION_ID: Final = 0x43524E4C  # "CRNL"
_RECORD: Final = (
    "CREATE TABLE record(position INTEGER PRIMARY KEY, stored BLOB NOT NULL, "
    "chain BLOB NOT NULL) STRICT"
)
_CREATE: Final = {
    FORMAT_VERSION: ("CREATE TABLE genesis(instance TEXT NOT NULL) STRICT", _RECORD),
    SEALED_FORMAT_VERSION: (
        (
            "CREATE TABLE genesis(instance TEXT NOT NULL, former_size INTEGER NOT NULL, "
            "former_head BLOB NOT NULL) STRICT"
        ),
        _RECORD,
    ),
}
_INSERT: Final = "INSERT INTO record(position, stored, chain) VALUES (?, ?, ?)"
_LAST: Final = "SELECT position, chain FROM record ORDER BY position DESC LIMIT 1"
_RANGE: Final = (
    "SELECT position, stored, chain FROM record WHERE position >= ? ORDER BY position LIMIT ?"
)
_CHAIN_AT: Final = "SELECT chain FROM record WHERE position = ?"
_MAX_INSTANCE_CHARS: Final = 63
_RECALLED: Final = 4_096
_CHUNK: Final = 10_000
_UNSEALED: Final = b"\x00"
_STARTS: Final = "SELECT DISTINCT substr(stored, 1, 12) FROM record"
_SHREDDED: Final = "crypto.shredded"

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
        sealer: how records lie at rest; shown with every checkpoint. A readable ledger is moved to
            a sealed one first; see `cronos.govern.sealing`.
        clock: dates the checkpoints.
        progress: told how many records of how many have been moved.

    Raises:
        DeniedError: another process writes to this ledger, the folder may not be written, or the
            ledger is sealed and `sealer` does not seal.
        CronosError: the file is no ledger, or its end was lost.
    """

    manifest: ClassVar[Manifest] = Manifest(
        "sqlite",
        "Keeps records in a hash-chained SQLite file, durable before they are acknowledged.",
        capabilities=("append", "read", "verify"),
        limits={"record_bytes": MAX_FRAME_BYTES},
    )
    config_type: ClassVar[type[Section]] = SqliteConfig

    def __init__(
        self,
        config: SqliteConfig,
        folder: Path,
        sealer: Sealer,
        clock: Clock,
        progress: Progress | None = None,
    ) -> None:
        self.path: Final = folder / "ledger.db"
        self._sealer = sealer
        self._clock = clock
        self._mark = bytes((sealer.seal_version,))
        self._halted: CronosError | None = None
        self._whose = Whose(self._lately)
        with ExitStack() as held:
            self._head_file = _claim(folder, held)
            if sealer.seal_version:
                seal_ledger(self.path, sealer, self._move, progress)
            with translate(self.path):
                self._database = _connect(self.path, config, held)
                new = Genesis(_version_of(sealer), _name(config, folder))
                self._genesis = _genesis(self._database, self.path, new)
                self._instance = self._genesis.instance
                self._start = _genesis_hash(self._genesis)
                self._size, self._head = _last(self._database, self._start)
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

        In the place of a record whose subject was shredded stands ``b""``.

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
            head = _chain_at(self._database, self._start, first - 1)
            rows = self._database.execute(_RANGE, (first, max(0, count))).fetchall()
        records: list[bytes] = []
        for position, row in enumerate(rows, first):
            if head is None or row[0] != position or row[2] != link_hash(head, position, row[1]):
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
        longest = max(map(len, records), default=0)
        if longest > MAX_FRAME_BYTES:
            raise InputError(
                "govern.record_too_long",
                f"A record of {longest} bytes is longer than {MAX_FRAME_BYTES}.",
                "Record what matters of it, or a hash of the rest.",
            )
        head, first = self._head, self._size + 1
        sealed = self._sealed(records, first, self._instance)
        for position, stored in enumerate(sealed, first):
            head = link_hash(head, position, stored)
            yield position, stored, head

    def _sealed(self, records: Sequence[bytes], first: int, instance: str) -> list[bytes]:
        seals = self._mark != _UNSEALED
        items = [
            (record, _context(position, instance), self._whose.of(record) if seals else "")
            for position, record in enumerate(records, first)
        ]
        return [self._mark + one for one in self._sealer.seal_all(items)]

    def _lately(self) -> Sequence[bytes]:
        """Give the newest records, for what they say about incidents that are still open."""
        first = max(1, self._size - _RECALLED + 1)
        with suppress(CronosError):
            return self.read(first, _RECALLED)
        return ()

    def _move(
        self, database: sqlite3.Connection, genesis: Genesis, records: Iterator[bytes]
    ) -> Iterator[int]:
        """Make the sealed ledger of a readable one; yields how far it has come."""
        # A head that lags would name a hash that the sealed chain has nowhere.
        os.pwrite(self._head_file, _head_line(genesis.former_size, genesis.former_head), 0)
        os.fsync(self._head_file)
        create_tables(database, genesis)
        # What began before these records is not recalled from anywhere: they come from the first.
        self._whose, head = Whose(tuple), _genesis_hash(genesis)
        rows: list[Row] = []
        for position, record in enumerate(records, 1):
            (stored,) = self._sealed([record], position, genesis.instance)
            head = link_hash(head, position, stored)
            rows.append((position, stored, head))
            if len(rows) == _CHUNK:
                _insert(database, rows)
                rows.clear()
                yield position
        if rows:
            _insert(database, rows)
            yield genesis.former_size

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
        if _last(self._database, self._start) != (self._size, self._head):
            raise broken(self.path, f"another program changed its end, after record {self._size}")

    def _opened(self, position: int, stored: bytes) -> bytes:
        if stored[:1] != self._mark:
            raise DeniedError(
                "govern.other_seal",
                f"Record {position} of {self.path} carries seal version {stored[0]}.",
                "Open the ledger with the sealer that wrote it.",
            )
        try:
            return self._sealer.open(stored[1:], _context(position, self._instance))
        except DeniedError as error:
            if error.code == _SHREDDED:
                return b""
            raise

    def _write_head(self) -> None:
        # The records are safe by now, so a failure here must not look like a lost append: the
        # head then lags, which it may. One page, no fsync: after a power cut it lags as well.
        with suppress(OSError):
            os.pwrite(self._head_file, _head_line(self._size, self._head), 0)

    def _compare_head(self, path: Path) -> None:
        """See that the ledger still contains what its head file commits to."""
        if os.fstat(self._head_file).st_size == 0:
            self._write_head()
        size, head = read_head(path)
        if (size, head) == (self._genesis.former_size, self._genesis.former_head):
            # It lags behind the move to a sealed ledger, which was cut short here.
            self._write_head()
            return
        if size > self._size:
            raise _cut_off(self.path, self._size, size)
        if _chain_at(self._database, self._start, size) != head:
            raise broken(self.path, f"record {size} is not the one its `head` file names")


def record_starts(folder: Path) -> Iterator[bytes]:
    """Give how each stored record of the ledger in `folder` begins, each beginning once.

    That is enough to see which keys they need. For the ledger's writer, beside its own connection.

    Raises:
        CronosError: the ledger cannot be read.
    """
    path = folder / "ledger.db"
    if not path.exists():
        return
    with translate(path), closing(sqlite3.connect(path, isolation_level=None)) as database:
        database.execute("PRAGMA query_only=ON")
        for (start,) in database.execute(_STARTS):
            yield start


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


def _genesis(database: sqlite3.Connection, path: Path, new: Genesis) -> Genesis:
    """Give what the ledger says of itself; a new file becomes the ledger `new` first."""
    schema = database.execute("SELECT sql FROM sqlite_schema LIMIT 3").fetchall()
    if not schema:
        create_tables(database, new)
        return new
    version = int(database.execute("PRAGMA user_version").fetchone()[0])
    known = {sql: number for number, (sql, _) in _CREATE.items()}
    found = next((known[sql] for (sql,) in schema if sql in known), 0)
    if not found or sorted(schema) != sorted((sql,) for sql in _CREATE[found]):
        raise InputError(
            "govern.not_a_ledger",
            f"{path} is not a Cronos ledger.",
            "Move it away; a new ledger is made where there is none.",
        )
    if version not in _CREATE:
        raise InputError(
            "govern.ledger_version",
            f"{path} has format {version}; this version writes formats 1 and 2.",
            "Start the version of Cronos that wrote it, or begin a new ledger elsewhere.",
        )
    if version != found:
        raise broken(path, f"its tables are not those of format {version}")
    if version != new.version:
        raise DeniedError(
            "govern.ledger_sealed",
            f"The ledger {path} is sealed; no readable record is added to it.",
            'Set sealer = "epochs", or begin another ledger with --state.',
        )
    rows = database.execute("SELECT * FROM genesis LIMIT 2").fetchall()
    if len(rows) != 1:
        raise broken(path, "its genesis does not name one instance")
    return Genesis(version, *rows[0])


def create_tables(database: sqlite3.Connection, genesis: Genesis) -> None:
    """Make an empty database a ledger."""
    database.execute("BEGIN IMMEDIATE")
    for statement in _CREATE[genesis.version]:
        database.execute(statement)
    if genesis.version == FORMAT_VERSION:
        database.execute("INSERT INTO genesis VALUES (?)", (genesis.instance,))
    else:
        row = (genesis.instance, genesis.former_size, genesis.former_head)
        database.execute("INSERT INTO genesis VALUES (?, ?, ?)", row)
    database.execute(f"PRAGMA application_id={_APPLICATION_ID}")
    database.execute(f"PRAGMA user_version={genesis.version}")
    database.execute("COMMIT")


def _insert(database: sqlite3.Connection, rows: Sequence[Row]) -> None:
    database.execute("BEGIN IMMEDIATE")
    database.executemany(_INSERT, rows)
    database.execute("COMMIT")


def _version_of(sealer: Sealer) -> int:
    return SEALED_FORMAT_VERSION if sealer.seal_version else FORMAT_VERSION


def _name(config: SqliteConfig, folder: Path) -> str:
    # A name on disk may be no text at all; what the genesis binds always is.
    above = os.fsencode(folder.absolute().parent.name).decode(errors="replace")
    return config.instance or above[:_MAX_INSTANCE_CHARS] or "local"


def _last(database: sqlite3.Connection, start: bytes) -> tuple[int, bytes]:
    row: tuple[int, bytes] | None = database.execute(_LAST).fetchone()
    return (0, start) if row is None else row


def _chain_at(database: sqlite3.Connection, start: bytes, position: int) -> bytes | None:
    if position == 0:
        return start
    row: tuple[Any] | None = database.execute(_CHAIN_AT, (position,)).fetchone()
    return None if row is None else bytes(row[0])


def _genesis_hash(genesis: Genesis) -> bytes:
    name = genesis.instance.encode()
    binds = b"cronos-ledger" + genesis.version.to_bytes(2, "big")
    binds += len(name).to_bytes(2, "big") + name
    if genesis.version == SEALED_FORMAT_VERSION:
        binds += genesis.former_size.to_bytes(8, "big") + genesis.former_head
    return hashlib.sha256(binds).digest()


def link_hash(head: bytes, position: int, stored: bytes) -> bytes:
    """Give the chain's hash behind a record."""
    return hashlib.sha256(head + position.to_bytes(8, "big") + stored).digest()


def _head_line(size: int, head: bytes) -> bytes:
    return f"cronos-head/1 {size:020d} {head.hex()}\n".encode()


def _context(position: int, instance: str) -> bytes:
    return f"{position}/{instance}".encode()


def _cut_off(path: Path, size: int, expected: int) -> CronosError:
    return CronosError(
        "govern.ledger_cut_off",
        f"The ledger {path} ends at record {size}, but had {expected} before.",
        "Put its `ledger.db-wal` back if it was left behind, or restore a copy that verifies.",
    )
