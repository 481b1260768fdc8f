"""Proof that a certificate's holder is there, for stacks that check a peer and do not say whom.

gRPC verifies a server's chain and host name, but a client learns neither serial nor chain, and so
could not tell a certificate that was revoked. The server therefore signs, with the same P-384 key,
what both have said and the client's own certificate: nobody can pass it on for another client, and
with a revoked key nobody can make it for the certificate that took its place.
"""

import hashlib
import secrets
from collections.abc import Sequence
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384

from cronos.crypto.pki.credential import Credential
from cronos.crypto.pki.profile import P384
from cronos.crypto.refusal import refused

_LABEL: Final = b"cronos presence v1\0"


def nonce() -> bytes:
    """Draw what makes each greeting another one."""
    return secrets.token_bytes(16)


def prove(credential: Credential, said: Sequence[bytes]) -> bytes:
    """Sign what was said with the P-384 key of a credential.

    Args:
        credential: the signer's.
        said: in order; what the other said, the own answer, the other's certificate.
    """
    key: Any = credential.keys.of(P384)
    signature: bytes = key.sign(_digest(said), ec.ECDSA(SHA384()))
    return signature


def require_present(leaf: bytes, said: Sequence[bytes], signature: bytes) -> None:
    """Check what `prove` gave; whose certificate `leaf` is, the caller has verified.

    Raises:
        DeniedError: it is not signed by that key, or over something else.
    """
    try:
        key: Any = x509.load_der_x509_certificate(leaf).public_key()
        key.verify(signature, _digest(said), ec.ECDSA(SHA384()))
    except (InvalidSignature, ValueError, TypeError):
        raise refused() from None


def _digest(said: Sequence[bytes]) -> bytes:
    """Bind each part and the number of them; signed as a message, which hashes it once more."""
    parts = [hashlib.sha384(part).digest() for part in said]
    return _LABEL + len(parts).to_bytes(4, "big") + b"".join(parts)
