"""Requests for certificates: three keys, and proof that whoever asks holds all of them.

A body names the holder and carries two certification requests (PKCS#10, each signed by its own
key) and the ML-DSA-87 key that is to be bound; that key signs the body. Joining adds the signature
of the join token's key; renewal needs none, for it comes over mutual TLS.
"""

import secrets
from collections.abc import Callable
from typing import Annotated, Any, Final

import msgspec
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from msgspec import Meta

from cronos.crypto.pki import profile
from cronos.crypto.pki.credential import Chains, Keys
from cronos.crypto.pki.profile import ALGORITHMS, MLDSA, P384, PrivateKey, PublicKey
from cronos.crypto.pki.trust import Trust
from cronos.crypto.refusal import refused
from cronos.crypto.signatures import ML_DSA_87, SigningKey, VerifyingKey
from cronos.errors import CronosError

MAX_REQUEST_BYTES: Final = 65_536
ENROL_CONTEXT: Final = b"cronos-enrol-v1"
TOKEN_CONTEXT: Final = b"cronos-token-v1"
_Csr = Annotated[bytes, Meta(min_length=1, max_length=16_384)]
_Public = Annotated[bytes, Meta(min_length=2592, max_length=2592)]
_Signature = Annotated[bytes, Meta(min_length=4627, max_length=4627)]
_Id = Annotated[bytes, Meta(min_length=16, max_length=16)]


class Wish(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What is asked for; `nonce` makes each one different."""

    version: Annotated[int, Meta(ge=1, le=1)]
    name: Annotated[str, Meta(max_length=63)]
    nonce: _Id
    p384: _Csr
    mldsa: _Csr
    bound: _Public


class Request(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """A wish with its proofs; the last three are empty in a renewal."""

    body: Annotated[bytes, Meta(max_length=MAX_REQUEST_BYTES)]
    bound_signature: _Signature
    token_id: Annotated[bytes, Meta(max_length=16)] = b""
    token_public: Annotated[bytes, Meta(max_length=2592)] = b""
    token_signature: Annotated[bytes, Meta(max_length=4627)] = b""


class Response(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What the issuer answers: certificates, the trust, and the revocation lists as they stand."""

    version: Annotated[int, Meta(ge=1, le=1)]
    chains: Chains
    trust: Trust
    lists: Annotated[bytes, Meta(max_length=4 << 20)]


class Bound(msgspec.Struct, frozen=True):
    """The ML-DSA-87 key that a certificate is to bind; `sign` takes message and context."""

    public: bytes
    sign: Callable[[bytes, bytes], bytes]


class Checked(msgspec.Struct, frozen=True):
    """A request whose proofs all hold, except the token's, which the registry knows."""

    name: str
    keys: dict[str, PublicKey]
    key_hash: bytes


_ENCODER: Final = msgspec.msgpack.Encoder()
_WISHES: Final = msgspec.msgpack.Decoder(Wish)
_REQUESTS: Final = msgspec.msgpack.Decoder(Request)
_RESPONSES: Final = msgspec.msgpack.Decoder(Response)
_UNREADABLE: Final = (msgspec.DecodeError, ValueError, RecursionError)


def make_request(
    name: str, keys: Keys, bound: Bound, token: tuple[bytes, SigningKey] | None = None
) -> bytes:
    """Ask for certificates of `keys`, with `bound` as the signing key above them.

    Args:
        name: the holder's name.
        keys: its TLS keys.
        bound: its signing key; see `Bound`.
        token: id and key of the join token; None to renew.
    """
    p384, mldsa = [_csr(name, keys.of(algorithm)) for algorithm in ALGORITHMS]
    body = _ENCODER.encode(Wish(1, name, secrets.token_bytes(16), p384, mldsa, bound.public))
    request = Request(body, bound.sign(body, ENROL_CONTEXT))
    if token is not None:
        signature = token[1].sign(body, TOKEN_CONTEXT)
        request = msgspec.structs.replace(
            request, token_id=token[0], token_public=token[1].public, token_signature=signature
        )
    return _ENCODER.encode(request)


def read_request(data: bytes) -> Request:
    """Read a request; its proofs are still to be checked.

    Raises:
        DeniedError: it is none, or longer than one can be.
    """
    if len(data) > MAX_REQUEST_BYTES:
        raise refused()
    try:
        return _REQUESTS.decode(data)
    except _UNREADABLE:
        raise refused() from None


def check_request(request: Request) -> Checked:
    """Check that whoever asks holds the three keys.

    Raises:
        DeniedError: one proof is missing or does not hold.
    """
    try:
        wish = _WISHES.decode(request.body)
        VerifyingKey(ML_DSA_87, wish.bound).verify(
            request.body, ENROL_CONTEXT, request.bound_signature
        )
        keys = {P384: _proven(wish.p384, P384), MLDSA: _proven(wish.mldsa, MLDSA)}
    except (*_UNREADABLE, TypeError, UnsupportedAlgorithm, CronosError):
        raise refused() from None
    return Checked(wish.name, keys, profile.bound_hash(wish.bound))


def check_token_signature(request: Request) -> bytes:
    """Give the public key of the join token that signed `request`.

    Raises:
        DeniedError: the signature does not hold.
    """
    try:
        key = VerifyingKey(ML_DSA_87, request.token_public)
    except CronosError:
        raise refused() from None
    key.verify(request.body, TOKEN_CONTEXT, request.token_signature)
    return key.public


def pack_response(response: Response) -> bytes:
    """Encode a response."""
    return _ENCODER.encode(response)


def read_response(data: bytes) -> Response:
    """Read a response; what it says is still to be checked against the pin.

    Raises:
        DeniedError: it is none.
    """
    try:
        return _RESPONSES.decode(data)
    except _UNREADABLE:
        raise refused() from None


def _csr(name: str, key: PrivateKey) -> bytes:
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    hashed = SHA384() if isinstance(key, ec.EllipticCurvePrivateKey) else None
    builder = x509.CertificateSigningRequestBuilder(subject)
    return builder.sign(key, hashed).public_bytes(Encoding.DER)


def _proven(der: bytes, algorithm: str) -> PublicKey:
    """Give the key of a certification request that its key signed; nothing else in it counts."""
    csr = x509.load_der_x509_csr(der)
    key: Any = csr.public_key()
    if profile.algorithm_of(key) != algorithm or not csr.is_signature_valid:
        raise ValueError("no proof of possession")
    proven: PublicKey = key
    return proven
