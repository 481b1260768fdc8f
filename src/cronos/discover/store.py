"""The profile store: every version of what was learnt, sealed at rest, in SQLite.

A row is ``seal version u8 | sealed record``, and a record is bound to its row's number. Nothing of
a profile, not even its name, lies beside it. A new version is a *candidate*: it serves nobody
until an operator, or a policy that was stated, promotes it. There is at most one *active* version
of a name; the one before it is *retired*, and kept.

Rule: one writer. A lock file refuses a second one.
"""

import fcntl
import os
import sqlite3
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec
from msgspec.structs import replace

from cronos.discover import ir
from cronos.discover.profile import Profile, Status
from cronos.errors import CronosError, DeniedError, InputError
from cronos.ports import Clock, Sealer

FILE_NAME: Final = "profiles.db"
MAX_ROWS: Final = 1_000
MAX_VERSIONS: Final = 20
_APPLICATION_ID: Final = 0x4352504C  # "CRPL"
_CONTEXT: Final = b"profile"
_ODD: Final = (
    "SELECT count(*) FROM profile"
    " WHERE id < 1 OR id >= 1 << 62 OR typeof(stored) <> 'blob' OR length(stored) > ?"
)
_MAX_ROW_BYTES: Final = ir.MAX_BYTES + (2 << 20)
# The file is whole and cannot be written or reached just now.
_NO_DAMAGE: Final = frozenset(
    {
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_READONLY,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_CANTOPEN,
    }
)
_CREATE: Final = "CREATE TABLE profile(id INTEGER PRIMARY KEY, stored BLOB NOT NULL) STRICT"


class Stored(msgspec.Struct, frozen=True):
    """One version of a profile, and how it did since it is in the store."""

    profile: Profile
    parsed: int = 0
    failed: int = 0

    @property
    def success(self) -> float:
        """The share of messages that it parsed; 1 before there were any."""
        total = self.parsed + self.failed
        return self.parsed / total if total else 1.0


class ProfileStore:
    """All versions of all profiles; used by one thread.

    Args:
        folder: its own folder, made if need be (mode 0700).
        sealer: how records lie at rest.
        clock: dates what is added without a date.

    Raises:
        DeniedError: another process writes to it, or a record was sealed by other keys.
        CronosError: the file is no profile store.
    """

    def __init__(self, folder: Path, sealer: Sealer, clock: Clock) -> None:
        self.path: Final = folder / FILE_NAME
        self._sealer = sealer
        self._clock = clock
        self._lock = _claimed(folder / "lock")
        try:
            with self._translated():
                self._database = _opened(self.path)
            self._rows = self._read()
        except BaseException:
            os.close(self._lock)
            raise

    def names(self) -> tuple[str, ...]:
        """Give the names there are, sorted."""
        return tuple(sorted({one.profile.name for one in self._rows.values()}))

    def versions(self, name: str) -> tuple[Stored, ...]:
        """Give all versions of a name, the oldest first; () for a name that is not there."""
        found = [one for one in self._rows.values() if one.profile.name == name]
        return tuple(sorted(found, key=lambda one: one.profile.version))

    def actives(self) -> dict[str, Profile]:
        """Give the active version of each name that has one."""
        active = [one.profile for one in self._rows.values() if one.profile.status == "active"]
        return {one.name: one for one in sorted(active, key=lambda one: one.name)}

    def active(self, name: str) -> Profile:
        """Give the active version of a name, or its newest candidate while none was promoted.

        Raises:
            InputError: there is no such profile.
        """
        versions = self.versions(name)
        for one in reversed(versions):
            if one.profile.status == "active":
                return one.profile
        if not versions:
            raise _unknown(name, self.names())
        return versions[-1].profile

    def add(self, profile: Profile) -> Profile:
        """Store a profile as the next version of its name, a candidate; give it as stored.

        The oldest retired version makes room where there are too many.

        Raises:
            InputError: the grammar may not run.
            DeniedError: the store is full.
        """
        ir.check(profile.grammar)
        versions = self.versions(profile.name)
        last = versions[-1].profile.version if versions else 0
        learned_ns = profile.learned_ns or self._clock.now().wall_ns
        new = replace(profile, version=last + 1, status="candidate", learned_ns=learned_ns)
        dropped = _to_drop(versions)
        if len(self._rows) >= MAX_ROWS and not dropped:
            raise DeniedError(
                "discover.store_full",
                f"The profile store holds {MAX_ROWS} versions.",
                "Forget profiles that nobody uses.",
            )
        with self._writing():
            for number in [n for n, one in self._rows.items() if one.profile in dropped]:
                self._delete(number)
            self._insert(Stored(new))
        return new

    def promote(self, name: str, version: int) -> Profile:
        """Make a version the active one; what was active is retired.

        Raises:
            InputError: there is no such version.
        """
        chosen = self._numbered(name, version)
        with self._writing():
            for number, one in list(self._rows.items()):
                if one.profile.name == name and one.profile.status == "active":
                    self._update(number, _with_status(one, "retired"))
            self._update(chosen, _with_status(self._rows[chosen], "active"))
        return self._rows[chosen].profile

    def retire(self, name: str, version: int) -> Profile:
        """Take a version out of use; it stays to be looked at.

        Raises:
            InputError: there is no such version.
        """
        chosen = self._numbered(name, version)
        with self._writing():
            self._update(chosen, _with_status(self._rows[chosen], "retired"))
        return self._rows[chosen].profile

    def forget(self, name: str) -> int:
        """Delete all versions of a name; give how many there were."""
        numbers = [n for n, one in self._rows.items() if one.profile.name == name]
        with self._writing():
            for number in numbers:
                self._delete(number)
        return len(numbers)

    def note(self, name: str, version: int, *, parsed: int, failed: int) -> Stored:
        """Add to how a version did; give it with its counts.

        Raises:
            InputError: there is no such version.
        """
        chosen = self._numbered(name, version)
        one = self._rows[chosen]
        new = replace(one, parsed=one.parsed + parsed, failed=one.failed + failed)
        with self._writing():
            self._update(chosen, new)
        return new

    def close(self) -> None:
        """Release the file and the lock; more than once is harmless."""
        if self._lock >= 0:
            self._database.close()
            os.close(self._lock)
            self._lock = -1

    def _numbered(self, name: str, version: int) -> int:
        for number, one in self._rows.items():
            if (one.profile.name, one.profile.version) == (name, version):
                return number
        raise _unknown(f"{name} version {version}", self.names())

    def _insert(self, stored: Stored) -> None:
        # Numbers are never taken up again: a record is bound to its own.
        number = max(self._rows, default=0) + 1
        row = self._sealed(number, stored)
        self._database.execute("INSERT INTO profile(id, stored) VALUES (?, ?)", (number, row))
        self._rows[number] = stored

    def _update(self, number: int, stored: Stored) -> None:
        row = self._sealed(number, stored)
        self._database.execute("UPDATE profile SET stored = ? WHERE id = ?", (row, number))
        self._rows[number] = stored

    def _delete(self, number: int) -> None:
        self._database.execute("DELETE FROM profile WHERE id = ?", (number,))
        del self._rows[number]

    def _sealed(self, number: int, stored: Stored) -> bytes:
        plain = msgspec.msgpack.encode(stored)
        sealed = self._sealer.seal(plain, _CONTEXT + number.to_bytes(8, "big"))
        return bytes((self._sealer.seal_version,)) + sealed

    def _read(self) -> dict[int, Stored]:
        with self._translated():
            (count,) = self._database.execute("SELECT count(*) FROM profile").fetchone()
            (odd,) = self._database.execute(_ODD, (_MAX_ROW_BYTES,)).fetchone()
            if odd or count > MAX_ROWS:
                raise _damaged(self.path, f"{odd or count} of its rows cannot be records")
            found = self._database.execute("SELECT id, stored FROM profile ORDER BY id").fetchall()
        return {int(number): self._opened(int(number), bytes(row)) for number, row in found}

    def _opened(self, number: int, row: bytes) -> Stored:
        if row[:1] != bytes((self._sealer.seal_version,)):
            raise DeniedError(
                "discover.store_sealed_otherwise",
                f"Profile {number} of {self.path} is not sealed as this node seals.",
                "Open it with the configuration it was written with.",
            )
        plain = self._sealer.open(row[1:], _CONTEXT + number.to_bytes(8, "big"))
        try:
            stored = msgspec.msgpack.decode(plain, type=Stored)
        except (msgspec.DecodeError, RecursionError) as error:
            raise _damaged(self.path, f"record {number} is none of this version") from error
        ir.check(stored.profile.grammar)
        return stored

    @contextmanager
    def _writing(self) -> Generator[None]:
        """Carry changes out together, in the file and in memory, or not at all."""
        before = dict(self._rows)
        try:
            with self._translated(), self._database:
                yield
        except BaseException:
            self._rows = before
            raise

    @contextmanager
    def _translated(self) -> Generator[None]:
        try:
            yield
        except OSError as error:
            raise _unusable(self.path, error.strerror or str(error)) from error
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in _NO_DAMAGE:
                raise _unusable(self.path, str(error)) from error
            raise _damaged(self.path, str(error)) from error


