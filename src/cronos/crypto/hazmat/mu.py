"""ML-DSA over a message representative: for a message too long to hold, or one seen elsewhere.

Warning: who signs a representative signs 64 bytes that it cannot read. Sign only one that you
computed yourself from the message. The signature is the same as `SigningKey.sign` would give: who
verifies need not know how it was made.

Source: FIPS 204, algorithms 7 and 8 (mu); 5.4 on external mu.
"""

from collections.abc import Iterable
from typing import Any, Final

from cryptography.exceptions import InvalidSignature

from cronos.crypto.refusal import refused
from cronos.crypto.signatures import MAX_CONTEXT_BYTES, SignatureScheme
from cronos.crypto.support import MISSING, unsupported
from cronos.errors import InputError

try:
    from cryptography.hazmat.primitives.asymmetric import mldsa
except MISSING:
    raise unsupported("ML-DSA") from None

MU_BYTES: Final = 64


def representative(
    scheme: SignatureScheme, public: bytes, context: bytes, chunks: Iterable[bytes]
) -> bytes:
    """Give the representative of the message that `chunks` make up, in constant memory.

    Raises:
        InputError: `public` is no key of `scheme`, or the context is longer than 255 bytes.
    """
    if len(context) > MAX_CONTEXT_BYTES:
        raise InputError(
            "crypto.long_context",
            f"The context of a signature has {len(context)} bytes; it may have "
            f"{MAX_CONTEXT_BYTES}.",
            "Put what is long into the message.",
        )
    hasher = mldsa.MLDSAMuHasher(_public(scheme, public), context)
    for chunk in chunks:
        hasher.update(chunk)
    return hasher.finalize()


def sign_mu(scheme: SignatureScheme, seed: bytes, mu: bytes) -> bytes:
    """Sign the message that `mu` stands for.

    Raises:
        InputError: `seed` is no key of `scheme`, or `mu` is not 64 bytes.
    """
    try:
        key = _kind(scheme, "Private").from_seed_bytes(seed)
    except ValueError:
        raise _no_key(scheme) from None
    if len(mu) != MU_BYTES:
        raise InputError(
            "crypto.bad_representative",
            f"A message representative has {MU_BYTES} bytes; this one has {len(mu)}.",
            "Make it with `representative`.",
        )
    signature: bytes = key.sign_mu(mu)
    return signature


def verify_mu(scheme: SignatureScheme, public: bytes, mu: bytes, signature: bytes) -> None:
    """Return when `signature` is the key's over the message that `mu` stands for.

    Raises:
        InputError: `public` is no key of `scheme`.
        DeniedError: it is not.
    """
    key = _public(scheme, public)
    try:
        key.verify_mu(signature, mu)
    except (InvalidSignature, ValueError):
        raise refused() from None


def _public(scheme: SignatureScheme, public: bytes) -> Any:
    try:
        return _kind(scheme, "Public").from_public_bytes(public)
    except ValueError:
        raise _no_key(scheme) from None


def _kind(scheme: SignatureScheme, half: str) -> Any:
    return getattr(mldsa, f"MLDSA{scheme.name.removeprefix('ml-dsa-')}{half}Key")


def _no_key(scheme: SignatureScheme) -> InputError:
    return InputError(
        "crypto.bad_key",
        f"These bytes are no key of {scheme.name}.",
        "Give the key that was made for this scheme.",
    )
