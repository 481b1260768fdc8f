"""Join tokens: one line that lets one node join once, and tells it whom to trust.

A token carries the pin of the trust domain, where the issuer listens, who the node is to be, and a
secret of 256 bits. The secret never travels: an ML-DSA-87 key grows from it and signs the request,
and the issuer keeps only the hash of its public half. So neither a copied registry nor an
overheard request lets anyone else join.
"""

import base64
import hashlib
import secrets
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from cronos.crypto.kdf import expand
from cronos.crypto.pki.names import require_domain, require_name
from cronos.crypto.signatures import ML_DSA_87, SigningKey
from cronos.errors import CronosError, InputError

SECRET_BYTES: Final = 32
DEFAULT_LIFE_S: Final = 3600
MAX_ADDRESS: Final = 260
_PREFIX: Final = "cronos-join-"
_MAX_TEXT: Final = 2048


class Token(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a token says; `address` is ``host:port``, or empty where files are carried."""

    version: Annotated[int, Meta(ge=1, le=1)]
    token_id: Annotated[bytes, Meta(min_length=16, max_length=16)]
    secret: Annotated[bytes, Meta(min_length=SECRET_BYTES, max_length=SECRET_BYTES)]
    pin: Annotated[bytes, Meta(min_length=48, max_length=48)]
    domain: Annotated[str, Meta(max_length=180)]
    name: Annotated[str, Meta(max_length=63)]
    address: Annotated[str, Meta(max_length=MAX_ADDRESS)]
    expires_ns: Annotated[int, Meta(ge=0)]

    def __repr__(self) -> str:
        return f"<join token of {self.name}>"

    def key(self) -> SigningKey:
        """Give the key that signs the request."""
        return SigningKey(ML_DSA_87, expand(self.secret, "join token", self.token_id))


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Token)


def new_token(pin: bytes, domain: str, name: str, address: str, expires_ns: int) -> Token:
    """Draw a token for one node."""
    return Token(
        1,
        secrets.token_bytes(16),
        secrets.token_bytes(SECRET_BYTES),
        pin,
        domain,
        name,
        address,
        expires_ns,
    )


def verifier(token_public: bytes) -> bytes:
    """Give what the issuer keeps of a token: the hash of its public key."""
    return hashlib.sha384(b"cronos join token\0" + token_public).digest()


def token_text(token: Token) -> str:
    """Write a token as one line."""
    return _PREFIX + base64.urlsafe_b64encode(_ENCODER.encode(token)).decode("ascii").rstrip("=")


def parse_token(text: str) -> Token:
    """Read a token.

    Raises:
        InputError: it is none, or not all of it.
    """
    line = text.strip()
    try:
        token = _DECODER.decode(_decoded(line))
        require_domain(token.domain)
        require_name(token.name)
    except (msgspec.DecodeError, ValueError, RecursionError, CronosError):
        raise InputError(
            "crypto.bad_token",
            "This is no join token, or not all of one.",
            "Copy the whole line that `cronos pki issue --node` printed.",
        ) from None
    return token


def _decoded(line: str) -> bytes:
    if len(line) > _MAX_TEXT or not line.startswith(_PREFIX) or not line.isascii():
        raise ValueError("no token")
    body = line.removeprefix(_PREFIX)
    return base64.b64decode(body + "=" * (-len(body) % 4), b"-_", validate=True)
