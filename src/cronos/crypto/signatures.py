"""Signatures: ML-DSA with a context, which keeps a signature from serving another purpose.

ML-DSA-87 signs what lasts (epochs, bulletins, checkpoints, orders); ML-DSA-44 is the format of
witness cosignatures. Signing is hedged: the same message gives another signature each time.

Source: FIPS 204 (pure mode).
"""

import secrets
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidSignature

from cronos.crypto.refusal import refused
from cronos.crypto.suites import fingerprint
from cronos.crypto.support import MISSING, unsupported
from cronos.errors import InputError

try:
    from cryptography.hazmat.primitives.asymmetric import mldsa
except MISSING:
    raise unsupported("ML-DSA") from None

SEED_BYTES: Final = 32
MAX_CONTEXT_BYTES: Final = 255


class SignatureScheme(msgspec.Struct, frozen=True):
    """One parameter set; sizes are in bytes."""

    number: int
    name: str
    public_bytes: int
    signature_bytes: int


ML_DSA_44: Final = SignatureScheme(1, "ml-dsa-44", 1312, 2420)
ML_DSA_65: Final = SignatureScheme(2, "ml-dsa-65", 1952, 3309)
ML_DSA_87: Final = SignatureScheme(3, "ml-dsa-87", 2592, 4627)
SCHEMES: Final = {scheme.number: scheme for scheme in (ML_DSA_44, ML_DSA_65, ML_DSA_87)}
_SECRET: Final[dict[int, Any]] = {
    1: mldsa.MLDSA44PrivateKey,
    2: mldsa.MLDSA65PrivateKey,
    3: mldsa.MLDSA87PrivateKey,
}
_PUBLIC: Final[dict[int, Any]] = {
    1: mldsa.MLDSA44PublicKey,
    2: mldsa.MLDSA65PublicKey,
    3: mldsa.MLDSA87PublicKey,
}


def scheme_named(name: str) -> SignatureScheme:
    """Give the parameter set of a name; "dilithium-5" means ML-DSA-87, and so on.

    Raises:
        InputError: there is none.
    """
    wanted = {"dilithium-2": "ml-dsa-44", "dilithium-3": "ml-dsa-65", "dilithium-5": "ml-dsa-87"}
    lower = name.lower()
    for scheme in SCHEMES.values():
        if scheme.name == wanted.get(lower, lower):
            return scheme
    raise InputError(
        "crypto.unknown_scheme",
        f"There is no signature scheme called `{name}`.",
        f"Choose one of: {', '.join(scheme.name for scheme in SCHEMES.values())}.",
    )


class VerifyingKey:
    """A public key that verifies.

    Raises:
        InputError: these bytes are no public key of `scheme`.
    """

    def __init__(self, scheme: SignatureScheme, public: bytes) -> None:
        self.scheme = scheme
        self.public = public
        self.kid = fingerprint(scheme.name, public)
        try:
            self._key: Any = _PUBLIC[scheme.number].from_public_bytes(public)
        except ValueError:
            raise _no_key(scheme) from None

    def __repr__(self) -> str:
        return f"VerifyingKey({self.scheme.name}, {self.kid.hex()})"

    def verify(self, message: bytes, context: bytes, signature: bytes) -> None:
        """Return when `signature` is this key's over `message` in `context`.

        Raises:
            DeniedError: it is not.
        """
        try:
            self._key.verify(signature, message, context)
        except (InvalidSignature, ValueError):
            raise refused() from None


class SigningKey:
    """A secret key, made from its 32-byte seed.

    Raises:
        InputError: `seed` is not 32 bytes.
    """

    def __init__(self, scheme: SignatureScheme, seed: bytes) -> None:
        self.scheme = scheme
        try:
            self._key: Any = _SECRET[scheme.number].from_seed_bytes(seed)
        except ValueError:
            raise _no_key(scheme) from None
        self.public: bytes = self._key.public_key().public_bytes_raw()
        self.kid = fingerprint(scheme.name, self.public)

    def __repr__(self) -> str:
        return f"SigningKey({self.scheme.name}, {self.kid.hex()})"

    def sign(self, message: bytes, context: bytes) -> bytes:
        """Sign `message` in `context`.

        Raises:
            InputError: the context is longer than 255 bytes.
        """
        try:
            signature: bytes = self._key.sign(message, context)
        except ValueError:
            raise _long_context(context) from None
        return signature

    def verifying_key(self) -> VerifyingKey:
        """Give the public half."""
        return VerifyingKey(self.scheme, self.public)


def generate_seed() -> bytes:
    """Draw the seed of a new signing key."""
    return secrets.token_bytes(SEED_BYTES)


def _long_context(context: bytes) -> InputError:
    return InputError(
        "crypto.long_context",
        f"The context of a signature has {len(context)} bytes; it may have {MAX_CONTEXT_BYTES}.",
        "Put what is long into the message, and a short name of its purpose into the context.",
    )


def _no_key(scheme: SignatureScheme) -> InputError:
    return InputError(
        "crypto.bad_key",
        f"These bytes are no key of {scheme.name}.",
        "Give the key that was made for this scheme.",
    )
