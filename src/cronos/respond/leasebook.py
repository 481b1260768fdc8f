"""The enforcer's memory: an append-only file of leases and of their ends.

Each frame is ``u32 length | u32 CRC-32 | canonical bytes`` of a `Lease` (granted, applied,
renewed, ending) or of the `Outcome` that ended it. A torn tail is what a crash leaves: it is cut
off. A damaged frame between good ones is stepped over and named in `defects`. One process at a
time holds the book, by a lock on a file beside it.
"""

import contextlib
import fcntl
import os
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from cronos.errors import CronosError, DeniedError, InputError
from cronos.link.frames import frame
from cronos.types import MAX_FRAME_BYTES, Action, Entity, Lease, Operation, Outcome, decode, encode

_HEADER: Final = struct.Struct(">II")
_CRC: Final = struct.Struct(">I")
_MAX_PAST: Final = 50_000
_COMPACT_BYTES: Final = 4 << 20
_HARD_BOUND: Final = 4  # times that, when nobody found a quiet moment to tidy up

Key = tuple[str, str]  # (action_id, incident_id): an effect ends when its last lease ends


def key_of(action: Action) -> Key:
    """Name the lease of an action."""
    return action.action_id, action.incident_id


class LeaseBook:
    """Leases by key, in memory and on disk.

    Args:
        folder: the enforcer's own state; made with mode 0700.

    Raises:
        DeniedError: another enforcer holds the book.
        InputError: the folder cannot be used.
    """

    def __init__(self, folder: Path) -> None:
        self.leases: dict[Key, Lease] = {}
        self.defects: list[str] = []
        self._past: dict[Key, Lease] = {}  # stripped of plans: anchors and epochs only
        self._past_frames: dict[Key, bytes] = {}  # the same, as the file keeps it
        self._holders: dict[str, set[Key]] = {}
        self._anchors: dict[tuple[str, Entity], Lease] = {}
        self._epochs: dict[str, int] = {}
        self._path = folder / "leases"
        self._unsaved = False
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _locked(folder)
            self._file = _private(self._path)
            self._size = self._read()
        except OSError as error:
            raise InputError(
                "respond.book_unusable",
                f"The lease book {self._path} cannot be used: {error.strerror}.",
                "Give the enforcer a folder of its own that it can write, with --state.",
            ) from error
        self._compact_above = max(_COMPACT_BYTES, 2 * self._size)

    def write(self, records: Sequence[Lease | Outcome], *, durable: bool) -> None:
        """Append records, all or none; with `durable` they survive a power cut on return.

        Raises:
            CronosError: the disk is full or broken; nothing was changed, in memory neither.
        """
        data = b"".join(_framed(record) for record in records)
        if self._unsaved or self._size + len(data) > _HARD_BOUND * self._compact_above:
            self._compact()
        try:
            _write_all(self._file, data)
            if durable:
                os.fdatasync(self._file)
        except OSError as error:
            # Half a frame would hide all that follows it.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
            raise _full(self._path, error) from error
        self._size += len(data)
        for record in records:
            self._take(record)

    def note(self, records: Sequence[Lease | Outcome]) -> None:
        """Remember records in any case, and on disk when it has room: for what must happen.

        What could not be saved errs on the side of the lease: a restart holds it to its end.
        """
        try:
            self.write(records, durable=False)
        except CronosError:
            self._unsaved = True
            for record in records:
                self._take(record)

    def holders(self, action_id: str) -> Iterator[Lease]:
        """Give all leases that hold one effect."""
        return (self.leases[key] for key in sorted(self._holders.get(action_id, ())))

    def epoch(self, action_id: str) -> int:
        """Give the highest epoch seen for an effect, 0 when there was none."""
        return self._epochs.get(action_id, 0)

    def first_granted_ns(self, action: Action, boot_id: str) -> int | None:
        """Say when this incident first isolated this target, on this boot."""
        first = self._anchors.get((action.incident_id, action.target))
        return first.granted_boot_ns if first is not None and first.boot_id == boot_id else None

    def tidy(self, before_boot_ns: int) -> None:
        """In a quiet moment: drop what ended and was granted before, and shorten a long file."""
        for key in [key for key, it in self._past.items() if it.granted_boot_ns < before_boot_ns]:
            self._drop_past(key)
        if self._unsaved or self._size > self._compact_above:
            self._compact()

    def close(self) -> None:
        """Let go of the file and the lock; more than once is harmless."""
        for name in ("_file", "_lock"):
            descriptor: int = getattr(self, name)
            if descriptor >= 0:
                os.close(descriptor)
                setattr(self, name, -1)

    def _take(self, record: Lease | Outcome) -> None:
        if isinstance(record, Lease):
            self._hold(record)
            return
        key = (record.action_id, record.incident_id)
        lease = self.leases.pop(key, None)
        if lease is None:
            return
        holders = self._holders[key[0]]
        holders.discard(key)
        if not holders:
            del self._holders[key[0]]
        self._past[key] = past = _stripped(lease)
        ended = Outcome(*key, Operation.UNDO, ok=True, verified=True, detail="")
        self._past_frames[key] = _framed(past) + _framed(ended)
        if len(self._past) > _MAX_PAST:
            self._drop_past(next(iter(self._past)))

    def _hold(self, lease: Lease) -> None:
        action = lease.plan.action
        key = key_of(action)
        if self._past.pop(key, None) is not None:
            del self._past_frames[key]
        self.leases[key] = lease
        self._holders.setdefault(action.action_id, set()).add(key)
        self._epochs[action.action_id] = max(self.epoch(action.action_id), action.epoch)
        first = self._anchors.get((action.incident_id, action.target))
        if (
            first is None
            or first.boot_id != lease.boot_id
            or lease.granted_boot_ns < first.granted_boot_ns
        ):
            self._anchors[action.incident_id, action.target] = lease

    def _drop_past(self, key: Key) -> None:
        action = self._past.pop(key).plan.action
        del self._past_frames[key]
        named = (action.incident_id, action.target)
        first = self._anchors.get(named)
        if first is not None and key_of(first.plan.action) == key:
            del self._anchors[named]
        if action.action_id not in self._holders:
            self._epochs.pop(action.action_id, None)

    def _read(self) -> int:
        data = self._path.read_bytes()
        end = 0
        for end, record in _records(data):
            if record is None:
                self.defects.append(f"{self._path}: the frame that ends at byte {end} is damaged.")
            else:
                self._take(record)
        if end < len(data):
            self.defects.append(f"{self._path}: {len(data) - end} torn bytes were cut off.")
            os.ftruncate(self._file, end)
        return end

    def _compact(self) -> None:
        """Write what still matters to a new file; when that fails the old one stays in use."""
        beside = self._path.with_suffix(".new")
        data = b"".join(self._essence())
        try:
            fresh = _private(beside, os.O_TRUNC)
            try:
                _write_all(fresh, data)
                os.fsync(fresh)
                beside.replace(self._path)
                _sync_folder(self._path.parent)
            except OSError:
                os.close(fresh)
                raise
        except OSError:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
            self._compact_above += _COMPACT_BYTES
            return
        os.close(self._file)
        self._file, self._size, self._unsaved = fresh, len(data), False
        self._compact_above = max(_COMPACT_BYTES, 2 * len(data))

    def _essence(self) -> Iterable[bytes]:
        yield from self._past_frames.values()
        yield from (_framed(lease) for lease in self.leases.values())


