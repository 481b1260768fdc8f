"""The kinds of keys that a keystore holds, and what each can do.

A suite's key unwraps, an ML-DSA key signs in a context, a P-384 key signs certificates (ECDSA
with SHA-384, which knows no context). A secret is held as seeds, never as expanded keys.
"""

import secrets
from typing import Final, TypeAlias

from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cronos.crypto.refusal import refused
from cronos.crypto.signatures import SCHEMES, SigningKey, generate_seed, scheme_named
from cronos.crypto.suites import SUITES, DecryptionKey, fingerprint, generate_secret, suite_named
from cronos.errors import InputError

P384: Final = "p-384"
_SCALAR_BYTES: Final = 48
_ORDER: Final = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffff"
    "c7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    16,
)
_SUITES: Final = {suite.name: suite for suite in SUITES.values()}
_SCHEMES: Final = {scheme.name: scheme for scheme in SCHEMES.values()}
ALGORITHMS: Final = (*_SUITES, *_SCHEMES, P384)


class EcKey:
    """A P-384 key, made from its scalar; signs with ECDSA and SHA-384."""

    def __init__(self, secret: bytes) -> None:
        try:
            self.private = ec.derive_private_key(int.from_bytes(secret, "big"), ec.SECP384R1())
        except ValueError:
            raise refused() from None
        self.public: bytes = self.private.public_key().public_bytes(
            Encoding.X962, PublicFormat.UncompressedPoint
        )
        self.kid = fingerprint(P384, self.public)

    def sign(self, message: bytes, context: bytes) -> bytes:
        """Sign `message`; `context` must be empty, for ECDSA cannot bind one.

        Raises:
            InputError: it is not.
        """
        if context:
            raise InputError(
                "crypto.no_context",
                "A P-384 key cannot bind a signature to a context.",
                "Sign with an ML-DSA key, or without a context.",
            )
        return self.private.sign(message, ec.ECDSA(SHA384()))


SecretKey: TypeAlias = DecryptionKey | SigningKey | EcKey


def algorithm_named(name: str) -> str:
    """Give an algorithm's own name; "kyber-1024" means `cnsa`, "dilithium-5" `ml-dsa-87`.

    Raises:
        InputError: there is no such algorithm.
    """
    if name.lower() == P384:
        return P384
    for find in (suite_named, scheme_named):
        try:
            return find(name).name
        except InputError:
            continue
    raise InputError(
        "crypto.unknown_algorithm",
        f"There is no algorithm called `{name}`.",
        f"Choose one of: {', '.join(ALGORITHMS)}.",
    )


def encrypts(algorithm: str) -> bool:
    """Say whether keys of an algorithm encrypt; the others sign."""
    return algorithm in _SUITES


def generate(algorithm: str) -> bytes:
    """Draw the secret of a new key."""
    if algorithm in _SUITES:
        return generate_secret(_SUITES[algorithm])
    if algorithm in _SCHEMES:
        return generate_seed()
    return (1 + secrets.randbelow(_ORDER - 1)).to_bytes(_SCALAR_BYTES, "big")


def secret_key(algorithm: str, secret: bytes) -> SecretKey:
    """Make the key of a secret.

    Raises:
        InputError: these bytes are no secret of `algorithm`.
    """
    if algorithm in _SUITES:
        return DecryptionKey(_SUITES[algorithm], secret)
    if algorithm in _SCHEMES:
        return SigningKey(_SCHEMES[algorithm], secret)
    return EcKey(secret)
