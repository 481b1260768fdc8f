"""Verifies a ledger file on its own: it shares no code with what wrote it.

What the chain shows, and what it cannot: `stored` bytes are hashed with their position onto the
hash before them, so a record that was changed, removed, inserted or moved is found and named. The
hash has no key. Whoever may write the file can therefore rewrite it whole, and a tail that was
cut off leaves a shorter but whole chain. Both show only against a checkpoint that was kept
elsewhere (`anchor`). The ``head`` file beside the ledger is such a checkpoint against accidents
(a lost write-ahead log, an old copy), not against an attacker who can write it too.

The file is hostile until verified: its schema must be exactly the ledger's own, text by text, so
that no view, trigger or virtual table is ever run, and every value is bounded and type-checked.

Format 1 holds readable records, format 2 sealed ones; a readable record in a sealed ledger is
refused, whoever chained it. The chain of either needs no key. A ledger that was moved from format
1 to 2 binds the size and head of its former chain in its genesis; with the keys that former chain
is computed again from what the records hold, so that a checkpoint of it still counts.
"""

import hashlib
import re
import sqlite3
from collections.abc import Generator, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote

import msgspec

from cronos.errors import CronosError, DeniedError, InputError, UnreachableError
from cronos.types import Checkpoint

# Stated here and in the writer, on purpose: a slip in one shows in the other.
FORMAT_VERSION: Final = 1
SEALED_FORMAT_VERSION: Final = 2
_APPLICATION_ID: Final = 0x43524E4C  # "CRNL"
_RECORD: Final = (
    "CREATE TABLE record(position INTEGER PRIMARY KEY, stored BLOB NOT NULL, "
    "chain BLOB NOT NULL) STRICT"
)
_SCHEMAS: Final = {
    FORMAT_VERSION: {
        "genesis": "CREATE TABLE genesis(instance TEXT NOT NULL) STRICT",
        "record": _RECORD,
    },
    SEALED_FORMAT_VERSION: {
        "genesis": "CREATE TABLE genesis(instance TEXT NOT NULL, former_size INTEGER NOT NULL, "
        "former_head BLOB NOT NULL) STRICT",
        "record": _RECORD,
    },
}
_HASH_BYTES: Final = 32
_SEALINGS: Final = {0: "unsealed", 1: "AES-256-GCM"}
_SHREDDED: Final = "crypto.shredded"
# The keys are not there; that says nothing against the record.
_KEYLESS: Final = frozenset(
    f"crypto.{what}" for what in ("other_keystore", "epochs_lost", "subjects_lost", "unreadable")
)
_HEAD_LINE: Final = re.compile(rb"cronos-head/1 ([0-9]{20}) ([0-9a-f]{64})\n")
_HEAD_BYTES: Final = 100
_MAX_VALUE_BYTES: Final = 1 << 21  # a record is at most 1 MiB before it is sealed
_CHUNK_BYTES: Final = 1 << 23
_CHUNK_RECORDS: Final = 1024
_STEPS_PER_CALL: Final = 100_000
# Generous for an honest file (measured: about 40 steps a page), finite for a hostile one.
_STEPS_PER_PAGE: Final = 20_000
_MAX_INSTANCE_CHARS: Final = 200