def _framed(record: Lease | Outcome) -> bytes:
    body = encode(record)
    return frame(_CRC.pack(zlib.crc32(body)) + body)


def _records(data: bytes) -> Iterator[tuple[int, Lease | Outcome | None]]:
    """Give each frame's end and record (None when damaged), up to where no frame follows."""
    at = 0
    pending: list[int] = []  # damaged frames count only when a good one follows
    while at + _HEADER.size <= len(data):
        length, crc = _HEADER.unpack_from(data, at)
        end = at + 4 + length
        if not 4 <= length <= MAX_FRAME_BYTES or end > len(data):
            return
        record = _record(data[at + _HEADER.size : end], crc)
        if record is None:
            pending.append(end)
        else:
            yield from ((damaged, None) for damaged in pending)
            pending.clear()
            yield end, record
        at = end


def _record(body: bytes, crc: int) -> Lease | Outcome | None:
    if zlib.crc32(body) != crc:
        return None
    try:
        record = decode(body)
    except ValueError:
        return None
    return record if isinstance(record, Lease | Outcome) else None


def _stripped(lease: Lease) -> Lease:
    plan = msgspec.structs.replace(lease.plan, recipe=b"", summary="", undo_summary="")
    return msgspec.structs.replace(lease, plan=plan)


def _private(path: Path, flags: int = 0) -> int:
    return os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | flags, 0o600)


def _locked(folder: Path) -> int:
    lock = _private(folder / "lock")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(lock)
        raise DeniedError(
            "respond.book_in_use",
            f"Another enforcer holds {folder}.",
            "Stop it first, or give this one another folder with --state.",
        ) from error
    return lock


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _full(path: Path, error: OSError) -> CronosError:
    return CronosError(
        "respond.book_full",
        f"The lease book {path} cannot be written: {error.strerror}.",
        "Free space on its disk; what the kernel times out by itself goes on meanwhile.",
    )
