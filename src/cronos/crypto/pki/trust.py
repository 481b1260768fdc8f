"""What a node pins: the two root certificates of its trust domain, by one fingerprint."""

import hashlib
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from cronos.crypto.pki.names import require_domain
from cronos.crypto.refusal import refused
from cronos.errors import CronosError

MAX_CERTIFICATE_BYTES: Final = 16_384
Der = Annotated[bytes, Meta(min_length=1, max_length=MAX_CERTIFICATE_BYTES)]


class Trust(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """The roots of a domain; public, but only as good as the way by which its pin came."""

    version: Annotated[int, Meta(ge=1, le=1)]
    domain: Annotated[str, Meta(max_length=180)]
    p384_root: Der
    mldsa_root: Der

    @property
    def fingerprint(self) -> bytes:
        """SHA-384 over domain and both roots: the pin in every join token."""
        digest = hashlib.sha384(b"cronos trust v1\0")
        for part in (self.domain.encode(), self.p384_root, self.mldsa_root):
            digest.update(hashlib.sha384(part).digest())
        return digest.digest()

    def roots(self) -> dict[str, bytes]:
        """Give each algorithm's root."""
        return {"p-384": self.p384_root, "ml-dsa-87": self.mldsa_root}


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Trust)


def pack_trust(trust: Trust) -> bytes:
    """Encode the roots for a file or a greeting."""
    return _ENCODER.encode(trust)


def unpack_trust(data: bytes) -> Trust:
    """Read what `pack_trust` gave; whether they are the right roots, only the pin says.

    Raises:
        DeniedError: it is nothing of the kind.
    """
    try:
        trust = _DECODER.decode(data)
        require_domain(trust.domain)
    except (msgspec.DecodeError, ValueError, RecursionError, CronosError):
        raise refused() from None
    return trust
