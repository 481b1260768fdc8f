"""Verifies a ledger file on its own: it shares no code with what wrote it.

What the chain shows, and what it cannot: `stored` bytes are hashed with their position onto the
hash before them, so a record that was changed, removed, inserted or moved is found and named. The
hash has no key. Whoever may write the file can therefore rewrite it whole, and a tail that was
cut off leaves a shorter but whole chain. Both show only against a checkpoint that was kept
elsewhere (`anchor`). The ``head`` file beside the ledger is such a checkpoint against accidents
(a lost write-ahead log, an old copy), not against an attacker who can write it too.

The file is hostile until verified: its schema must be exactly the ledger's own, text by text, so
that no view, trigger or virtual table is ever run, and every value is bounded and type-checked.
"""

import hashlib
import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import quote

from cronos.errors import CronosError, InputError
from cronos.types import Checkpoint

# Stated here and in the writer, on purpose: a slip in one shows in the other.
FORMAT_VERSION: Final = 1
_APPLICATION_ID: Final = 0x43524E4C  # "CRNL"
_SCHEMA: Final = {
    "genesis": "CREATE TABLE genesis(instance TEXT NOT NULL) STRICT",
    "record": "CREATE TABLE record(position INTEGER PRIMARY KEY, stored BLOB NOT NULL, "
    "chain BLOB NOT NULL) STRICT",
}
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


def verify_file(
    path: Path, sealer: Opener | None = None, anchor: Checkpoint | None = None
) -> Checkpoint:
    """Recompute every hash of the ledger at `path`, read-only, in constant memory.

    Works while a writer appends: what was committed when the last chunk was read is covered.
    With a `sealer` every record is opened too. `anchor` is a checkpoint kept elsewhere; the
    ledger must still contain it. The result's `wall_ns` is 0: no clock is read.

    Raises:
        InputError: there is no ledger at `path`, or it cannot be read.
        CronosError: the chain is broken; the sentence names the first bad position.
    """
    if not path.is_file():
        raise InputError(
            "govern.no_ledger", f"There is no ledger at {path}.", "Give the path of its .db file."
        )
    try:
        with closing(_open(path)) as database:
            _check_shape(database, path)
            return _check_chain(database, path, sealer, _anchors(path, anchor))
    except sqlite3.OperationalError as error:
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_INTERRUPT:
            raise _broken(path, 0, "its pages form no tree of its size") from error
        raise _unreadable(path, error) from error
    except (sqlite3.Error, UnicodeDecodeError) as error:
        # SQLite quotes a damaged schema in its message, which is then no text itself.
        raise _broken(path, 0, f"its pages are damaged ({error})") from error


def genesis_hash(instance: str) -> bytes:
    """Give the hash before the first record: it binds the format's version and the instance."""
    name = instance.encode()
    start = b"cronos-ledger" + FORMAT_VERSION.to_bytes(2, "big") + len(name).to_bytes(2, "big")
    return hashlib.sha256(start + name).digest()


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


def _check_shape(database: sqlite3.Connection, path: Path) -> None:
    """See that the file is a ledger of this format and nothing else, then check its pages."""
    if _number(database, "application_id") != _APPLICATION_ID:
        raise InputError(
            "govern.not_a_ledger",
            f"{path} is not a Cronos ledger.",
            "Give the ledger's .db file, below the state folder.",
        )
    version = _number(database, "user_version")
    if version != FORMAT_VERSION:
        raise InputError(
            "govern.ledger_version",
            f"{path} has format {version}; this version reads format {FORMAT_VERSION}.",
            "Verify it with the version of Cronos that wrote it.",
        )
    rows: list[tuple[Any, ...]] = database.execute(
        "SELECT type, name, sql FROM sqlite_schema LIMIT 3"
    ).fetchall()
    if sorted(rows) != sorted(("table", name, sql) for name, sql in _SCHEMA.items()):
        raise _broken(path, 0, "its tables are not the ledger's own")
    _check_pages(database, path)


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


def _check_chain(
    database: sqlite3.Connection,
    path: Path,
    sealer: Opener | None,
    anchors: dict[int, tuple[bytes, str]],
) -> Checkpoint:
    """Follow the chain from its genesis, meeting each anchor at its position."""
    instance = _instance(database, path)
    head = genesis_hash(instance)
    versions: set[int] = set()
    position = 0
    _meet(path, anchors, 0, head)
    for found, stored, chain in _rows(database):
        position += 1
        # A forged file need not keep to its column types.
        if not isinstance(stored, bytes) or not isinstance(chain, bytes):
            raise _broken(path, position, "it does not hold bytes")
        if found != position:
            raise _broken(path, position, f"it is missing; {found} follows {position - 1}")
        head = hashlib.sha256(head + position.to_bytes(8, "big") + stored).digest()
        if chain != head or not stored:
            raise _broken(path, position, "it was changed, or stands where it was not written")
        versions.add(stored[0])
        if sealer is not None:
            _open_record(path, position, stored, sealer, instance)
        _meet(path, anchors, position, head)
    if anchors:
        size = max(anchors)
        raise _broken(path, position + 1, f"it was cut off: {anchors[size][1]} has {size} records")
    return Checkpoint(position, head, _sealing(versions), 0)


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


def _instance(database: sqlite3.Connection, path: Path) -> str:
    rows: list[tuple[Any, ...]] = database.execute(
        "SELECT instance FROM genesis LIMIT 2"
    ).fetchall()
    if len(rows) != 1 or not isinstance(rows[0][0], str) or len(rows[0][0]) > _MAX_INSTANCE_CHARS:
        raise _broken(path, 0, "its genesis does not name one instance")
    return rows[0][0]


def _open_record(path: Path, position: int, stored: bytes, sealer: Opener, instance: str) -> None:
    if stored[0] != sealer.seal_version:
        raise _broken(path, position, f"it carries seal version {stored[0]}, not this sealer's")
    try:
        sealer.open(stored[1:], f"{position}/{instance}".encode())
    except CronosError as error:
        raise _broken(path, position, f"it does not open ({error.sentence})") from error


def _sealing(versions: set[int]) -> str:
    if not versions - {0}:
        return "unsealed"
    return "seal version " + ", ".join(str(version) for version in sorted(versions))


def _anchors(path: Path, anchor: Checkpoint | None) -> dict[int, tuple[bytes, str]]:
    """Collect what the chain must contain: size -> (head, where that is known from)."""
    known: dict[int, tuple[bytes, str]] = {}
    beside = path.with_name("head")
    if beside.exists():
        size, head = read_head(beside)
        known[size] = (head, "the `head` file beside it")
    if anchor is not None:
        at = known.get(anchor.size)
        if at is not None and at[0] != anchor.head:
            raise _broken(path, anchor.size, "its `head` file contradicts the given checkpoint")
        known[anchor.size] = (anchor.head, "the given checkpoint")
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


def _meet(path: Path, anchors: dict[int, tuple[bytes, str]], size: int, head: bytes) -> None:
    known = anchors.pop(size, None)
    if known is not None and known[0] != head:
        raise _broken(path, size, f"the chain differs from {known[1]}")


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