class Opener(Protocol):
    """The half of a sealer that verification needs."""

    seal_version: int

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Give the plain bytes."""
        ...


class Genesis(msgspec.Struct, frozen=True):
    """What a ledger says of itself before its first record.

    `former_size` and `former_head` are those of the readable ledger that it was sealed from;
    0 and zeros where it was sealed from the beginning, or is readable itself.
    """

    version: int
    instance: str
    former_size: int = 0
    former_head: bytes = bytes(_HASH_BYTES)

    def head(self) -> bytes:
        """Give the hash before the first record."""
        name = self.instance.encode()
        start = b"cronos-ledger" + self.version.to_bytes(2, "big") + len(name).to_bytes(2, "big")
        start += name
        if self.version == SEALED_FORMAT_VERSION:
            start += self.former_size.to_bytes(8, "big") + self.former_head
        return hashlib.sha256(start).digest()


class Examination(msgspec.Struct, frozen=True):
    """What verifying found.

    `opened` counts the records that were opened with the keys, `erased` those whose subject was
    shredded; both are 0 where no keys were given. `former_size` is how many records were sealed
    when the ledger was moved, and `former_proved` says that they are those of the former chain.
    """

    checkpoint: Checkpoint
    opened: int
    erased: int
    former_size: int
    former_proved: bool


def verify_file(
    path: Path, sealer: Opener | None = None, anchor: Checkpoint | None = None
) -> Checkpoint:
    """Recompute every hash of the ledger at `path` and give its size and head; see `examine_file`.

    The result's `wall_ns` is 0: no clock is read.
    """
    return examine_file(path, sealer, anchor).checkpoint


def examine_file(
    path: Path, sealer: Opener | None = None, anchor: Checkpoint | None = None
) -> Examination:
    """Recompute every hash of the ledger at `path`, read-only, in constant memory.

    Works while a writer appends: what was committed when the last chunk was read is covered.
    With a `sealer` every record is opened too. `anchor` is a checkpoint kept elsewhere; the
    ledger, or the readable one that it was sealed from, must contain it.

    Raises:
        InputError: there is no ledger at `path`, or it cannot be read.
        CronosError: the chain is broken; the sentence names the first bad position.
        DeniedError: the keys that are needed are not those that were given.
        UnreachableError: the keys do not answer.
    """
    if not path.is_file():
        raise _none(path)
    with _told(path), closing(_open(path)) as database:
        genesis = _check_shape(database, path)
        return _Walk(path, genesis, sealer, _anchors(path, anchor, genesis)).check(database)


def read_file(path: Path, sealer: Opener | None) -> Iterator[tuple[int, bytes]]:
    """Give each record's position and its opened bytes, oldest first, every hash recomputed.

    Read-only, in constant memory, also while a writer appends. In the place of a record whose
    subject was shredded stands ``b""``. A readable ledger needs no `sealer`.

    Raises:
        InputError: there is no ledger at `path`, or it cannot be read.
        CronosError: the chain is broken; what was given before it is right.
        DeniedError: the ledger is sealed and the keys are missing, or are others.
        UnreachableError: the keys do not answer.
    """
    if not path.is_file():
        raise _none(path)
    with _told(path), closing(_open(path)) as database:
        genesis = _check_shape(database, path)
        walk = _Walk(path, genesis, sealer, _anchors(path, None, genesis))
        sealed = genesis.version == SEALED_FORMAT_VERSION
        if sealed and sealer is None:
            raise DeniedError(
                "govern.keys_needed",
                f"The ledger {path} is sealed, and its keys could not be had.",
                "Read it where its keystore is, as the user who runs the node.",
            )
        for position, stored in walk.follow(database):
            yield position, walk.open(position, stored) if sealed else stored[1:]


@contextmanager
def _told(path: Path) -> Generator[None]:
    """Say what SQLite met in our own words."""
    try:
        yield
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
            raise _broken(path, 0, "its pages form no tree of its size") from error
        raise _unreadable(path, error) from error
    except (sqlite3.Error, UnicodeDecodeError) as error:
        # SQLite quotes a damaged schema in its message, which is then no text itself.
        raise _broken(path, 0, f"its pages are damaged ({error})") from error


def _none(path: Path) -> InputError:
    return InputError(
        "govern.no_ledger", f"There is no ledger at {path}.", "Give the path of its .db file."
    )


def genesis_hash(instance: str) -> bytes:
    """Give the hash before the first record of a readable ledger: it binds its instance."""
    return Genesis(FORMAT_VERSION, instance).head()


def _open(path: Path) -> sqlite3.Connection:
    """Open read-only; a folder nobody may write to is read as it lies.

    Never open the file by other means in this process: closing any descriptor of it drops the
    POSIX locks that SQLite holds on it for a writer in the same process.
    """
    wal = path.with_name(path.name + "-wal")
    alone = not wal.exists() or wal.stat().st_size == 0
    try:
        return _prepared(path, "mode=ro")
    except sqlite3.OperationalError:
        # A write-ahead log needs a shared-memory file beside it, which could not be made.
        if not alone:
            raise
        return _prepared(path, "mode=ro&immutable=1")


def _prepared(path: Path, options: str) -> sqlite3.Connection:
    name = quote(str(path.absolute()), safe="/")
    database = sqlite3.connect(f"file:{name}?{options}", uri=True, isolation_level=None)
    try:
        database.text_factory = _text
        database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_VALUE_BYTES)
        database.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
        for pragma in (
            "trusted_schema=OFF",
            "cell_size_check=ON",
            "query_only=ON",
            "mmap_size=0",
            "busy_timeout=5000",
        ):
            database.execute(f"PRAGMA {pragma}")
        database.execute("SELECT count(*) FROM (SELECT 1 FROM sqlite_schema LIMIT 1)").fetchone()
    except BaseException:
        database.close()
        raise
    return database


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _check_shape(database: sqlite3.Connection, path: Path) -> Genesis:
    """See that the file is a ledger of a known format and nothing else; give its genesis."""
    if _number(database, "application_id") != _APPLICATION_ID:
        raise InputError(
            "govern.not_a_ledger",
            f"{path} is not a Cronos ledger.",
            "Give the ledger's .db file, below the state folder.",
        )
    version = _number(database, "user_version")
    schema = _SCHEMAS.get(version)
    if schema is None:
        raise InputError(
            "govern.ledger_version",
            f"{path} has format {version}; this version reads formats 1 and 2.",
            "Verify it with the version of Cronos that wrote it.",
        )
    rows: list[tuple[Any, ...]] = database.execute(
        "SELECT type, name, sql FROM sqlite_schema LIMIT 3"
    ).fetchall()
    if sorted(rows) != sorted(("table", name, sql) for name, sql in schema.items()):
        raise _broken(path, 0, "its tables are not the ledger's own")
    _check_pages(database, path)
    return _genesis(database, path, version)


def _check_pages(database: sqlite3.Connection, path: Path) -> None:
    budget = 50 + _number(database, "page_count") * _STEPS_PER_PAGE // _STEPS_PER_CALL
    spent = 0

    def count() -> int:
        nonlocal spent
        spent += 1
        return int(spent > budget)

    database.set_progress_handler(count, _STEPS_PER_CALL)
    (verdict,) = database.execute("PRAGMA quick_check(1)").fetchone()
    database.set_progress_handler(None, 0)
    if verdict != "ok":
        raise _broken(path, 0, f"its pages are damaged ({str(verdict)[:200]!r})")


def _number(database: sqlite3.Connection, pragma: str) -> int:
    return int(database.execute(f"PRAGMA {pragma}").fetchone()[0])


class _Walk:
    """Follows a chain from its genesis, meeting each anchor at its position."""

    def __init__(
        self,
        path: Path,
        genesis: Genesis,
        sealer: Opener | None,
        anchors: dict[int, list[tuple[bytes, str]]],
    ) -> None:
        self._path = path
        self._genesis = genesis
        self._sealer = sealer
        self._anchors = anchors
        self._head = genesis.head()
        self._size = 0
        self._opened = 0
        self._erased = 0
        # The head of the former chain so far; None once it can no longer be computed.
        self._sealed = genesis.version == SEALED_FORMAT_VERSION
        followed = self._sealed and sealer is not None
        self._former = genesis_hash(genesis.instance) if followed else None
        self._proved = False

    def check(self, database: sqlite3.Connection) -> Examination:
        versions: set[int] = set()
        for position, stored in self.follow(database):
            versions.add(stored[0])
            if self._sealed and self._sealer is not None:
                self.open(position, stored)
        return Examination(
            Checkpoint(self._size, self._head, _sealing(versions, self._genesis.version), 0),
            self._opened,
            self._erased,
            self._genesis.former_size,
            self._proved,
        )

    def follow(self, database: sqlite3.Connection) -> Iterator[tuple[int, bytes]]:
        """Give position and stored bytes of each record whose hash is that of the chain.

        Each is opened, if at all, before the next is asked for: a former chain is met behind it.
        """
        path = self._path
        self._meet(0, self._head)
        for found, stored, chain in _rows(database):
            position = self._size + 1
            # A forged file need not keep to its column types.
            if not isinstance(stored, bytes) or not isinstance(chain, bytes):
                raise _broken(path, position, "it does not hold bytes")
            if found != position:
                raise _broken(path, position, f"it is missing; {found} follows {position - 1}")
            head = _link(self._head, position, stored)
            if chain != head or not stored:
                raise _broken(path, position, "it was changed, or stands where it was not written")
            if (stored[0] == 0) is self._sealed:
                how = "not sealed, in a ledger that is" if self._sealed else "sealed in another way"
                raise _broken(path, position, f"it is {how}")
            self._head, self._size = head, position
            yield position, stored
            self._meet(position, head)
        self._require_whole(self._size)

    def _require_whole(self, size: int) -> None:
        if self._anchors:
            longest = max(self._anchors)
            known = self._anchors[longest][0][1]
            raise _broken(self._path, size + 1, f"it was cut off: {known} has {longest} records")
        if size < self._genesis.former_size:
            raise _broken(
                self._path,
                size + 1,
                f"it was cut off: {self._genesis.former_size} were sealed when it was moved",
            )

    def open(self, position: int, stored: bytes) -> bytes:
        """Give a sealed record's plain bytes, b"" where its subject was shredded."""
        sealer = self._sealer
        if sealer is None or stored[0] != sealer.seal_version:
            version = stored[0]
            raise _broken(self._path, position, f"it carries seal version {version}, not its own")
        try:
            plain = sealer.open(stored[1:], f"{position}/{self._genesis.instance}".encode())
        except CronosError as error:
            if isinstance(error, UnreachableError) or error.code in _KEYLESS:
                raise
            if error.code != _SHREDDED:
                reason = f"it does not open ({error.sentence})"
                raise _broken(self._path, position, reason) from error
            self._erased += 1
            self._former = None
            return b""
        self._opened += 1
        if self._former is not None and position <= self._genesis.former_size:
            self._former = _link(self._former, position, b"\x00" + plain)
        return plain

    def _meet(self, size: int, head: bytes) -> None:
        """Compare what is known of this size with the chain, and with the former one."""
        former = self._former_at(size)
        for known, origin in self._anchors.pop(size, ()):
            if known in (head, former):
                continue
            if former is None and size < self._genesis.former_size:
                raise InputError(
                    "govern.checkpoint_unchecked",
                    f"Whether {self._path} contains {origin} of {size} records cannot be told.",
                    "It may be of the time before the ledger was sealed: verify with the keys, or"
                    f" compare at size {self._genesis.former_size}.",
                )
            raise _broken(self._path, size, f"the chain differs from {origin}")

    def _former_at(self, size: int) -> bytes | None:
        """Give the head that the readable ledger had at this size, where it can be told."""
        genesis = self._genesis
        if size > genesis.former_size or genesis.version != SEALED_FORMAT_VERSION:
            return None
        if size < genesis.former_size or not size:
            return self._former
        if self._former is not None and self._former != genesis.former_head:
            reason = "up to here it is not what the ledger held before it was sealed"
            raise _broken(self._path, size, reason)
        self._proved = self._former is not None
        return genesis.former_head