def _with_status(stored: Stored, status: Status) -> Stored:
    return replace(stored, profile=replace(stored.profile, status=status))


def _to_drop(versions: tuple[Stored, ...]) -> list[Profile]:
    if len(versions) < MAX_VERSIONS:
        return []
    unused = [one.profile for one in versions if one.profile.status != "active"]
    retired = [one for one in unused if one.status == "retired"]
    return (retired or unused)[:1]


def _opened(path: Path) -> sqlite3.Connection:
    path.touch(mode=0o600)
    database = sqlite3.connect(path, check_same_thread=False)
    database.execute("PRAGMA synchronous = FULL")
    if not database.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        with database:
            database.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
            database.execute(_CREATE)
    (mark,) = database.execute("PRAGMA application_id").fetchone()
    # A view in place of the table would be a program, and whoever wrote it would have it run.
    schema = database.execute("SELECT sql FROM sqlite_master").fetchall()
    if mark != _APPLICATION_ID or schema != [(_CREATE,)]:
        database.close()
        raise _damaged(path, "it is another program's")
    return database


def _claimed(path: Path) -> int:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(path, error.strerror or str(error)) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        raise DeniedError(
            "discover.store_in_use",
            f"Another process uses the profile store of {path.parent}.",
            "Wait for it to end, or choose another folder with --state.",
        ) from error
    return lock


def _unknown(name: str, names: tuple[str, ...]) -> InputError:
    there = f"There are: {', '.join(names[:20])}." if names else "Learn one with --save NAME."
    return InputError(
        "discover.no_such_profile", f"There is no profile {name} in the store.", there
    )


def _unusable(path: Path, why: str) -> DeniedError:
    return DeniedError(
        "discover.store_unusable",
        f"The profile store cannot be used: {path}: {why}. Nothing was changed.",
        "Make room, or choose a writable folder with --state.",
    )


def _damaged(path: Path, why: str) -> CronosError:
    return CronosError(
        "discover.store_damaged",
        f"The profile store {path} cannot be read: {why}.",
        "Put a copy of it back, or move it away and learn anew.",
    )
