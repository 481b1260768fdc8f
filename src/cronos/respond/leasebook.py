"""The enforcer's memory: an append-only file of leases and of their ends.

It holds a `Lease` each time one was granted, applied, renewed or begins to end, and the `Outcome`
that ended it, in the frames of `cronos.respond.bookframes`: sealed in ``leases.sealed``, or as
they are in ``leases`` where nothing seals. A torn tail is what a crash leaves: it is cut off.
Damage before a good frame, be it in a length, is stepped over and named in `defects`, and the
file as it was is kept as ``leases.bad``. One process at a time holds the book, by a lock on a file
beside it.

A book from before there was sealing moves once: it is read, written sealed and durably, and then
removed. From then on nothing unsealed is believed. A book that does not open with our key counts
as damaged: the enforcer starts without it, and says so.
"""

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final

import msgspec

from cronos.errors import CronosError, DeniedError, InputError
from cronos.ports import Sealer
from cronos.respond.bookframes import Frames, SealedFrames, UnsealedFrames, body_of
from cronos.respond.budgets import Deed, deed_of
from cronos.types import Action, Entity, Lease, Operation, Outcome

_MAX_PAST: Final = 50_000
_COMPACT_BYTES: Final = 4 << 20
_HARD_BOUND: Final = 4  # times that, when nobody found a quiet moment to tidy up
_NAMED_DEFECTS: Final = 20
# Each start seals under a key of its own, and to open one takes 2 ms: a book of many starts would
# keep the enforcer waiting.
_READ_FRAMES: Final = 64

Key = tuple[str, str]  # (action_id, incident_id): an effect ends when its last lease ends


def key_of(action: Action) -> Key:
    """Name the lease of an action."""
    return action.action_id, action.incident_id


