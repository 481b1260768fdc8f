"""The folder of a keystore: two equal copies of one file, a key log, a lock; see `KeyFolder`.

A change is made in this order, and may end anywhere (kill -9, a full disk, a power cut):

1. ``keystore.new`` and ``keystore.bak.new`` are written whole and synced;
2. its events are appended to ``events`` and synced;
3. both take their names, and what lay under the names is overwritten.

Before 2 nothing was changed. From 2 on the change is made: whoever opens the folder finishes it.
So a folder opens at its newest copy whose events are all in the log.
"""

import contextlib
import fcntl
import hmac
import os
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from cronos.crypto import durable, keyfile, keylog, master
from cronos.crypto.keyfile import KeystoreImage, Sheet
from cronos.crypto.keylog import KeyEvent, LogRead
from cronos.crypto.master import Master
from cronos.crypto.refusal import REFUSED, refused
from cronos.errors import DeniedError, InputError
from cronos.ports import RootKey

KEYSTORE: Final = "keystore"
BACKUP: Final = "keystore.bak"
EVENTS: Final = "events"
LOCK: Final = "lock"
_NEW: Final = ".new"
_COPIES: Final = (KEYSTORE, BACKUP, KEYSTORE + _NEW)


class Found(msgspec.Struct, frozen=True):
    """What a folder holds for who has the root key.

    Attributes:
        log: None where the log does not lead to the image: it was cut or changed.
        data: the bytes of the image's file.
        settled: whether both copies are this image and nothing is half done.
        unfinished: whether a change was cut off while its events were being written.
    """

    image: KeystoreImage
    master: Master
    log: LogRead | None
    data: bytes
    settled: bool
    unfinished: bool = False


