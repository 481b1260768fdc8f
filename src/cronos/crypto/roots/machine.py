"""A root key in a file of this machine: nothing to type and nothing to configure.

It keeps a copy or a backup of the state from being read by who has not got this file; where the
whole folder is copied, the file goes with it. A stolen disk is open, unless it is encrypted.

Wrapped: ``version u8 = 1 | nonce 12 | secret | tag 16``, AES-256-GCM, with the version and the
context as what is authenticated.
"""

import contextlib
import glob
import secrets
from pathlib import Path
from typing import ClassVar, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cronos.config import Section
from cronos.crypto.durable import (
    private_folder,
    read_secret,
    sync_folder,
    unwritable,
    write_synced,
)
from cronos.crypto.kdf import expand
from cronos.crypto.refusal import refused
from cronos.errors import DeniedError, InputError
from cronos.types import Manifest

FILE_NAME: Final = "machine.key"
_KEY_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_VERSION: Final = b"\x01"


class MachineConfig(Section, frozen=True):
    """`file`: where the key lies, from the keystore's folder; empty for ``machine.key`` in it."""

    file: str = ""


class MachineRoot:
    """32 random bytes in a file of mode 0600, made when the first secret is wrapped.

    Args:
        config: where the file lies.
        folder: of the keystore.
    """

    manifest: ClassVar[Manifest] = Manifest(
        "machine-key",
        "Locks a keystore with a key file of this machine.",
        capabilities=("wrap", "unwrap"),
    )
    config_type: ClassVar[type[Section]] = MachineConfig

    def __init__(self, config: MachineConfig, folder: Path) -> None:
        # Never the working folder: the next process would have another, and no key.
        self._path = folder / (config.file or FILE_NAME)
        self.protection = f"the file {self._path}"

    def wrap(self, secret: bytes, context: bytes) -> bytes:
        """Encrypt a secret; makes the key file where there is none."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        cipher = self._cipher(make=True)
        return _VERSION + nonce + cipher.encrypt(nonce, secret, _VERSION + context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Give the secret back.

        Raises:
            DeniedError: another key, another context, changed bytes, or a file that others read.
            InputError: the key file is gone.
        """
        cipher = self._cipher(make=False)
        nonce, sealed = wrapped[1 : 1 + _NONCE_BYTES], wrapped[1 + _NONCE_BYTES :]
        if wrapped[:1] != _VERSION:
            raise refused()
        try:
            return cipher.decrypt(nonce, sealed, _VERSION + context)
        except (InvalidTag, ValueError):
            raise refused() from None

    def _cipher(self, *, make: bool) -> AESGCM:
        # The bytes of the key are nobody's local variable while something can fail.
        return AESGCM(expand(self._key(make=make), "machine root"))

    def _key(self, *, make: bool) -> bytes:
        found = read_secret(self._path, _KEY_BYTES)
        if found is None and make:
            return self._made()
        if make:
            self._tidy()
        if found is None:
            raise InputError(
                "crypto.machine_key_missing",
                f"The machine key {self._path} is not there.",
                "Bring it back from a backup; without it this keystore cannot be opened.",
            )
        if len(found) != _KEY_BYTES:
            raise DeniedError(
                "crypto.machine_key_damaged",
                f"The machine key {self._path} is damaged: it has {len(found)} bytes, not 32.",
                "Bring it back from a backup; without it this keystore cannot be opened.",
            )
        return found

    def _made(self) -> bytes:
        # Two who make one at once: whoever links it first wins, and both read that.
        new = self._path.with_name(f"{self._path.name}.{secrets.token_hex(8)}.new")
        private_folder(self._path.parent)
        try:
            write_synced(new, secrets.token_bytes(_KEY_BYTES))
            with contextlib.suppress(FileExistsError, FileNotFoundError):
                self._path.hardlink_to(new)
            sync_folder(self._path.parent)
        except OSError as error:
            raise unwritable(self._path, error) from error
        finally:
            self._tidy()
        return self._key(make=False)

    def _tidy(self) -> None:
        """Remove what is left of a making, this one or one that was cut off."""
        with contextlib.suppress(OSError):
            for left in self._path.parent.glob(f"{glob.escape(self._path.name)}.*.new"):
                left.unlink(missing_ok=True)
