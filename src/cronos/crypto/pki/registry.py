"""The registry of an authority: what it issued, to whom, and which tokens are out.

SQLite, synced at every commit: a token that was used is used after a power cut too, and a
certificate is in the book before it leaves the house. It holds nothing secret.
"""

import contextlib
import sqlite3
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from cronos.crypto.durable import unwritable
from cronos.errors import CronosError, DeniedError, InputError

_VERSION: Final = 1
_SCHEMA: Final = """
create table issuers(name text primary key, kinds text not null, p384 blob not null,
  mldsa blob not null, not_after_ns integer not null, revoked_ns integer not null default 0,
  reason text not null default '') strict;
create table holders(kind text, name text, roles text not null, blocked integer not null default 0,
  primary key(kind, name)) strict;
create table issued(serial text primary key, kind text not null, name text not null,
  roles text not null, algorithm text not null, issuer text not null,
  not_before_ns integer not null, not_after_ns integer not null,
  revoked_ns integer not null default 0, reason text not null default '') strict;
create index issued_by_name on issued(kind, name);
create table tokens(token_id blob primary key, name text not null, roles text not null,
  verifier blob not null, expires_ns integer not null, used_ns integer not null default 0) strict;
create table lists(scope text primary key, number integer not null, signed blob not null) strict;
pragma user_version = 1;
"""


class Issued(msgspec.Struct, frozen=True):
    """A row of the book: one certificate."""

    serial: str
    kind: str
    name: str
    roles: str
    algorithm: str
    issuer: str
    not_before_ns: int
    not_after_ns: int
    revoked_ns: int = 0
    reason: str = ""


class IssuerRow(msgspec.Struct, frozen=True):
    """An issuer: `kinds` is what it may issue, comma-separated."""

    name: str
    kinds: str
    p384: bytes
    mldsa: bytes
    not_after_ns: int
    revoked_ns: int = 0
    reason: str = ""


class TokenRow(msgspec.Struct, frozen=True):
    """A join token that is out or was used."""

    token_id: bytes
    name: str
    roles: str
    verifier: bytes
    expires_ns: int
    used_ns: int = 0


