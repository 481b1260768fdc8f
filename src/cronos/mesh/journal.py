"""A sealed file that only grows, and is written anew when most of it is past.

::

    file   "CRJF" | version u8 | generation u64 | frame, frame, …
    frame  "CRJ1" | index u64 | length u32 | SHA-256(index | length | stored)[:8] | stored
    stored seal version u8 | sealed bytes; sealed for ``<name>/<generation>/<index>``

What is sealed opens at no other place, so frames can be neither moved nor repeated. That the end
was cut off, or the whole file is an older one, no key can tell.

What a kill, a full disk or a power cut leaves: a torn end, which the next opening cuts off; or
``<name>.new``, which it removes. Damage in the middle is stepped over; then the file is kept beside
as ``<name>.damaged`` and what can be read goes on in a new one.

Rule: what `append` or `rewrite` returned from is on the disk. Nothing here is called by two threads
at once.
"""

import fcntl
import hashlib
import os
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

from cronos.crypto.durable import private_folder, sync_folder, write_all
from cronos.errors import CronosError, DeniedError, UnreachableError
from cronos.ports import Sealer

_FILE: Final = b"CRJF\x01"
_HEAD_BYTES: Final = len(_FILE) + 8
_MAGIC: Final = b"CRJ1"
_CHECK_BYTES: Final = 8
_FRAME_BYTES: Final = len(_MAGIC) + 8 + 4 + _CHECK_BYTES
_MAX_FRAME: Final = 2 << 20
_NEW: Final = os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_OLD: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC
# These say that the keys are not there, and nothing against what was stored.
_KEYLESS: Final = frozenset(
    f"crypto.{what}" for what in ("other_keystore", "epochs_lost", "subjects_lost", "unreadable")
)


