"""ML-KEM-512 and SLH-DSA, which `cryptography` lacks, through `pqcrypto` (the extra `pq`).

Warning: ML-KEM-512 is of category 1, below what the suites use: for peers that know nothing else.
SLH-DSA rests on hash functions alone, which suits a root that signs a few times a year; a
signature takes up to a second and up to 50 KB. Keys of `pqcrypto` are plain bytes in memory, and
expanded ones: not the seeds that the rest of this package keeps.

Source: FIPS 203; FIPS 205 (pure mode).
"""

from importlib import import_module
from typing import Any, Final

from cronos.crypto.hazmat.kem import Kem, no_key
from cronos.crypto.refusal import refused
from cronos.crypto.signatures import MAX_CONTEXT_BYTES, SignatureScheme
from cronos.crypto.suites import fingerprint
from cronos.errors import ExtraMissingError, InputError

ML_KEM_512: Final = Kem("ml-kem-512", 800, 1632, 768)
# The expanded key holds the public one: s (768 bytes), ek (800), H(ek), z.
_PUBLIC_IN_KEM_KEY: Final = slice(768, 768 + 800)
# Security category: (bytes of a hash, of a small signature, of a fast one).
_SLH_SIZES: Final = {128: (16, 7_856, 17_088), 192: (24, 16_224, 35_664), 256: (32, 29_792, 49_856)}


def _slh_schemes() -> dict[str, SignatureScheme]:
    schemes: dict[str, SignatureScheme] = {}
    number = 16  # apart from the numbers of ML-DSA
    for family in ("sha2", "shake"):
        for bits, (n, small, fast) in _SLH_SIZES.items():
            for letter, size in (("s", small), ("f", fast)):
                name = f"slh-dsa-{family}-{bits}{letter}"
                schemes[name] = SignatureScheme(number, name, 2 * n, size)
                number += 1
    return schemes


SLH_DSA: Final = _slh_schemes()


class EncapsulationKey512:
    """A public key of ML-KEM-512.

    Raises:
        ExtraMissingError: `pqcrypto` is not installed.
        InputError: these bytes are no public key.
    """

    def __init__(self, public: bytes) -> None:
        self.kem = ML_KEM_512
        self.public = public
        self._module = _module("kem", "ml_kem_512", "ML-KEM-512")
        try:
            self._module.encaps(public)
        except ValueError:
            raise no_key(ML_KEM_512) from None

    def encapsulate(self) -> tuple[bytes, bytes]:
        """Draw a shared secret for the key's holder; give it and its ciphertext."""
        ciphertext, secret = self._module.encaps(self.public)
        return secret, ciphertext


class DecapsulationKey512:
    """A secret key of ML-KEM-512, expanded.

    Raises:
        ExtraMissingError: `pqcrypto` is not installed.
        InputError: these bytes are no secret key.
    """

    def __init__(self, key: bytes) -> None:
        self.kem = ML_KEM_512
        self._module = _module("kem", "ml_kem_512", "ML-KEM-512")
        try:
            # It checks the hash of the public key inside the secret one.
            self._module.decaps(key, bytes(ML_KEM_512.ciphertext_bytes))
        except ValueError:
            raise no_key(ML_KEM_512) from None
        self._key = key
        self.public = key[_PUBLIC_IN_KEM_KEY]

    def decapsulate(self, ciphertext: bytes) -> bytes:
        """Give the shared secret; one that nobody else has where the ciphertext was changed.

        Raises:
            DeniedError: the ciphertext has another length.
        """
        try:
            secret: bytes = self._module.decaps(self._key, ciphertext)
        except ValueError:
            raise refused() from None
        return secret

    def encapsulation_key(self) -> EncapsulationKey512:
        """Give the public half."""
        return EncapsulationKey512(self.public)


def generate_512() -> bytes:
    """Draw a new secret key of ML-KEM-512.

    Raises:
        ExtraMissingError: `pqcrypto` is not installed.
    """
    _, key = _module("kem", "ml_kem_512", "ML-KEM-512").keygen()
    drawn: bytes = key
    return drawn


class SlhVerifyingKey:
    """A public key of SLH-DSA.

    Raises:
        ExtraMissingError: `pqcrypto` is not installed.
        InputError: `public` has another length.
    """

    def __init__(self, scheme: SignatureScheme, public: bytes) -> None:
        self._module = _slh(scheme)
        if len(public) != scheme.public_bytes:
            raise _no_key(scheme)
        self.scheme = scheme
        self.public = public
        self.kid = fingerprint(scheme.name, public)

    def verify(self, message: bytes, context: bytes, signature: bytes) -> None:
        """Return when `signature` is this key's over `message` in `context`.

        Raises:
            DeniedError: it is not.
        """
        # pqcrypto's own refusal is no ValueError; both are one refusal here.
        try:
            self._module.verify(self.public, message, signature, context)
        except (ValueError, _invalid_signature()):
            raise refused() from None


class SlhSigningKey:
    """A secret key of SLH-DSA: SK.seed, SK.prf, PK.seed and PK.root.

    Raises:
        ExtraMissingError: `pqcrypto` is not installed.
        InputError: `secret` has another length.
    """

    def __init__(self, scheme: SignatureScheme, secret: bytes) -> None:
        self._module = _slh(scheme)
        if len(secret) != 2 * scheme.public_bytes:
            raise _no_key(scheme)
        self.scheme = scheme
        self._secret = secret
        self.public = secret[scheme.public_bytes :]
        self.kid = fingerprint(scheme.name, self.public)

    def sign(self, message: bytes, context: bytes) -> bytes:
        """Sign `message` in `context`; this takes 10 ms to 1 s.

        Raises:
            InputError: the context is longer than 255 bytes.
        """
        if len(context) > MAX_CONTEXT_BYTES:
            raise InputError(
                "crypto.long_context",
                f"The context of a signature has {len(context)} bytes; it may have "
                f"{MAX_CONTEXT_BYTES}.",
                "Put what is long into the message.",
            )
        signature: bytes = self._module.sign(self._secret, message, context)
        return signature

    def verifying_key(self) -> SlhVerifyingKey:
        """Give the public half."""
        return SlhVerifyingKey(self.scheme, self.public)


def generate_slh(scheme: SignatureScheme) -> bytes:
    """Draw a new secret key of SLH-DSA.

    Raises:
        ExtraMissingError: `pqcrypto` is not installed.
    """
    _, secret = _slh(scheme).keygen()
    drawn: bytes = secret
    return drawn


def _slh(scheme: SignatureScheme) -> Any:
    name = "slh_dsa_" + scheme.name.removeprefix("slh-dsa-").replace("-", "_")
    return _module("sign", name, "SLH-DSA")


def _module(group: str, name: str, purpose: str) -> Any:
    try:
        return getattr(import_module(f"pqcrypto.{group}"), name)
    except ImportError:
        raise ExtraMissingError("pq", purpose) from None


def _invalid_signature() -> type[Exception]:
    kind: type[Exception] = import_module("pqcrypto").InvalidSignatureError
    return kind


def _no_key(scheme: SignatureScheme) -> InputError:
    return InputError(
        "crypto.bad_key",
        f"These bytes are no key of {scheme.name}.",
        "Give the key that was made for this scheme.",
    )