class LeaseBook:
    """Leases by key, in memory and on disk.

    Args:
        folder: the enforcer's own state; made with mode 0700.
        sealer: what hides it; None, or one that says "unsealed", leaves it readable.
        purpose: which of the enforcer's books this is: none passes for another.

    Raises:
        DeniedError: another enforcer holds the book.
        InputError: the folder cannot be used.
    """

    def __init__(self, folder: Path, sealer: Sealer | None = None, purpose: str = "leases") -> None:
        self.leases: dict[Key, Lease] = {}
        self.defects: list[str] = []
        self._past: dict[Key, Lease] = {}  # stripped of plans: anchors and epochs only
        self._past_bodies: dict[Key, tuple[bytes, bytes]] = {}  # the same, as the file keeps it
        self._holders: dict[str, set[Key]] = {}
        self._anchors: dict[tuple[str, Entity], Lease] = {}
        self._epochs: dict[str, int] = {}
        self._grants: dict[tuple[str, int, Key], Deed] = {}  # also of leases granted anew since
        self._unsealed = folder / "leases"
        self._sealed = folder / "leases.sealed"
        self._sealing = (
            SealedFrames(sealer, purpose) if sealer is not None and sealer.seal_version else None
        )
        self._unsaved = False
        self._scattered = False
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = _locked(folder)
            self._frames, self._path = self._chosen()
            self._file = _private(self._path)
            _sync_folder(folder)  # or the name of a new book would not survive a power cut
            self._size = self._read()
        except OSError as error:
            raise InputError(
                "respond.book_unusable",
                f"The lease book in {folder} cannot be used: {error.strerror}.",
                "Give the enforcer a folder of its own that it can write, with --state.",
            ) from error
        self._compact_above = max(_COMPACT_BYTES, 2 * self._size)
        if self._sealing is not None and self._path == self._unsealed:
            self._migrate()

    def write(self, records: Sequence[Lease | Outcome], *, durable: bool) -> None:
        """Append records, all or none; with `durable` they survive a power cut on return.

        Raises:
            CronosError: the disk is full or broken, or nothing can be sealed; nothing was changed,
                in memory neither.
        """
        bodies = [body_of(record) for record in records]
        if self._unsaved or self._size + sum(map(len, bodies)) > _HARD_BOUND * self._compact_above:
            self._compact()
        place = self._frames.mark()
        try:
            data = self._frames.pack(bodies)
            _write_all(self._file, data)
            if durable:
                os.fdatasync(self._file)
        except OSError as error:
            # Half a frame would hide all that follows it.
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, self._size)
                self._frames.go_back(place)
            raise _full(self._path, error) from error
        except CronosError:
            self._frames.go_back(place)
            raise
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

    def granted_since(self, boot_id: str, boot_ns: int) -> list[Deed]:
        """Say for what leases were granted on this boot after `boot_ns`; ended ones count too."""
        return [
            deed for (boot, at, _), deed in self._grants.items() if boot == boot_id and at > boot_ns
        ]

    def tidy(self, before_boot_ns: int) -> None:
        """In a quiet moment: drop what ended and was granted before, and shorten a long file."""
        while len(self._grants) > _MAX_PAST:
            del self._grants[next(iter(self._grants))]
        for key in [key for key, it in self._past.items() if it.granted_boot_ns < before_boot_ns]:
            self._drop_past(key)
        if self._unsaved or self._scattered or self._size > self._compact_above:
            self._scattered = False
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
        self._past_bodies[key] = body_of(past), body_of(ended)
        if len(self._past) > _MAX_PAST:
            self._drop_past(next(iter(self._past)))

    def _hold(self, lease: Lease) -> None:
        action = lease.plan.action
        key = key_of(action)
        if self._past.pop(key, None) is not None:
            del self._past_bodies[key]
        self._grants[lease.boot_id, lease.granted_boot_ns, key] = deed_of(action)
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
        del self._past_bodies[key]
        named = (action.incident_id, action.target)
        first = self._anchors.get(named)
        if first is not None and key_of(first.plan.action) == key:
            del self._anchors[named]
        if action.action_id not in self._holders:
            self._epochs.pop(action.action_id, None)

    def _chosen(self) -> tuple[Frames, Path]:
        """Say which file is the book by now; whatever else lies there is not believed."""
        sealed, unsealed = self._sealed.exists(), self._unsealed.exists()
        if self._sealing is None:
            if sealed:
                self.defects.append(f"{self._sealed} is sealed and cannot be read without its key.")
                self._sealed.replace(self._sealed.with_suffix(".bad"))
            return UnsealedFrames(), self._unsealed
        if sealed and unsealed:
            # What a crash left right after the book had moved, or somebody put there.
            self.defects.append(f"{self._unsealed} is not sealed; it was not read, and removed.")
            self._unsealed.unlink()
        if unsealed and not sealed:
            return UnsealedFrames(), self._unsealed
        return self._sealing, self._sealed

    def _migrate(self) -> None:
        """Seal a book from before; without room or a key it goes on as it was, and says so."""
        self._compact()
        if self._path == self._unsealed:
            self._unsaved = True  # tried again with every record
            self.defects.append(f"{self._path} could not be sealed yet, and is still readable.")

    def _read(self) -> int:
        data = self._path.read_bytes()
        end, damage = 0, list[str]()
        frames = self._frames.read(data)
        for frame in frames:
            if frame.start > end:
                damage.append(f"{self._path}: bytes {end} to {frame.start} are damaged.")
            if frame.remark:
                damage.append(f"{self._path}: {frame.remark}.")
            for record in frame.records:
                self._take(record)
            end = frame.end
        self._scattered = self._frames is self._sealing and len(frames) > _READ_FRAMES
        self.defects += damage[:_NAMED_DEFECTS]
        if len(damage) > _NAMED_DEFECTS:
            self.defects.append(f"{self._path}: so in {len(damage) - _NAMED_DEFECTS} more places.")
        # A copy first: what is cut off or left out from now on may still be of use to a person.
        if damage or end < len(data):
            self._keep(data)
            self._unsaved = bool(damage)
        if end < len(data):
            self.defects.append(f"{self._path}: {len(data) - end} torn bytes were cut off.")
            os.ftruncate(self._file, end)
        return end

    def _keep(self, data: bytes) -> None:
        """Copy a damaged book as it lies; without room for that the leases still count."""
        with contextlib.suppress(OSError):
            copy = _private(self._unsealed.with_suffix(".bad"), os.O_TRUNC)
            try:
                _write_all(copy, data)
            finally:
                os.close(copy)

    def _compact(self) -> None:
        """Write what still matters to a new file; when that fails the old one stays in use.

        Where this node seals, the new file is sealed, whatever the old one was.
        """
        beside = self._unsealed.with_suffix(".new")
        frames = self._sealing or self._frames
        path = self._sealed if self._sealing else self._path
        place = frames.mark()
        try:
            data = frames.begin() + frames.pack(self._essence())
            fresh = _private(beside, os.O_TRUNC)
            try:
                _write_all(fresh, data)
                os.fsync(fresh)
                beside.replace(path)
                _sync_folder(path.parent)
            except OSError:
                os.close(fresh)
                raise
        except (OSError, CronosError):
            frames.go_back(place)
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)
            self._compact_above += _COMPACT_BYTES
            return
        os.close(self._file)
        self._file, self._size, self._unsaved = fresh, len(data), False
        self._compact_above = max(_COMPACT_BYTES, 2 * len(data))
        if path != self._path:
            self._moved(path, frames)

    def _moved(self, path: Path, frames: Frames) -> None:
        """Go on in the sealed book, and remove what lay readable."""
        self._path, self._frames = path, frames
        for old in (self._unsealed, self._unsealed.with_suffix(".bad")):
            with contextlib.suppress(OSError):
                old.unlink(missing_ok=True)

    def _essence(self) -> Iterable[bytes]:
        for past, ended in self._past_bodies.values():
            yield past
            yield ended
        yield from (body_of(lease) for lease in self.leases.values())


def _stripped(lease: Lease) -> Lease:
    plan = msgspec.structs.replace(lease.plan, recipe=b"", summary="", undo_summary="")
    return msgspec.structs.replace(lease, plan=plan)


def _private(path: Path, flags: int = 0) -> int:
    flags |= os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(path, flags, 0o600)


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
