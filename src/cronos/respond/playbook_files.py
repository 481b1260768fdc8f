"""The folder of playbooks: read when it changes, swapped in whole, refused with the old one kept.

Who may write a playbook says what is proposed for an incident, so a file counts only where it and
its folder belong to this user or to root and nobody else may write them. A link is not followed.
"""

import hashlib
import os
import stat
from pathlib import Path
from typing import Final, NamedTuple

from cronos.errors import CronosError, DeniedError, InputError
from cronos.link.text import plain
from cronos.respond.cacao import read_playbook
from cronos.respond.cacao_place import MAX_BYTES
from cronos.respond.playbook_steps import Playbook
from cronos.types import Defect

SUFFIX: Final = ".json"
_MAX_ENTRIES: Final = 4_096


class Stamp(NamedTuple):
    """What changes when a file does, as far as the file system tells."""

    inode: int
    size: int
    modified_ns: int
    changed_ns: int


class _File(NamedTuple):
    """A file as it was last looked at; `settled` once two looks in a row found the same."""

    stamp: Stamp
    digest: bytes
    settled: bool
    playbook: Playbook | None
    refusal: Defect | None


class PlaybookFolder:
    """Knows the playbooks of a folder as of the last `poll`.

    Args:
        folder: where they lie, as ``*.json``.
        most: how many are read; the rest is refused by name.
    """

    def __init__(self, folder: Path, most: int) -> None:
        self._folder = folder
        self._most = most
        self._files: dict[str, _File] = {}
        self.refused: tuple[Defect, ...] = ()
        self.playbooks: tuple[Playbook, ...] = ()

    def poll(self) -> bool:
        """Look for what has changed; say whether the playbooks are other ones now.

        A file that cannot be read, is shared or is no playbook leaves the one it held before in
        force; a file that is gone takes its playbook with it.

        Raises:
            InputError: there is no such folder.
            DeniedError: the folder may not be read, or others may write to it.
        """
        names = self._names()
        kept = names[: self._most]
        self._files = {name: self._look(name, self._files.get(name)) for name in kept}
        found: dict[str, Playbook] = {}
        refused = [one.refusal for one in self._files.values() if one.refusal is not None]
        for name, one in self._files.items():
            if one.playbook is None:
                continue
            if one.playbook.playbook_id in found:
                why = f"another file holds the playbook {one.playbook.playbook_id} already"
                refused.append(self._defect(name, why, "Remove one of the two."))
                continue
            found[one.playbook.playbook_id] = one.playbook
        if len(names) > self._most:
            why = f"the folder holds more than {self._most} playbooks"
            refused.append(
                self._defect(names[self._most], why, "Raise `max_files`, or remove some.")
            )
        self.refused = tuple(refused)
        before, self.playbooks = self.playbooks, tuple(found.values())
        return before != self.playbooks

    def _names(self) -> list[str]:
        folder = self._folder
        try:
            held = folder.stat()
            if held.st_uid not in (os.geteuid(), 0) or held.st_mode & 0o022:
                raise DeniedError(
                    "respond.playbooks_shared",
                    f"The folder {folder} belongs to or may be written by others.",
                    f"Make it yours alone: chmod 755 {folder}",
                )
            with os.scandir(folder) as entries:
                names = [one.name for one, _ in zip(entries, range(_MAX_ENTRIES), strict=False)]
        except OSError as error:
            kind = DeniedError if isinstance(error, PermissionError) else InputError
            raise kind(
                "respond.playbooks_unreadable",
                f"The folder of playbooks {folder} cannot be read: {error.strerror}.",
                "Correct `folder` under [plugin.playbooks].",
            ) from error
        return sorted(one for one in names if one.endswith(SUFFIX) and not one.startswith("."))

    def _look(self, name: str, before: _File | None) -> _File:
        """Look at one file; what is not settled is read again although its stamp is the same."""
        path = self._folder / name
        old = before.playbook if before is not None else None
        try:
            stamp = _stamp(os.lstat(path))
            if before is not None and before.settled and before.stamp == stamp:
                return before
            stamp, data = read_owned(path)
            digest = hashlib.sha256(data).digest()
            if before is not None and before.digest == digest:
                # The same bytes get the same answer: only where they lie may have changed.
                return before._replace(stamp=stamp, settled=before.stamp == stamp)
            return self._read(name, stamp, data, digest, old)
        except CronosError as error:
            refusal = self._defect(name, error.sentence.rstrip("."), error.remedy)
            return _File(Stamp(0, 0, 0, 0), b"", False, old, refusal)
        except OSError as error:
            refusal = self._defect(name, f"it cannot be read: {error.strerror}", "Look at it.")
            return _File(Stamp(0, 0, 0, 0), b"", False, old, refusal)

    def _read(
        self, name: str, stamp: Stamp, data: bytes, digest: bytes, old: Playbook | None
    ) -> _File:
        """Read new bytes aside; what is refused is not read again until it changes."""
        try:
            return _File(stamp, digest, False, read_playbook(data, name), None)
        except InputError as error:
            refusal = self._defect(name, error.sentence.rstrip("."), error.remedy)
            return _File(stamp, digest, False, old, refusal)

    def _defect(self, name: str, reason: str, remedy: str) -> Defect:
        return Defect(plain(str(self._folder / name), 400), 0, reason, remedy)


def read_owned(path: Path) -> tuple[Stamp, bytes]:
    """Read a file that nobody else may write, of at most 1 MiB, and its stamp.

    Raises:
        DeniedError: others own it or may write it.
        InputError: it is no regular file, too long, or changed while it was read.
        OSError: it cannot be opened.
    """
    shown = plain(path.name, 200)
    descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb") as file:
        found = os.fstat(descriptor)
        if not stat.S_ISREG(found.st_mode):
            raise InputError(
                "respond.playbook_refused", f"{shown} is no regular file.", "Put the file there."
            )
        if found.st_uid not in (os.geteuid(), 0) or found.st_mode & 0o022:
            raise DeniedError(
                "respond.playbooks_shared",
                f"{shown} belongs to or may be written by others.",
                f"Make it yours alone: chmod 644 {shown}",
            )
        data = file.read(MAX_BYTES + 1)
        stamp = _stamp(os.fstat(descriptor))
    if len(data) > MAX_BYTES:
        raise InputError(
            "respond.playbook_refused", f"{shown} is longer than 1 MiB.", "Split the playbook."
        )
    if stamp != _stamp(found) or len(data) != found.st_size:
        raise InputError(
            "respond.playbook_refused",
            f"{shown} changed while it was read.",
            "It is read again at the next look.",
        )
    return stamp, data


def _stamp(found: os.stat_result) -> Stamp:
    return Stamp(found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
