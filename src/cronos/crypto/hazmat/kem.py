"""Raw ML-KEM: a shared secret and its ciphertext, and nothing that binds them to a purpose.

Warning: `decapsulate` cannot fail on a changed ciphertext of the right length. It gives another
secret, the same one each time (implicit rejection); only what is sealed under it shows that. Put
the secret through `kdf.derive` with a label and the whole exchange as context; never use it raw.

Source: FIPS 203.
"""

import secrets
from typing import Any, Final

import msgspec

from cronos.crypto.refusal import refused
from cronos.crypto.support import MISSING, unsupported
from cronos.errors import InputError

try:
    from cryptography.hazmat.primitives.asymmetric import mlkem
except MISSING:
    raise unsupported("ML-KEM") from None

SECRET_BYTES: Final = 32


class Kem(msgspec.Struct, frozen=True):
    """One parameter set; sizes are in bytes.

    Attributes:
        key_bytes: what `DecapsulationKey` is made from: the 64-byte seed d || z, where the
            implementation takes one.
    """

    name: str
    public_bytes: int
    key_bytes: int
    ciphertext_bytes: int


ML_KEM_768: Final = Kem("ml-kem-768", 1184, 64, 1088)
ML_KEM_1024: Final = Kem("ml-kem-1024", 1568, 64, 1568)
_PUBLIC: Final[dict[str, Any]] = {
    ML_KEM_768.name: mlkem.MLKEM768PublicKey,
    ML_KEM_1024.name: mlkem.MLKEM1024PublicKey,
}
_SECRET: Final[dict[str, Any]] = {
    ML_KEM_768.name: mlkem.MLKEM768PrivateKey,
    ML_KEM_1024.name: mlkem.MLKEM1024PrivateKey,
}


class EncapsulationKey:
    """A public key; its coefficients are checked to be reduced (FIPS 203, 7.2).

    Raises:
        InputError: these bytes are no public key of `kem`.
    """

    def __init__(self, kem: Kem, public: bytes) -> None:
        self.kem = kem
        self.public = public
        try:
            self._key: Any = _PUBLIC[kem.name].from_public_bytes(public)
        except ValueError:
            raise no_key(kem) from None

    def encapsulate(self) -> tuple[bytes, bytes]:
        """Draw a shared secret for the key's holder; give it and its ciphertext."""
        pair: tuple[bytes, bytes] = self._key.encapsulate()
        return pair


class DecapsulationKey:
    """A secret key, made from its seed.

    Raises:
        InputError: `seed` has another length.
    """

    def __init__(self, kem: Kem, seed: bytes) -> None:
        self.kem = kem
        try:
            self._key: Any = _SECRET[kem.name].from_seed_bytes(seed)
        except ValueError:
            raise no_key(kem) from None
        self.public: bytes = self._key.public_key().public_bytes_raw()

    def decapsulate(self, ciphertext: bytes) -> bytes:
        """Give the shared secret; one that nobody else has where the ciphertext was changed.

        Raises:
            DeniedError: the ciphertext has another length.
        """
        try:
            secret: bytes = self._key.decapsulate(ciphertext)
        except ValueError:
            raise refused() from None
        return secret

    def encapsulation_key(self) -> EncapsulationKey:
        """Give the public half."""
        return EncapsulationKey(self.kem, self.public)


def generate_seed(kem: Kem) -> bytes:
    """Draw the seed of a new key."""
    return secrets.token_bytes(kem.key_bytes)


def no_key(kem: Kem) -> InputError:
    """Give the error of bytes that are no key."""
    return InputError(
        "crypto.bad_key",
        f"These bytes are no key of {kem.name}.",
        "Give the key that was made for this parameter set.",
    )