class KeyFolder:
    """A keystore's folder, held by one process: the image in force, and how it is changed.

    Args:
        folder: made with mode 0700 if need be; one without a keystore gets a new one.
        root: locks the master key.
        now_ns: Unix time, for a new keystore.

    Raises:
        InputError: the keystore is damaged beyond its copies, newer than this Cronos, gone, or
            has another kind of root key.
        DeniedError: another process holds it, the root key is another one, or the disk is full.
    """

    def __init__(self, folder: Path, root: RootKey, now_ns: int) -> None:
        self._folder = folder
        self._lock = _locked(folder)
        try:
            found = find(folder, root) or self._founded(root, now_ns)
        except BaseException:
            os.close(self._lock)
            raise
        self.image, self.master = found.image, found.master
        self.lost_log = found.log is None or found.log.broken > 0
        self._settled = found.settled
        self._data = found.data
        self._unfinished = found.unfinished
        self._log_end = 0
        self.ahead: Sequence[KeyEvent] = ()
        if found.log:
            self._take_up(found.log, found.unfinished)

    def commit(self, image: KeystoreImage, events: Sequence[KeyEvent]) -> None:
        """Put an image in force, durably, as the next generation; its events come first.

        Raises:
            InputError: it is more than a keystore holds.
            DeniedError: the disk is full or read-only, or the lock was taken away; nothing was
                changed.
        """
        written, head = keylog.lines(events, self.image.log_head, self.master.event_mac)
        new = msgspec.structs.replace(
            image,
            generation=self.image.generation + 1,
            log_size=self.image.log_size + len(events),
            log_head=head,
        )
        self.settle()
        self._write(new, written)
        self.ahead, self.lost_log = (), False
        self._log_end += len(written)

    def settle(self) -> None:
        """Finish what a crash left half done: both copies become the one that was found.

        A copy that was found under its passing name takes its own without a byte being written,
        so that it cannot be lost to a full disk.

        Raises:
            DeniedError: the disk is full or read-only; what was found is still there.
        """
        if self._settled:
            return
        try:
            if self._unfinished:
                # The log first: without the new file this would look like a rollback.
                keylog.append(self._path(EVENTS), b"", self._log_end)
            for path in (self._path(KEYSTORE), self._path(BACKUP)):
                self._settle(path)
            durable.sync_folder(self._folder)
        except OSError as error:
            raise durable.unwritable(self._folder, error) from error
        self._settled, self._unfinished = True, False

    def _settle(self, path: Path) -> None:
        new = path.with_name(path.name + _NEW)
        if _bytes_of(path) == self._data:
            new.unlink(missing_ok=True)
            return
        if _bytes_of(new) != self._data:
            durable.write_synced(new, self._data)
        with durable.blotted_after(path):
            new.replace(path)
            durable.sync_folder(self._folder)

    def begin_log(self) -> None:
        """Lay a log that does not hold aside, for people to look at, and begin a new one."""
        broken = self._path(EVENTS)
        aside = broken.with_name(f"{EVENTS}.broken-{self.image.generation}")
        try:
            if broken.exists() and not aside.exists():
                broken.rename(aside)
        except OSError as error:
            raise durable.unwritable(broken, error) from error
        self.image = msgspec.structs.replace(self.image, log_size=0, log_head=keylog.NO_HEAD)
        self._log_end = 0

    def close(self) -> None:
        """Let go of the folder; more than once is harmless."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def _take_up(self, log: LogRead, unfinished: bool) -> None:
        """Go on where the log ends; what it tells beyond the image is `ahead`."""
        at = self.image.log_size
        if unfinished or at == len(log.events):
            self._log_end = log.ends[at]
            return
        self.ahead = log.events[at:]
        self._log_end = log.ends[-1]
        self.image = msgspec.structs.replace(
            self.image, log_size=len(log.events), log_head=log.heads[-1]
        )

    def _founded(self, root: RootKey, now_ns: int) -> Found:
        keystore_id = secrets.token_bytes(16)
        key = master.new_master(keystore_id)
        self.image = KeystoreImage(
            keystore_id=keystore_id,
            generation=1,
            root=root.manifest.name,
            wrapped=key.wrapped_by(root.wrap),
            time_ns=now_ns,
            log_size=0,
            log_head=keylog.NO_HEAD,
            versions=(),
            keys=(),
        )
        self.master, self._log_end = key, 0
        self._write(self.image, b"")
        log = keylog.read(self._path(EVENTS), key.event_mac)
        return Found(self.image, key, log, self._data, self._settled)

    def _write(self, image: KeystoreImage, events: bytes) -> None:
        self._still_held()
        covered = keyfile.write(image)
        data = covered + self.master.file_mac(covered)
        # Nothing takes a keystore's name that could not be read again.
        if len(data) > keyfile.MAX_FILE_BYTES:
            raise _too_large(len(data))
        keyfile.read(data, "The new generation of the keystore")
        copies = [self._path(KEYSTORE), self._path(BACKUP)]
        with durable.blotted_after(*copies):
            self._prepare(copies, data, events)
            self.image, self._data, self._settled = image, data, False
            # From here on the change is made. What fails now is done by the next `settle`.
            with contextlib.suppress(OSError):
                for path in copies:
                    path.with_name(path.name + _NEW).replace(path)
                durable.sync_folder(self._folder)
                self._settled = True

    def _still_held(self) -> None:
        """Refuse to change a keystore whose lock file another process may have made anew."""
        if self._lock < 0:
            raise _closed(self._folder)
        try:
            held = os.path.samestat(os.fstat(self._lock), os.lstat(self._path(LOCK)))
        except OSError:
            held = False
        if not held:
            raise _lock_gone(self._folder)

    def _prepare(self, copies: Sequence[Path], data: bytes, events: bytes) -> None:
        new = [path.with_name(path.name + _NEW) for path in copies]
        try:
            for path in new:
                durable.write_synced(path, data)
            durable.sync_folder(self._folder)
            if events:
                keylog.append(self._path(EVENTS), events, self._log_end)
                durable.sync_folder(self._folder)
        except OSError as error:
            keylog.cut(self._path(EVENTS), self._log_end)
            for path in new:
                with contextlib.suppress(OSError):
                    path.unlink()
            raise durable.unwritable(self._folder, error) from error

    def _path(self, name: str) -> Path:
        return self._folder / name


def find(folder: Path, root: RootKey) -> Found | None:
    """Find the image in force, changing nothing; None where there was never a keystore.

    Raises:
        InputError: damaged beyond its copies, newer, gone, or locked by another kind of root.
        DeniedError: the root key is another one.
        UnreachableError: the root key does not answer.
    """
    sheets = _sheets(folder)
    if not sheets:
        return None
    _right_root(sheets, root)
    keys: dict[bytes, Master | None] = {}
    good: list[tuple[str, Sheet, Master]] = []
    for name, sheet in sheets.items():
        key = _authentic(sheet, root, keys)
        if key is not None:
            good.append((name, sheet, key))
    if not good:
        raise refused()
    good.sort(key=lambda one: one[1].image.generation, reverse=True)
    found = _newest(folder, good, sheets)
    _none_is_newer(found.image.generation, sheets, root)
    return found


def copies_of(folder: Path) -> KeystoreImage | None:
    """Give what the folder's file says, believed by nobody: nothing vouches for it here.

    Raises:
        InputError: it is damaged beyond its copies, newer, or gone.
    """
    sheets = _sheets(folder)
    return next(iter(sheets.values())).image if sheets else None


def _newest(
    folder: Path, good: Sequence[tuple[str, Sheet, Master]], sheets: dict[str, Sheet]
) -> Found:
    """Give the newest copy whose events are in the log, or the newest that has its name.

    A copy gets its name after its events are in the log. So where the newest of those is not led
    to, the log was cut, and an older copy that it still leads to is not what is in force.
    """
    for name, sheet, key in good:
        log = keylog.read(folder / EVENTS, key.event_mac)
        if log.holds(sheet.image.log_size, sheet.image.log_head):
            pending = sheets.get(KEYSTORE + _NEW)
            vouched = any(name == KEYSTORE + _NEW for name, _, _ in good)
            cut_off = pending is not None and _cut_off(sheet, pending, log, vouched=vouched)
            return _found(folder, sheet, key, log, sheets, unfinished=cut_off)
        if not name.endswith(_NEW):
            break
    named = [one for one in good if not one[0].endswith(_NEW)] or good
    _, sheet, key = named[0]
    return _found(folder, sheet, key, None, sheets, unfinished=False)


def _found(
    folder: Path,
    sheet: Sheet,
    key: Master,
    log: LogRead | None,
    sheets: dict[str, Sheet],
    *,
    unfinished: bool,
) -> Found:
    data = sheet.covered + sheet.mac
    return Found(sheet.image, key, log, data, _settled(folder, sheet, sheets), unfinished)


def _cut_off(sheet: Sheet, pending: Sheet, log: LogRead, *, vouched: bool) -> bool:
    """Say whether what the log tells beyond a copy is a change that was cut off.

    Its new file is there, but cannot be taken: some of its events were not written any more; or
    (and then our key does not vouch for it) it needs the root key that was about to be changed
    to. Anything else beyond the copy is a rollback, and is reported.
    """
    next_one = sheet.image.generation + 1
    beyond = log.events[sheet.image.log_size :]
    follows = pending.image.generation == next_one
    if not follows or any(event.generation != next_one for event in beyond):
        return False
    if vouched:
        return pending.image.log_size > len(log.events)
    return all(event.what == "protected" for event in beyond)


def _settled(folder: Path, sheet: Sheet, sheets: dict[str, Sheet]) -> bool:
    new = (folder / (name + _NEW) for name in (KEYSTORE, BACKUP))
    both = (sheets.get(name) for name in (KEYSTORE, BACKUP))
    return all(one == sheet for one in both) and not any(path.exists() for path in new)


def _sheets(folder: Path) -> dict[str, Sheet]:
    """Read the copies that are whole; that all are damaged, or gone, is an error."""
    sheets: dict[str, Sheet] = {}
    damage: InputError | None = None
    for name in _COPIES:
        data = durable.read_bounded(folder / name, keyfile.MAX_FILE_BYTES)
        if data is None:
            continue
        try:
            sheets[name] = keyfile.read(data, str(folder / name))
        except InputError as error:
            if error.code == "crypto.keystore_newer":
                raise
            # Half a new file is what a crash leaves behind before anything was changed.
            damage = damage if damage or name.endswith(_NEW) else error
    if damage and not sheets:
        raise damage
    if not sheets and durable.read_bounded(folder / EVENTS, keylog.MAX_LOG_BYTES):
        raise InputError(
            "crypto.keystore_missing",
            f"{folder} has a key log, but its keystore is gone.",
            "Restore it from a backup; to begin anew, move the folder away first.",
        )
    return sheets


def _right_root(sheets: dict[str, Sheet], root: RootKey) -> None:
    found = {sheet.image.root for sheet in sheets.values()}
    if root.manifest.name not in found:
        raise _root_differs(min(found), root)


def _none_is_newer(generation: int, sheets: dict[str, Sheet], root: RootKey) -> None:
    """Refuse to go back to an older copy because the newer one needs another root key.

    What was half done when the root key was changed must not bring the old one back.
    """
    for name in (KEYSTORE, BACKUP):
        image = sheets[name].image if name in sheets else None
        if image is None or image.generation <= generation:
            continue
        if image.root != root.manifest.name:
            raise _root_differs(image.root, root)
        raise refused()


def _root_differs(kind: str, root: RootKey) -> InputError:
    return InputError(
        "crypto.root_differs",
        f"The keystore is locked by `{kind}`, not by `{root.manifest.name}`.",
        f'Set root = "{kind}" under [plugin.keystore].',
    )


def _authentic(sheet: Sheet, root: RootKey, keys: dict[bytes, Master | None]) -> Master | None:
    """Give the master key that vouches for a copy, asking the root once for each wrapped key."""
    image = sheet.image
    if image.root != root.manifest.name:
        return None
    if image.wrapped not in keys:
        try:
            keys[image.wrapped] = master.unlocked(image.keystore_id, root.unwrap, image.wrapped)
        except DeniedError as error:
            if error.code != REFUSED:
                raise
            keys[image.wrapped] = None
    key = keys[image.wrapped]
    if key is None or not hmac.compare_digest(key.file_mac(sheet.covered), sheet.mac):
        return None
    return key


def _closed(folder: Path) -> DeniedError:
    return DeniedError(
        "crypto.keystore_closed",
        f"The keystore {folder} was closed; nothing in it can be changed any more.",
        "Open it again.",
    )


def _too_large(size: int) -> InputError:
    return InputError(
        "crypto.keystore_full",
        f"The keystore would have {size} bytes, more than it may; nothing was changed.",
        "Use fewer keys, or fewer contexts for each.",
    )


def _lock_gone(folder: Path) -> DeniedError:
    return DeniedError(
        "crypto.keystore_lock_gone",
        f"The lock of the keystore {folder} was removed or replaced; nothing was changed.",
        "Stop every Cronos that uses this keystore, and start again; never remove the lock.",
    )


def _bytes_of(path: Path) -> bytes | None:
    return durable.read_bounded(path, keyfile.MAX_FILE_BYTES)


def _locked(folder: Path) -> int:
    durable.private_folder(folder)
    try:
        handle = os.open(
            folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
        )
    except OSError as error:
        raise durable.unwritable(folder, error) from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        raise DeniedError(
            "crypto.keystore_in_use",
            f"Another Cronos process holds the keystore {folder}.",
            "Stop it first; while a node runs, its key agent is the one who holds its keys.",
        ) from None
    except OSError as error:  # a file system without locks
        os.close(handle)
        raise durable.unwritable(folder / LOCK, error) from error
    return handle