class Journal:
    """Keeps payloads in order; `load` must be called first.

    Args:
        folder: its own folder, made with mode 0700.
        name: of the file, and what its bytes are sealed for.
        sealer: how they lie at rest.

    Raises:
        DeniedError: another process holds it, or the folder cannot be used.
    """

    def __init__(self, folder: Path, name: str, sealer: Sealer) -> None:
        private_folder(folder)
        self.path: Final = folder / name
        self.remarks: list[CronosError] = []
        self.size = 0
        self._sealer = sealer
        self._generation = 0
        self._index = 0
        self._file = -1
        self._spoilt = False
        self._lock = _claim(folder / f"{name}.lock")

    def load(self) -> list[bytes]:
        """Give the payloads that are there, oldest first, and make ready to append.

        `remarks` tells what was damaged. Nothing is repaired on the disk before the next
        `rewrite`, which must come first where there are remarks.

        Raises:
            UnreachableError: the keys do not answer; it may be tried again.
            DeniedError: the keys are others, or the file cannot be read.
        """
        self._drop()
        self._index = 0
        try:
            self.path.with_name(self.path.name + ".new").unlink(missing_ok=True)
            self._file = os.open(self.path, _OLD)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise _unusable(self.path, error) from error
        return self._read()

    def append(self, payload: bytes) -> None:
        """Add a payload, durable when this returns.

        Raises:
            DeniedError: nothing was added (a full disk); `rewrite` is what comes next.
            UnreachableError: the keys do not answer; nothing was added.
        """
        if self._file < 0 and not self._spoilt:
            self.rewrite([payload])
            return
        if self._spoilt:
            raise _spoilt(self.path)
        data = self._frame(payload, self._generation, self._index)
        try:
            self._put(data)
            os.fsync(self._file)
        except OSError as error:
            # After a failed fsync nobody knows what is on the disk: this file takes no more.
            with suppress(OSError):
                os.ftruncate(self._file, self.size)
            self._drop()
            self._spoilt = True
            raise _unusable(self.path, error) from error
        self.size += len(data)
        self._index += 1

    def rewrite(self, payloads: Sequence[bytes]) -> None:
        """Put a file of these payloads in the place of the one before, durable on return.

        Raises:
            DeniedError: the file before stands (a full disk).
            UnreachableError: the keys do not answer; the file before stands.
        """
        generation = self._generation + 1
        frames = [self._frame(one, generation, index) for index, one in enumerate(payloads)]
        data = _FILE + generation.to_bytes(8, "big") + b"".join(frames)
        new = self.path.with_name(self.path.name + ".new")
        file = -1
        try:
            file = os.open(new, _NEW, 0o600)
            write_all(file, data)
            os.fsync(file)
            self._keep_damaged()
            new.replace(self.path)
            sync_folder(self.path.parent)
        except OSError as error:
            if file >= 0:
                os.close(file)
            with suppress(OSError):
                new.unlink(missing_ok=True)
            raise _unusable(self.path, error) from error
        self._drop()
        self._spoilt = False
        self._file, self.size = file, len(data)
        self._generation, self._index = generation, len(payloads)

    def close(self) -> None:
        """Release file and lock; more than once is harmless."""
        self._drop()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _drop(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1

    def _keep_damaged(self) -> None:
        """Keep what was damaged for whoever looks into it; one such file, the latest."""
        if self.remarks and self.path.exists():
            damaged = self.path.with_name(self.path.name + ".damaged")
            damaged.unlink(missing_ok=True)
            damaged.hardlink_to(self.path)
            self.remarks.clear()

    def _put(self, data: bytes) -> None:
        os.lseek(self._file, self.size, os.SEEK_SET)
        write_all(self._file, data)

    def _frame(self, payload: bytes, generation: int, index: int) -> bytes:
        context = self._context(generation, index)
        stored = bytes((self._sealer.seal_version,)) + self._sealer.seal(payload, context)
        head = index.to_bytes(8, "big") + len(stored).to_bytes(4, "big")
        return _MAGIC + head + _check(head, stored) + stored

    def _context(self, generation: int, index: int) -> bytes:
        return f"{self.path.name}/{generation}/{index}".encode()

    # --- reading -------------------------------------------------------------------------------

    def _read(self) -> list[bytes]:
        try:
            data = _whole(self._file)
        except OSError as error:
            raise _unusable(self.path, error) from error
        if not data.startswith(_FILE) or len(data) < _HEAD_BYTES:
            self._damaged("is no journal of this version", at=0)
            self._drop()
            self._spoilt = True
            return []
        self._generation = int.from_bytes(data[len(_FILE) : _HEAD_BYTES], "big")
        payloads: list[bytes] = []
        at = end = _HEAD_BYTES
        while (found := data.find(_MAGIC, at)) >= 0:
            stored = _stored_at(data, found)
            if stored is None:
                at = found + 1
                continue
            if found != end:
                self._damaged("is damaged", end)
            at = end = found + _FRAME_BYTES + len(stored)
            payloads += self._opened(int.from_bytes(data[found + 4 : found + 12], "big"), stored)
        # What follows the last whole frame is what a kill left of an append.
        self.size = end
        if end < len(data):
            with suppress(OSError):
                os.ftruncate(self._file, end)
        return payloads

    def _opened(self, index: int, stored: bytes) -> list[bytes]:
        if index != self._index:
            self._damaged(f"lacks what stood at {self._index}", index)
        self._index = index + 1
        try:
            if stored[0] != self._sealer.seal_version:
                self._damaged("holds what another sealer wrote", index)
                return []
            return [self._sealer.open(stored[1:], self._context(self._generation, index))]
        except UnreachableError:
            raise
        except CronosError as error:
            if error.code in _KEYLESS:
                raise
            self._damaged("holds what its key does not open", index)
            return []

    def _damaged(self, what: str, at: int) -> None:
        if not self.remarks:
            self.remarks.append(
                CronosError(
                    "mesh.journal_damaged",
                    f"The file {self.path} {what} (at {at}); what else could be read goes on.",
                    f"Look at {self.path}.damaged, and at the disk; messages may have been lost.",
                )
            )


def _claim(path: Path) -> int:
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise _unusable(path, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lock)
        raise DeniedError(
            "mesh.journal_in_use",
            f"Another process holds {path}.",
            "End it first; one node uses a state folder.",
        ) from None
    return lock


def _whole(file: int) -> bytes:
    pieces: list[bytes] = []
    while piece := os.read(file, 1 << 20):
        pieces.append(piece)
    return b"".join(pieces)


def _stored_at(data: bytes, at: int) -> bytes | None:
    """Give what a whole frame at this place stores; None where there is none."""
    head = data[at + 4 : at + 16]
    length = int.from_bytes(head[8:], "big")
    if len(head) < 12 or not 0 < length <= _MAX_FRAME:
        return None
    check = data[at + 16 : at + _FRAME_BYTES]
    stored = data[at + _FRAME_BYTES : at + _FRAME_BYTES + length]
    return stored if len(stored) == length and _check(head, stored) == check else None


def _check(head: bytes, stored: bytes) -> bytes:
    return hashlib.sha256(head + stored).digest()[:_CHECK_BYTES]


def _spoilt(path: Path) -> DeniedError:
    return DeniedError(
        "mesh.journal_unwritable",
        f"A write to {path} failed; the file takes nothing more before it is written anew.",
        "Make room on its file system; what waits is kept in memory until then.",
    )


def _unusable(path: Path, error: OSError) -> DeniedError:
    return DeniedError(
        "mesh.journal_unwritable",
        f"{path} cannot be used: {error.strerror or error}.",
        "Make room on its file system; what waits is kept in memory until then.",
    )
