"""AES-256-GCM with the nonce in your hands.

Warning: two messages under one key and nonce give away both, and the key of every later tag. Count
nonces as `records` does, with one writer to a key; draw them only where nothing can be counted, and
then never more than 2^32 times. GCM commits to no key: a message can be made that opens under two
(`epoch` adds the commitment). One message holds less than 2 GiB.

Source: NIST SP 800-38D, 5.2.1.1 and 8.3.
"""

import os
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cronos.crypto.refusal import refused
from cronos.errors import CronosError, InputError

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
MAX_RANDOM_NONCES: Final = 2**32


class Aes256Gcm:
    """A cipher under one key; make it once, for a new one costs more than a message.

    Raises:
        InputError: `key` is not 32 bytes.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) != KEY_BYTES:
            raise InputError(
                "crypto.bad_key",
                f"A key of AES-256-GCM has {KEY_BYTES} bytes; this one has {len(key)}.",
                "Derive it with `kdf.derive` or `kdf.expand`.",
            )
        self._cipher = AESGCM(key)

    def seal(self, nonce: bytes, plain: bytes, context: bytes = b"") -> bytes:
        """Seal `plain` and bind it to `context`; `nonce` must be new under this key.

        Raises:
            InputError: `nonce` is not 12 bytes: any other length is hashed, and may collide.
        """
        if len(nonce) != NONCE_BYTES:
            raise InputError(
                "crypto.bad_nonce",
                f"A nonce has {NONCE_BYTES} bytes; this one has {len(nonce)}.",
                "Count nonces in 12 bytes, under one writer.",
            )
        return self._cipher.encrypt(nonce, plain, context)

    def open(self, nonce: bytes, sealed: bytes, context: bytes = b"") -> bytes:
        """Open what `seal` gave.

        Raises:
            DeniedError: another key, nonce or context, or changed bytes.
        """
        if len(nonce) != NONCE_BYTES:
            raise refused()
        try:
            return self._cipher.decrypt(nonce, sealed, context)
        except (InvalidTag, ValueError):
            raise refused() from None


class RandomNonceAes256Gcm:
    """The same with a drawn nonce in front of each message: 28 bytes longer than the plain text.

    For keys that seal seldom and have no counter that survives, such as a keystore's own. The
    limit holds for one object; a key that many objects use must be changed long before.
    """

    def __init__(self, key: bytes) -> None:
        self._cipher = Aes256Gcm(key)
        self.sealed = 0

    def seal(self, plain: bytes, context: bytes = b"") -> bytes:
        """Seal under a nonce drawn for this message.

        Raises:
            CronosError: the key has sealed 2^32 messages.
        """
        if self.sealed >= MAX_RANDOM_NONCES:
            raise CronosError(
                "crypto.key_spent",
                "This key has sealed as many messages as drawn nonces allow.",
                "Use a new key.",
            )
        self.sealed += 1
        nonce = os.urandom(NONCE_BYTES)
        return nonce + self._cipher.seal(nonce, plain, context)

    def open(self, sealed: bytes, context: bytes = b"") -> bytes:
        """Open what `seal` gave.

        Raises:
            DeniedError: another key or context, or changed bytes.
        """
        return self._cipher.open(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], context)
