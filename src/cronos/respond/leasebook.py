"""The enforcer's memory: an append-only file of leases and of their ends.

Each frame is ``mark | u32 length | u32 CRC-32 | canonical bytes`` of a `Lease` (granted, applied,
renewed, ending) or of the `Outcome` that ended it. A torn tail is what a crash leaves: it is cut
off. Damage before a good frame, be it in a length, is stepped over and named in `defects`, and the
file as it was is kept as ``leases.bad``. One process at a time holds the book, by a lock on a file
beside it.
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
from cronos.types import MAX_FRAME_BYTES, Action, Entity, Lease, Operation, Outcome, decode, encode

# 0xFF is in no UTF-8 text, so nothing that a lease says of its target looks like a frame.
_MARK: Final = b"\xffCLB"
_HEADER: Final = struct.Struct(">4sII")
# What looking for the next good frame may cost: half a second or so.
_MAX_SEARCHED_BYTES: Final = 1 << 29
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
        self._grants: dict[tuple[str, int, Key], None] = {}  # also of leases granted anew since
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

    def granted_since(self, boot_id: str, boot_ns: int) -> int:
        """Count the leases granted on this boot after `boot_ns`, those that ended as well."""
        return sum(boot == boot_id and at > boot_ns for boot, at, _ in self._grants)

    def tidy(self, before_boot_ns: int) -> None:
        """In a quiet moment: drop what ended and was granted before, and shorten a long file."""
        while len(self._grants) > _MAX_PAST:
            del self._grants[next(iter(self._grants))]
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
        self._grants[lease.boot_id, lease.granted_boot_ns, key] = None
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
        for start, after, record in _records(data):
            if start > end:
                self.defects.append(f"{self._path}: bytes {end} to {start} are damaged.")
            if record is None:
                self.defects.append(f"{self._path}: the frame at byte {start} is not understood.")
            else:
                self._take(record)
            end = after
        # A copy first: what is cut off or left out from now on may still be of use to a person.
        if self.defects or end < len(data):
            _keep(self._path.with_suffix(".bad"), data)
            self._unsaved = bool(self.defects)
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
    if len(body) > MAX_FRAME_BYTES:
        raise InputError(
            "respond.lease_too_long",
            f"A lease of {len(body)} bytes is longer than the book's {MAX_FRAME_BYTES}.",
            "Shorten what its executor writes into the plan.",
        )
    return _HEADER.pack(_MARK, len(body), zlib.crc32(body)) + body


def _records(data: bytes) -> Iterator[tuple[int, int, Lease | Outcome | None]]:
    """Give start, end and record of each frame whose CRC holds; None for one not understood.

    Between them lies what is damaged: from there on every mark is tried, while the work allows.
    """
    at = searched = 0
    while (at := data.find(_MARK, at)) >= 0 and searched <= _MAX_SEARCHED_BYTES:
        end = _frame_end(data, at)
        body = memoryview(data)[at + _HEADER.size : end]
        if end and zlib.crc32(body) == _HEADER.unpack_from(data, at)[2]:
            yield at, end, _record(bytes(body))
            at = end
        else:
            searched += len(body)
            at += 1


def _frame_end(data: bytes, at: int) -> int:
    """Say where the frame at a mark would end, 0 when it cannot be one."""
    if at + _HEADER.size > len(data):
        return 0
    _, length, _ = _HEADER.unpack_from(data, at)
    end = at + _HEADER.size + int(length)
    return end if length <= MAX_FRAME_BYTES and end <= len(data) else 0


def _record(body: bytes) -> Lease | Outcome | None:
    try:
        record = decode(body)
    except ValueError:
        return None
    return record if isinstance(record, Lease | Outcome) else None


def _keep(path: Path, data: bytes) -> None:
    """Copy a damaged book; without room for that the leases still count."""
    with contextlib.suppress(OSError):
        copy = _private(path, os.O_TRUNC)
        try:
            _write_all(copy, data)
        finally:
            os.close(copy)


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
