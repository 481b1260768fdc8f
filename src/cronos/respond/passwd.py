"""Accounts of this machine: read from their files, locked and unlocked by `usermod`.

A lock is two things: the password's `!`, and a day long past on which the account expired, which
ends logins by key as well. The day is our mark: it tells what was locked by us, and whether the
password was. Everything else of an account's line stays, byte for byte, and no password's hash
leaves its file.

Source: shadow(5), usermod(8).
"""

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from cronos.errors import UnreachableError

NAME: Final = re.compile(r"[a-z_][a-z0-9_.-]{0,31}\$?", re.IGNORECASE)
# Days since 1970: nobody else lets accounts expire on these, in February 1977.
LOCKED_BY_US: Final = "2604"
EXPIRED_BY_US: Final = "2605"  # the password was locked before, or there is none
_MARKS: Final = (LOCKED_BY_US, EXPIRED_BY_US)
_MAX_BYTES: Final = 1 << 24
_PATHS: Final = "/usr/sbin:/usr/bin:/sbin:/bin"


class Shadow(NamedTuple):
    """What an account's line in `shadow` says of its lock."""

    name: str
    is_locked: bool
    has_password: bool
    expire: str

    @property
    def is_ours(self) -> bool:
        """Say whether the day is one of ours, whatever became of the password."""
        return self.expire in _MARKS

    @property
    def is_marked(self) -> bool:
        """Say whether the lock is ours and whole."""
        return self.expire == EXPIRED_BY_US or (self.expire == LOCKED_BY_US and self.is_locked)


class Accounts:
    """The account files below `prefix`, ``/`` when that is empty."""

    def __init__(self, prefix: str, timeout_s: float) -> None:
        self._prefix = prefix
        self._etc = Path(prefix or "/") / "etc"
        self._timeout_s = timeout_s

    def objection(self) -> str | None:
        """Say why no account can be locked here, or give None."""
        if shutil.which("usermod", path=_PATHS) is None:
            return "`usermod` is not installed (on Debian: apt-get install passwd)."
        if not os.access(self._etc / "shadow", os.R_OK | os.W_OK):
            return f"{self._etc / 'shadow'} is not ours to change: locking accounts needs root."
        return None

    def user_id(self, name: str) -> int | None:
        """Give the number of a user of this machine; None for one of a directory, or nobody.

        Raises:
            UnreachableError: the file cannot be read, so nobody can say.
        """
        for fields in self._lines("passwd"):
            if fields[0] == name and len(fields) > 2 and fields[2].isdigit():
                return int(fields[2])
        return None

    def names_of(self, uid: int) -> frozenset[str]:
        """Give all names of a user's number; see `user_id` for what it raises."""
        return frozenset(fields[0] for fields in self._lines("passwd") if fields[2:3] == [str(uid)])

    def shadow(self, name: str) -> Shadow | None:
        """Give how an account is locked; see `all_shadows` for what it raises."""
        return next((one for one in self.all_shadows() if one.name == name), None)

    def all_shadows(self) -> Iterator[Shadow]:
        """Give all accounts that have a password's line.

        Raises:
            UnreachableError: the file cannot be read. An account that was not seen is not unlocked.
        """
        for fields in self._lines("shadow"):
            if len(fields) == 9:
                secret = fields[1]
                yield Shadow(fields[0], secret.startswith("!"), bool(secret), fields[7])

    def lock(self, name: str, *, password: bool) -> str | None:
        """Lock an account, its password too; give a sentence on what failed."""
        day = LOCKED_BY_US if password else EXPIRED_BY_US
        return self._change(name, "-e", day, *(["-L"] if password else []))

    def unlock(self, name: str, expire: str, *, password: bool) -> str | None:
        """Put back what `lock` changed; give a sentence on what failed."""
        return self._change(name, "-e", expire, *(["-U"] if password else []))

    def _change(self, name: str, *options: str) -> str | None:
        program = shutil.which("usermod", path=_PATHS)
        if program is None:
            return self.objection()
        where = ["-P", self._prefix] if self._prefix else []
        try:
            done = subprocess.run(  # noqa: S603 - a fixed program, a name of NAME's form, digits
                [program, *where, *options, "--", name],
                check=False,
                capture_output=True,
                timeout=self._timeout_s,
                env={"PATH": _PATHS, "LC_ALL": "C"},
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            return f"`usermod` failed: {error!r:.120}"
        if done.returncode:
            said = done.stderr.decode(errors="replace").strip()
            return f"`usermod` refused: {said[:200]}"
        return None

    def _lines(self, file: str) -> Iterator[list[str]]:
        try:
            with (self._etc / file).open("rb") as opened:
                text = opened.read(_MAX_BYTES).decode(errors="surrogateescape")
        except FileNotFoundError:
            return
        except OSError as error:
            raise UnreachableError(
                "respond.accounts_unreadable",
                f"{self._etc / file} cannot be read: {error.strerror}.",
                "Run the enforcer as root, and see that the file is there and whole.",
            ) from error
        for line in text.split("\n"):
            if line:
                yield line.split(":")
