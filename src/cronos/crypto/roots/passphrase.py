"""A passphrase as the root key, stretched by Argon2id.

The passphrase comes from a file that only this user may read, from a systemd credential, or from
a person who is asked. Neither it nor the key is kept: each wrap and unwrap stretches it again.

Wrapped: ``version u8 = 1 | memory KiB u32 | passes u8 | lanes u8 | salt 16 | nonce 12 | secret |
tag 16``; all before the nonce is authenticated, with the context. What a file asks for is bounded
before a byte of memory is taken.

Source: RFC 9106 (Argon2id; 64 MiB and 3 passes are its second recommendation).
"""

import secrets
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, ClassVar, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id
from msgspec import Meta

from cronos.config import Section
from cronos.crypto.durable import read_secret
from cronos.crypto.refusal import refused
from cronos.errors import DeniedError, InputError
from cronos.types import Manifest

MIN_PASSPHRASE: Final = 8
_MAX_PASSPHRASE_BYTES: Final = 4096
_MIN_MEMORY_KIB: Final = 1 << 10
_MAX_MEMORY_KIB: Final = 1 << 20
# Memory times passes: 1 GiB sixteen times, about ten seconds.
_MAX_WORK_KIB: Final = 16 << 20
_HEADER: Final = struct.Struct(">BIBB16s")
_NONCE_BYTES: Final = 12


class Stretch(msgspec.Struct, frozen=True):
    """The cost of one guess: memory in KiB, passes over it, lanes at once."""

    memory_kib: int
    passes: int
    lanes: int

    def bounded(self) -> bool:
        """Say whether we would pay it."""
        lanes_fit = 1 <= self.lanes <= 16 and self.memory_kib >= 8 * self.lanes
        memory_fits = _MIN_MEMORY_KIB <= self.memory_kib <= _MAX_MEMORY_KIB
        return lanes_fit and memory_fits and 0 < self.passes * self.memory_kib <= _MAX_WORK_KIB


class PassphraseConfig(Section, frozen=True):
    """Where the passphrase comes from, and what guessing it costs.

    Attributes:
        passphrase_file: a file of mode 0600; its first line is the passphrase.
        credential: the name of a systemd credential (``LoadCredential=``), where no file is named.
    """

    passphrase_file: str = ""
    credential: Annotated[str, Meta(pattern=r"^[A-Za-z0-9_.-]{0,255}$")] = ""
    memory_kib: Annotated[int, Meta(ge=_MIN_MEMORY_KIB, le=_MAX_MEMORY_KIB)] = 64 << 10
    passes: Annotated[int, Meta(ge=1, le=16)] = 3
    lanes: Annotated[int, Meta(ge=1, le=16)] = 4


class PassphraseRoot:
    """Locks a secret with a passphrase.

    Args:
        config: see `PassphraseConfig`.
        credentials: the folder of systemd credentials (``$CREDENTIALS_DIRECTORY``), if any.
        ask: asks a person, where the configuration names neither file nor credential.
    """

    manifest: ClassVar[Manifest] = Manifest(
        "passphrase",
        "Locks a keystore with a passphrase, stretched by Argon2id.",
        capabilities=("wrap", "unwrap"),
    )
    config_type: ClassVar[type[Section]] = PassphraseConfig
    protection: str = "the passphrase"

    def __init__(
        self,
        config: PassphraseConfig,
        credentials: Path | None = None,
        ask: Callable[[], str] | None = None,
    ) -> None:
        self._config = config
        self._credentials = credentials
        self._ask = ask

    def wrap(self, secret: bytes, context: bytes) -> bytes:
        """Encrypt a secret under the passphrase and a new salt.

        Raises:
            InputError: the passphrase is empty, short or not to be had.
        """
        stretch = Stretch(self._config.memory_kib, self._config.passes, self._config.lanes)
        salt, nonce = secrets.token_bytes(16), secrets.token_bytes(_NONCE_BYTES)
        header = _HEADER.pack(1, stretch.memory_kib, stretch.passes, stretch.lanes, salt)
        cipher = self._cipher(stretch, salt)
        return header + nonce + cipher.encrypt(nonce, secret, header + context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Give the secret back.

        Raises:
            DeniedError: another passphrase, another context, changed bytes, or costs beyond
                1 GiB or about ten seconds; or this process has not the memory it takes.
            InputError: the passphrase is not to be had.
        """
        if len(wrapped) < _HEADER.size + _NONCE_BYTES:
            raise refused()
        version, memory, passes, lanes, salt = _HEADER.unpack_from(wrapped)
        stretch = Stretch(memory, passes, lanes)
        if version != 1 or not stretch.bounded():
            raise refused()
        header, rest = wrapped[: _HEADER.size], wrapped[_HEADER.size :]
        cipher = self._cipher(stretch, salt)
        try:
            return cipher.decrypt(rest[:_NONCE_BYTES], rest[_NONCE_BYTES:], header + context)
        except (InvalidTag, ValueError):
            raise refused() from None

    def _cipher(self, stretch: Stretch, salt: bytes) -> AESGCM:
        argon = Argon2id(
            salt=salt,
            length=32,
            iterations=stretch.passes,
            lanes=stretch.lanes,
            memory_cost=stretch.memory_kib,
        )
        # Neither passphrase nor key is a local variable of a frame that can fail later.
        try:
            return AESGCM(argon.derive(self._passphrase()))
        except MemoryError:
            raise _no_memory(stretch) from None

    def _passphrase(self) -> bytes:
        path = self._path()
        if path is not None:
            # systemd names the reader of a credential in an access list, whose mask shows as the
            # group's bits: 0440, in a folder that nobody else may enter.
            forbidden = 0o077 if self._config.passphrase_file else 0o037
            found = read_secret(path, _MAX_PASSPHRASE_BYTES, forbidden=forbidden)
            if found is None:
                raise InputError(
                    "crypto.no_passphrase",
                    f"The passphrase file {path} is not there.",
                    "Write the passphrase into its first line, and chmod 600 it.",
                )
            return _checked(found.partition(b"\n")[0].rstrip(b"\r"))
        if self._ask is None:
            raise _no_source()
        return _checked(self._ask().encode())

    def _path(self) -> Path | None:
        if self._config.passphrase_file:
            return Path(self._config.passphrase_file)
        if not self._config.credential:
            return None
        if self._credentials is None or self._config.credential in (".", ".."):
            raise _no_source()
        return self._credentials / self._config.credential


def _checked(passphrase: bytes) -> bytes:
    try:
        length = len(passphrase.decode())
    except UnicodeDecodeError:
        length = len(passphrase)
    if length < MIN_PASSPHRASE:
        raise InputError(
            "crypto.short_passphrase",
            f"The passphrase is empty or shorter than {MIN_PASSPHRASE} characters.",
            "Choose a longer one; five random words are a good one.",
        )
    return passphrase


def _no_memory(stretch: Stretch) -> DeniedError:
    return DeniedError(
        "crypto.no_memory",
        f"The passphrase needs {stretch.memory_kib >> 10} MiB of memory for a moment; this process"
        " does not get it.",
        "Make room or raise the limit; `memory_kib` under [plugin.passphrase] is for what is locked"
        " from now on.",
    )


def _no_source() -> InputError:
    return InputError(
        "crypto.no_passphrase",
        "No passphrase was given for the keystore.",
        "Name its file as `passphrase_file`, or a systemd credential as `credential`, under"
        " [plugin.passphrase].",
    )
