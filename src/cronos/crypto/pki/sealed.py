"""Files of the PKI: sealed under a root key where they hold secrets, and always replaced whole.

A sealed file is ``CRPK | ver u8 | wrapped length u16 | wrapped key | nonce 12 | ciphertext | tag``:
AES-256-GCM under a fresh key, which the root key (a passphrase, the machine's file, a token, a
service) wraps. Everything before the ciphertext, and what the file is for, is authenticated.
"""

import contextlib
import fcntl
import os
import secrets
import time
from collections.abc import Generator
from pathlib import Path
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cronos.crypto.durable import read_bounded, sync_folder, unwritable, write_synced
from cronos.crypto.refusal import refused
from cronos.errors import DeniedError, InputError
from cronos.ports import RootKey

_MAGIC: Final = b"CRPK\x01"
_NONCE_BYTES: Final = 12
_HEAD: Final = len(_MAGIC) + 2
MAX_SEALED_BYTES: Final = 64 << 20
_LOCK_TRIES: Final = 100
_LOCK_PAUSE_S: Final = 0.1


def seal(root: RootKey, plain: bytes, purpose: bytes) -> bytes:
    """Seal `plain` under `root` for one purpose."""
    key = secrets.token_bytes(32)
    nonce = secrets.token_bytes(_NONCE_BYTES)
    wrapped = root.wrap(key, b"cronos pki v1\0" + purpose)
    head = _MAGIC + len(wrapped).to_bytes(2, "big") + wrapped + nonce
    return head + AESGCM(key).encrypt(nonce, plain, head + purpose)


def unseal(root: RootKey, sealed: bytes, purpose: bytes) -> bytes:
    """Open what `seal` gave.

    Raises:
        DeniedError: another root key, another purpose, or changed bytes.
    """
    length = int.from_bytes(sealed[len(_MAGIC) : _HEAD], "big")
    end = _HEAD + length + _NONCE_BYTES
    if not sealed.startswith(_MAGIC) or len(sealed) < end:
        raise refused()
    key = root.unwrap(sealed[_HEAD : _HEAD + length], b"cronos pki v1\0" + purpose)
    try:
        nonce = sealed[end - _NONCE_BYTES : end]
        return AESGCM(key).decrypt(nonce, sealed[end:], sealed[:end] + purpose)
    except (InvalidTag, ValueError):
        raise refused() from None


def read(path: Path, what: str) -> bytes:
    """Read a file of the PKI.

    Raises:
        InputError: there is none.
        DeniedError: it cannot be read, or is no regular file.
    """
    data = read_bounded(path, MAX_SEALED_BYTES)
    if data is None:
        raise InputError(
            "crypto.missing_file",
            f"There is no {what} at {path}.",
            "Check the folder; `cronos pki restore` brings back a backup.",
        )
    return data


def open_file(root: RootKey, path: Path, what: str, purpose: bytes) -> bytes:
    """Read and open a sealed file; where its root key was just changed, the copy made for that.

    Raises:
        InputError: there is none.
        DeniedError: another root key, another purpose, or changed bytes.
    """
    data = read(path, what)
    try:
        return unseal(root, data, purpose)
    except DeniedError:
        carried = read_bounded(_carried(path), MAX_SEALED_BYTES)
        if carried is None:
            raise
        return unseal(root, carried, purpose)


def carry(path: Path, old: RootKey, new: RootKey, purpose: bytes) -> None:
    """Lay a copy for another root key beside a sealed file: with either key one of them opens."""
    replace(_carried(path), seal(new, open_file(old, path, "sealed file", purpose), purpose))


def settle(path: Path) -> None:
    """Let the copy that `carry` made take the file's place, if there is one."""
    if _carried(path).exists():
        _carried(path).replace(path)
        sync_folder(path.parent)


def _carried(path: Path) -> Path:
    return path.with_name(f"{path.name}.carried")


def replace(path: Path, data: bytes) -> None:
    """Put `data` under a name, whole and durable, or leave what is there.

    Raises:
        DeniedError: the disk is full or read-only; nothing was changed.
    """
    new = path.with_name(f".{path.name}.new")
    try:
        write_synced(new, data)
        new.replace(path)
        sync_folder(path.parent)
    except OSError as error:
        raise unwritable(path, error) from error


@contextlib.contextmanager
def locked(folder: Path) -> Generator[None]:
    """Hold the folder: one command changes it at a time, the others wait up to ten seconds.

    Raises:
        DeniedError: it was held all that time, or cannot be written.
    """
    try:
        handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise unwritable(folder, error) from error
    try:
        for _ in range(_LOCK_TRIES):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(_LOCK_PAUSE_S)
        else:
            raise DeniedError(
                "crypto.pki_in_use",
                f"Another command has been changing {folder} for ten seconds.",
                "Wait for it to end, then try again.",
            )
        yield
    finally:
        os.close(handle)