def _link(head: bytes, position: int, stored: bytes) -> bytes:
    return hashlib.sha256(head + position.to_bytes(8, "big") + stored).digest()


def _rows(database: sqlite3.Connection) -> Iterator[tuple[int, object, object]]:
    """Read in chunks, each a transaction of its own: a long one would let the log file grow."""
    last, more = -(1 << 63), True
    while more:
        more = False
        held = 0
        # Cut short by bytes as well as by rows: memory stays constant whatever is stored.
        for position, stored, chain in database.execute(
            "SELECT position, stored, chain FROM record WHERE position > ? ORDER BY position "
            "LIMIT ?",
            (last, _CHUNK_RECORDS),
        ):
            last, more = position, True
            yield position, stored, chain
            held += len(stored) if isinstance(stored, bytes) else 0
            if held > _CHUNK_BYTES:
                break


def _genesis(database: sqlite3.Connection, path: Path, version: int) -> Genesis:
    rows: list[tuple[Any, ...]] = database.execute("SELECT * FROM genesis LIMIT 2").fetchall()
    row: tuple[Any, ...] = rows[0] if len(rows) == 1 else ()
    match row:
        case (str(instance),) if version == FORMAT_VERSION:
            genesis = Genesis(version, instance)
        case (str(instance), int(size), bytes(head)) if size >= 0 and len(head) == _HASH_BYTES:
            genesis = Genesis(version, instance, size, head)
        case _:
            raise _broken(path, 0, "its genesis does not name one instance")
    if len(genesis.instance) > _MAX_INSTANCE_CHARS:
        raise _broken(path, 0, "its genesis does not name one instance")
    return genesis


