"""Backup of an authority: one sealed file with its whole folder, the root's keys if they lie there.

The registry is copied while nobody can write to it. Restoring writes into an empty folder only,
and the file that says "complete" last.
"""

import contextlib
from pathlib import Path, PurePosixPath
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from cronos.crypto.durable import private_folder
from cronos.crypto.pki import sealed
from cronos.crypto.pki.pemfolder import DATA
from cronos.crypto.pki.registry import Registry
from cronos.crypto.pki.trust import Trust, unpack_trust
from cronos.crypto.refusal import refused
from cronos.errors import InputError
from cronos.ports import RootKey

_PURPOSE: Final = b"backup"
_MAX_FILES: Final = 1_000
_LAST: Final = "trust"
_SKIPPED: Final = frozenset({"lock", "registry.db-journal"})


class _File(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    path: Annotated[
        str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$")
    ]
    data: bytes


class _Backup(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    version: Annotated[int, Meta(ge=1, le=1)]
    made_ns: int
    files: Annotated[tuple[_File, ...], Meta(max_length=_MAX_FILES)]


_BACKUPS: Final = msgspec.msgpack.Decoder(_Backup)


def _elsewheres(path: Path, folder: Path) -> bool:
    """Say whether a file is none of the authority's: half written, or of a service's folder.

    Any other link is not passed over: a backup without what it leads to would not be whole.
    """
    hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
    return hidden or (path.is_symlink() and path.readlink() == Path(DATA, path.name))


def back_up(folder: Path, root: RootKey, made_ns: int) -> bytes:
    """Give all files of an authority, sealed under `root`.

    Raises:
        InputError: there is no authority in `folder`.
        DeniedError: a file cannot be read.
    """
    with sealed.locked(folder), Registry(folder / "registry.db").work():
        sealed.read(folder / _LAST, "finished authority")
        files = tuple(
            _File(path.relative_to(folder).as_posix(), sealed.read(path, "file"))
            for path in sorted(folder.rglob("*"))
            if path.is_file() and path.name not in _SKIPPED and not _elsewheres(path, folder)
        )
    return sealed.seal(root, msgspec.msgpack.encode(_Backup(1, made_ns, files)), _PURPOSE)


def restore(data: bytes, folder: Path, root: RootKey) -> Trust:
    """Write a backup into an empty folder.

    Raises:
        InputError: the folder is not empty.
        DeniedError: it does not open, or the disk is full; then nothing is left.
    """
    plain = sealed.unseal(root, data, _PURPOSE)
    try:
        backup = _BACKUPS.decode(plain)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise refused() from None
    trust = unpack_trust(next((one.data for one in backup.files if one.path == _LAST), b""))
    private_folder(folder)
    if any(folder.iterdir()):
        raise InputError(
            "crypto.authority_exists",
            f"The folder {folder} is not empty.",
            "Restore into an empty folder; compare, then take its place.",
        )
    written: list[Path] = []
    try:
        for one in sorted(backup.files, key=lambda one: one.path == _LAST):
            path = folder.joinpath(*PurePosixPath(one.path).parts)
            private_folder(path.parent)
            written.append(path)
            sealed.replace(path, one.data)
    except Exception:
        for path in written:
            with contextlib.suppress(OSError):
                path.unlink()
        raise
    return trust
