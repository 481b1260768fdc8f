"""The file of epoch packets beside a sealed store: appended, mirrored, never lost.

``epochs`` is a row of frames, ``"CREF" | short id 4 | length u32 | SHA-256(packet)[:8] | packet``,
and ``epochs.bak`` the same row again: a packet that is lost takes with it all that its epoch
sealed. A frame is durable in both before `EpochFile.append` returns. A torn end (a kill, a full
disk) is left behind by readers and cut off by the next writer; a damaged frame in the middle is
stepped over and found in the mirror.

Writers hold ``epochs.lock`` while they change anything; readers need no lock.
"""

import fcntl
import hashlib
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, TypeAlias

from cronos.crypto.durable import (
    blotted_after,
    private_folder,
    read_bounded,
    sync_folder,
    unwritable,
    write_all,
    write_synced,
)

_MAGIC: Final = b"CREF"
_CHECK_BYTES: Final = 8
_HEAD_BYTES: Final = len(_MAGIC) + 4 + 4 + _CHECK_BYTES
_MAX_FILE_BYTES: Final = 1 << 31
_LOCK: Final = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
MAX_PACKET_BYTES: Final = 1 << 18

Seen: TypeAlias = tuple[int, int, int]
"""Inode, size and time of change: what tells that a file is not the one that was read."""


class EpochFile:
    """The packets of one store, by their short ids.

    Args:
        folder: where the files lie; made (mode 0700) when something is written.
    """

    def __init__(self, folder: Path) -> None:
        self.path: Final = folder / "epochs"
        self._mirror: Final = folder / "epochs.bak"
        self._folder: Final = folder
        self._packets: dict[bytes, bytes] = {}
        self._seen: tuple[Seen | None, Seen | None] = (None, None)
        self.damaged = False

    def find(self, short_id: bytes) -> bytes | None:
        """Give the packet of an epoch; None when neither file has it.

        Raises:
            DeniedError: the files are there and cannot be read.
        """
        if short_id not in self._packets:
            self._load()
        return self._packets.get(short_id)

    def packets(self) -> Sequence[bytes]:
        """Give every packet in the order in which the epochs began."""
        self._load()
        return tuple(self._packets.values())

    def short_ids(self) -> frozenset[bytes]:
        """Give the ids that are taken."""
        self._load()
        return frozenset(self._packets)

    @contextmanager
    def writing(self) -> Generator[None]:
        """Keep every other writer of this folder out.

        Raises:
            DeniedError: the folder cannot be written.
        """
        private_folder(self._folder)
        with explained(self._folder):
            lock = os.open(self._folder / "epochs.lock", _LOCK, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)

    def append(self, short_id: bytes, packet: bytes) -> None:
        """Add a packet, durable when this returns; inside `writing`.

        Raises:
            DeniedError: nothing was added that a reader would find (a full disk).
        """
        self._load()
        frame = _frame(short_id, packet)
        with explained(self._folder):
            for path in (self.path, self._mirror):
                if path.exists() and not self.damaged:
                    _append(path, frame)
                else:
                    # A new file, or one that is to be healed from what both together hold.
                    replace_file(path, b"".join((*self._frames(), frame)))
        self._packets[short_id] = packet
        self._note()

    def replace(self, packets: dict[bytes, bytes]) -> None:
        """Put other packets in place of all; inside `writing`.

        Raises:
            DeniedError: the old ones stand (a full disk).
        """
        data = b"".join(_frame(short_id, packet) for short_id, packet in packets.items())
        with explained(self._folder):
            for path in (self.path, self._mirror):
                replace_file(path, data)
        self._packets = dict(packets)
        self._note()

    def _frames(self) -> list[bytes]:
        return [_frame(short_id, packet) for short_id, packet in self._packets.items()]

    def _note(self) -> None:
        self._seen = (_stat(self.path), _stat(self._mirror))
        self.damaged = False

    def _load(self) -> None:
        """Read both files, unless they are as they were."""
        seen = (_stat(self.path), _stat(self._mirror))
        if seen == self._seen:
            return
        (first, whole), (mirror, mirror_whole) = (
            _parse(read_bounded(path, _MAX_FILE_BYTES) or b"") for path in (self.path, self._mirror)
        )
        # Both are written in this order, so where they differ the first is the newer one.
        self._packets = {**mirror, **first}
        # A mirror that lags (a kill between the two) is brought up to date like damage.
        self.damaged = not (whole and mirror_whole) or first != mirror
        self._seen = seen


def _append(path: Path, frame: bytes) -> None:
    """Write at the end and sync; what could only be written in part is cut off again."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC)
    try:
        end = os.fstat(file).st_size
        try:
            write_all(file, frame)
            os.fsync(file)
        except OSError:
            with suppress(OSError):
                os.ftruncate(file, end)
            raise
    finally:
        os.close(file)


def replace_file(path: Path, data: bytes) -> None:
    """Put `data` in a file's place, durably; what it held before is overwritten.

    So is what a kill left under the name that it is written under first.

    Raises:
        OSError: the old content stands.
    """
    new = path.with_name(path.name + ".new")
    with blotted_after(path, new):
        write_synced(new, data)
        new.replace(path)
        sync_folder(path.parent)


def _frame(short_id: bytes, packet: bytes) -> bytes:
    check = hashlib.sha256(packet).digest()[:_CHECK_BYTES]
    return _MAGIC + short_id + len(packet).to_bytes(4, "big") + check + packet


def _parse(data: bytes) -> tuple[dict[bytes, bytes], bool]:
    """Give the packets of a file, and whether nothing lay between or behind them."""
    found: dict[bytes, bytes] = {}
    at, whole = 0, True
    while at < len(data):
        packet = _packet_at(data, at)
        if packet is not None:
            found[data[at + 4 : at + 8]] = packet
            at += _HEAD_BYTES + len(packet)
            continue
        whole = False
        at = data.find(_MAGIC, at + 1)
        if at < 0:
            break
    return found, whole


def _packet_at(data: bytes, at: int) -> bytes | None:
    head = data[at : at + _HEAD_BYTES]
    if len(head) < _HEAD_BYTES or not head.startswith(_MAGIC):
        return None
    length = int.from_bytes(head[8:12], "big")
    if not 0 < length <= MAX_PACKET_BYTES:
        return None
    packet = data[at + _HEAD_BYTES : at + _HEAD_BYTES + length]
    good = hashlib.sha256(packet).digest()[:_CHECK_BYTES] == head[12:]
    return packet if good and len(packet) == length else None


def _stat(path: Path) -> Seen | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return (found.st_ino, found.st_size, found.st_mtime_ns)


@contextmanager
def explained(folder: Path) -> Generator[None]:
    """Turn what the file system refuses inside `folder` into a sentence."""
    try:
        yield
    except OSError as error:
        raise unwritable(folder, error) from error