def _sealing(versions: set[int], version: int) -> str:
    if not versions:
        return "sealed" if version == SEALED_FORMAT_VERSION else "unsealed"
    return ", ".join(_SEALINGS.get(one, f"seal version {one}") for one in sorted(versions))


def _anchors(
    path: Path, anchor: Checkpoint | None, genesis: Genesis
) -> dict[int, list[tuple[bytes, str]]]:
    """Collect what the chain must contain: size -> heads, and where each is known from."""
    known: dict[int, list[tuple[bytes, str]]] = {}
    beside = path.with_name("head")
    if beside.exists():
        size, head = read_head(beside)
        known[size] = [(head, "the `head` file beside it")]
    if anchor is not None:
        there = known.setdefault(anchor.size, [])
        # At the size at which a ledger was sealed it had two heads, the former one's and its own.
        if anchor.size > genesis.former_size and any(head != anchor.head for head, _ in there):
            raise _broken(path, anchor.size, "its `head` file contradicts the given checkpoint")
        there.append((anchor.head, "the given checkpoint"))
    return known


def read_head(path: Path) -> tuple[int, bytes]:
    """Give the size and head that a ledger's ``head`` file commits to.

    Raises:
        InputError: it holds none.
    """
    try:
        with path.open("rb") as file:
            found = _HEAD_LINE.fullmatch(file.read(_HEAD_BYTES + 1))
    except OSError:
        found = None
    if found is None:
        raise InputError(
            "govern.head_unreadable",
            f"{path} does not hold a ledger's head.",
            "Compare the ledger with a checkpoint kept elsewhere, then remove this file.",
        )
    return int(found[1]), bytes.fromhex(found[2].decode())


def _broken(path: Path, position: int, reason: str) -> CronosError:
    where = f"record {position}" if position else "the file"
    return CronosError(
        "govern.ledger_broken",
        f"The ledger {path} is broken at {where}: {reason}.",
        "Keep the file as evidence and restore the ledger from a copy that verifies.",
    )


def _unreadable(path: Path, error: sqlite3.Error) -> InputError:
    return InputError(
        "govern.ledger_unreadable",
        f"The ledger {path} cannot be read: {error}.",
        "Check its permissions; copy the .db and -wal files together into a folder you may write.",
    )
