"""The master key of a keystore: it seals secrets, and vouches for the file and the key log."""

import hmac
import secrets
from collections.abc import Callable
from typing import Any, Final, NoReturn

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cronos.crypto.kdf import expand
from cronos.crypto.keyfile import KeyEntry
from cronos.crypto.refusal import refused

_NONCE_BYTES: Final = 12
_MASTER_BYTES: Final = 32
_CONTEXT: Final = b"cronos keystore master v1\0"


class Master:
    """32 bytes that only the root key gives back; shown, copied and pickled by nobody.

    Each use has a key of its own, expanded under a label; each secret again, under its kid, so
    that a nonce can never meet its twin.

    Args:
        keystore_id: binds it to one keystore.
        unlock: gives the key; called once.
    """

    __slots__ = ("_key", "keystore_id")

    def __init__(self, keystore_id: bytes, unlock: Callable[[], bytes]) -> None:
        self.keystore_id = keystore_id
        self._key = unlock()
        if len(self._key) != _MASTER_BYTES:
            raise refused()

    def wrapped_by(self, wrap: Callable[[bytes, bytes], bytes]) -> bytes:
        """Give the key under a root key."""
        return wrap(self._key, _CONTEXT + self.keystore_id)

    def seal(self, entry: KeyEntry, secret: bytes) -> bytes:
        """Seal the secret of an entry."""
        nonce = secrets.token_bytes(_NONCE_BYTES)
        return nonce + self._cipher(entry).encrypt(nonce, secret, self._bound(entry))

    def open(self, entry: KeyEntry) -> bytes:
        """Give the secret of an entry.

        Raises:
            DeniedError: it was sealed for another entry, or changed.
        """
        nonce, sealed = entry.sealed[:_NONCE_BYTES], entry.sealed[_NONCE_BYTES:]
        try:
            return self._cipher(entry).decrypt(nonce, sealed, self._bound(entry))
        except (InvalidTag, ValueError):
            raise refused() from None

    def file_mac(self, covered: bytes) -> bytes:
        """Vouch for the keystore's file."""
        return hmac.digest(self._derived("keystore file", 48), covered, "sha384")

    def event_mac(self, covered: bytes) -> bytes:
        """Vouch for an event of the key log."""
        return hmac.digest(self._derived("keystore event", 48), covered, "sha384")

    def admin_key(self) -> bytes:
        """Give the key that proves to the key agent that one can unlock this keystore."""
        return self._derived("keystore admin", 32)

    def _cipher(self, entry: KeyEntry) -> AESGCM:
        return AESGCM(self._derived("keystore secret", 32, entry.kid))

    def _bound(self, entry: KeyEntry) -> bytes:
        return entry.identity(self.keystore_id)

    def _derived(self, label: str, length: int, more: bytes = b"") -> bytes:
        return expand(self._key, label, self.keystore_id + more, length=length)

    def __repr__(self) -> str:
        return f"Master(keystore {self.keystore_id.hex()})"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a master key is neither copied nor pickled")


def new_master(keystore_id: bytes) -> Master:
    """Draw a master key."""
    return Master(keystore_id, lambda: secrets.token_bytes(_MASTER_BYTES))


def unlocked(keystore_id: bytes, unwrap: Callable[[bytes, bytes], bytes], wrapped: bytes) -> Master:
    """Give the master key that a root key gives back.

    Raises:
        DeniedError: the root key is another one, or the bytes were changed.
    """
    return Master(keystore_id, lambda: unwrap(wrapped, _CONTEXT + keystore_id))