class Registry:
    """Opens the book anew for each piece of work, so that threads and commands may share it.

    Args:
        path: the file; made by `create` alone.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def create(self) -> None:
        """Make an empty book.

        Raises:
            DeniedError: the disk is full or read-only.
        """
        self._path.touch(mode=0o600)
        with self._opened() as book:
            book.executescript(_SCHEMA)

    @contextlib.contextmanager
    def work(self) -> Generator["Book"]:
        """Do one piece of work: all of it, or nothing.

        Raises:
            InputError: there is no book here, or it is damaged.
            DeniedError: the disk is full, or the book comes from a newer version.
        """
        if not self._path.is_file():
            raise InputError(
                "crypto.missing_file",
                f"There is no registry at {self._path}.",
                "Give the folder that `cronos pki init` made; `cronos pki restore` brings it back.",
            )
        with self._opened() as book:
            (version,) = book.execute("pragma user_version").fetchone()
            if version != _VERSION:
                raise _other_version(self._path, version)
            book.execute("begin immediate")
            yield Book(book)
            book.execute("commit")

    @contextlib.contextmanager
    def _opened(self) -> Generator[sqlite3.Connection]:
        try:
            book = sqlite3.connect(self._path, timeout=10, isolation_level=None)
            with contextlib.closing(book):
                book.execute("pragma synchronous = extra")
                yield book
        except sqlite3.DatabaseError as error:
            raise _broken(self._path, error) from error


class Book:
    """The book while one piece of work is done on it."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._rows = connection

    def add_issuer(self, row: IssuerRow) -> None:
        """Enter an issuer."""
        self._add("issuers", row)

    def issuers(self) -> list[IssuerRow]:
        """Give all issuers, by name."""
        return self._all(IssuerRow, "select * from issuers order by name")

    def revoke_issuer(self, name: str, now_ns: int, reason: str) -> None:
        """Note that an issuer is revoked; the first time counts."""
        self._rows.execute(
            "update issuers set revoked_ns = ?, reason = ? where name = ? and revoked_ns = 0",
            (now_ns, reason, name),
        )

    def admit(self, kind: str, name: str, roles: str) -> None:
        """Enter a holder with its allowed roles, or change them; lifts a block."""
        self._rows.execute(
            "insert or replace into holders values (?, ?, ?, 0)", (kind, name, roles)
        )

    def holder(self, kind: str, name: str) -> str | None:
        """Give the allowed roles of a holder; None for an unknown or a blocked one."""
        query = "select roles from holders where kind = ? and name = ? and blocked = 0"
        row = self._rows.execute(query, (kind, name)).fetchone()
        return None if row is None else str(row[0])

    def block(self, kind: str, name: str) -> None:
        """Let a holder renew no more."""
        query = "update holders set blocked = 1 where kind = ? and name = ?"
        self._rows.execute(query, (kind, name))

    def add_issued(self, rows: Sequence[Issued]) -> None:
        """Enter certificates."""
        for row in rows:
            self._add("issued", row)

    def issued(self) -> list[Issued]:
        """Give all certificates in the book, the latest first."""
        return self._all(Issued, "select * from issued order by not_before_ns desc, serial")

    def find(self, what: str) -> list[Issued]:
        """Give the certificates of a serial number, a name, or ``kind/name``."""
        kind, _, name = what.rpartition("/")
        query = "select * from issued where serial = ? or (name = ? and (? = '' or kind = ?))"
        return self._all(Issued, query, (what, name, kind, kind))

    def revoke(self, serials: Sequence[str], now_ns: int, reason: str) -> None:
        """Note that certificates are revoked; the first time counts."""
        query = "update issued set revoked_ns = ?, reason = ? where serial = ? and revoked_ns = 0"
        self._rows.executemany(query, [(now_ns, reason, serial) for serial in serials])

    def revoked_by(self, issuer: str, alive_ns: int) -> list[Issued]:
        """Give what an issuer took back and what has not expired by `alive_ns`."""
        query = (
            "select * from issued where issuer = ? and revoked_ns > 0 and not_after_ns > ? "
            "order by serial"
        )
        return self._all(Issued, query, (issuer, alive_ns))

    def forget(self, before_ns: int) -> None:
        """Drop certificates and tokens that expired before a time."""
        self._rows.execute("delete from issued where not_after_ns < ?", (before_ns,))
        self._rows.execute("delete from tokens where expires_ns < ?", (before_ns,))

    def add_token(self, row: TokenRow) -> None:
        """Enter a join token."""
        self._add("tokens", row)

    def token(self, token_id: bytes) -> TokenRow | None:
        """Give a token by its id."""
        found = self._all(TokenRow, "select * from tokens where token_id = ?", (token_id,))
        return found[0] if found else None

    def tokens(self) -> list[TokenRow]:
        """Give all tokens, the latest first."""
        return self._all(TokenRow, "select * from tokens order by expires_ns desc, token_id")

    def use_token(self, token_id: bytes, now_ns: int) -> bool:
        """Mark a token as used; False where it was already."""
        query = "update tokens set used_ns = ? where token_id = ? and used_ns = 0"
        return self._rows.execute(query, (now_ns, token_id)).rowcount == 1

    def number(self, scope: str) -> int:
        """Give the number of a scope's latest list, 0 before the first."""
        row = self._rows.execute("select number from lists where scope = ?", (scope,)).fetchone()
        return 0 if row is None else int(row[0])

    def put_list(self, scope: str, number: int, signed: bytes) -> None:
        """Replace the list of a scope."""
        query = "insert or replace into lists values (?, ?, ?)"
        self._rows.execute(query, (scope, number, signed))

    def lists(self) -> list[bytes]:
        """Give the signed lists of all scopes."""
        rows = self._rows.execute("select signed from lists order by scope").fetchall()
        return [bytes(row[0]) for row in rows]

    def _add(self, table: str, row: msgspec.Struct) -> None:
        values = msgspec.structs.astuple(row)
        places = ", ".join("?" * len(values))
        self._rows.execute(f"insert into {table} values ({places})", values)  # noqa: S608 - own names

    def _all(self, kind: Any, query: str, given: tuple[Any, ...] = ()) -> list[Any]:
        return [kind(*row) for row in self._rows.execute(query, given)]


def _broken(path: Path, error: sqlite3.DatabaseError) -> CronosError:
    reason = str(error)
    if "full" in reason or "readonly" in reason or "I/O" in reason or "locked" in reason:
        return unwritable(path, OSError(0, reason))
    return InputError(
        "crypto.registry_damaged",
        f"The registry {path} is damaged: {reason}.",
        "Bring back a backup with `cronos pki restore`.",
    )


def _other_version(path: Path, version: int) -> CronosError:
    if version > _VERSION:
        return DeniedError(
            "crypto.newer_version",
            f"The registry {path} was written by a newer version of Cronos ({version}).",
            "Use that version, or a newer one.",
        )
    return InputError(
        "crypto.registry_damaged",
        f"The registry {path} is empty or was never finished.",
        "Run `cronos pki init` in a new folder, or bring back a backup.",
    )
