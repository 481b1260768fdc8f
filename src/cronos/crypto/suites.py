"""Suites: what a message is sealed with, fixed by one byte in its signed header.

| byte | name | key encapsulation | for |
|---|---|---|---|
| 1 | hybrid | MLKEM1024-P384 (HPKE 0x0051) | the default: safe while either half is |
| 2 | cnsa | ML-KEM-1024 (HPKE 0x0042) | CNSA 2.0, which wants no classical half |
| 3 | rate | X-Wing, MLKEM768-X25519 (HPKE 0x647a) | many recipients, many epochs |

Each seals with AES-256-GCM under HKDF-SHA384. There is no negotiation: a receiver has a list of
suites that it allows, and whatever else arrives is refused.

Source: FIPS 203; RFC 9180; draft-ietf-hpke-pq; draft-connolly-cfrg-xwing-kem.
"""

import hashlib
import secrets
from collections.abc import Callable
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from cronos.crypto.refusal import refused
from cronos.crypto.support import MISSING, unsupported
from cronos.errors import InputError

try:
    from cryptography.hazmat.primitives.asymmetric import mlkem
    from cryptography.hazmat.primitives.hpke import (
        AEAD,
        KDF,
        KEM,
        MLKEM768X25519PrivateKey,
        MLKEM768X25519PublicKey,
        MLKEM1024P384PrivateKey,
        MLKEM1024P384PublicKey,
    )
    from cryptography.hazmat.primitives.hpke import Suite as Hpke
except MISSING:
    raise unsupported("HPKE with ML-KEM") from None

KID_BYTES: Final = 16
_MLKEM1024_PUBLIC: Final = 1568
_MLKEM768_PUBLIC: Final = 1184
_MLKEM_SEED: Final = 64
_P384_SECRET: Final = 48
_P384_ORDER: Final = int(
    "ffffffffffffffffffffffffffffffffffffffffffffffff"
    "c7634d81f4372ddf581a0db248b0a77aecec196accc52973",
    16,
)


class Suite(msgspec.Struct, frozen=True):
    """One row of the table above; sizes are in bytes.

    Attributes:
        number: the byte in every header.
        public_bytes: length of an encapsulation key.
        secret_bytes: length of a decapsulation key, as its seeds.
        overhead: what `EncryptionKey.seal` adds.
    """

    number: int
    name: str
    public_bytes: int
    secret_bytes: int
    overhead: int


HYBRID: Final = Suite(1, "hybrid", _MLKEM1024_PUBLIC + 97, _MLKEM_SEED + _P384_SECRET, 1681)
CNSA: Final = Suite(2, "cnsa", _MLKEM1024_PUBLIC, _MLKEM_SEED, 1584)
RATE: Final = Suite(3, "rate", _MLKEM768_PUBLIC + 32, _MLKEM_SEED + 32, 1136)
SUITES: Final = {suite.number: suite for suite in (HYBRID, CNSA, RATE)}


def _hpke() -> dict[int, Hpke]:
    try:
        kems = {
            HYBRID.number: KEM.MLKEM1024_P384,
            CNSA.number: KEM.MLKEM1024,
            RATE.number: KEM.MLKEM768_X25519,
        }
        return {
            number: Hpke(kem, KDF.HKDF_SHA384, AEAD.AES_256_GCM) for number, kem in kems.items()
        }
    except MISSING:
        raise unsupported("HPKE with ML-KEM") from None


_HPKE: Final = _hpke()
# Any scalar finds the points of low order, for which every secret is the same: zero.
_ANY_X25519: Final = x25519.X25519PrivateKey.from_private_bytes(bytes(32))


def suite_named(name: str) -> Suite:
    """Give the suite of a name in the configuration.

    "kyber-1024" and "ml-kem-1024" mean the final standard, pure: the CNSA suite.

    Raises:
        InputError: there is none.
    """
    wanted = name.lower()
    if wanted in ("kyber-1024", "kyber1024", "ml-kem-1024"):
        return CNSA
    for suite in SUITES.values():
        if suite.name == wanted:
            return suite
    raise InputError(
        "crypto.unknown_suite",
        f"There is no suite called `{name}`.",
        f"Choose one of: {', '.join(suite.name for suite in SUITES.values())}.",
    )


def fingerprint(kind: str, public: bytes) -> bytes:
    """Name a public key: 16 bytes of SHA-256 over its kind and its bytes."""
    return hashlib.sha256(f"cronos key {kind}\0".encode() + public).digest()[:KID_BYTES]


class EncryptionKey:
    """The public half of a recipient's key.

    Raises:
        InputError: these bytes are no public key of `suite`.
    """

    def __init__(self, suite: Suite, public: bytes) -> None:
        self.suite = suite
        self.public = public
        self.kid = fingerprint(suite.name, public)
        if len(public) != suite.public_bytes:
            raise _no_key(suite, "public")
        try:
            self._key: Any = _PUBLIC[suite.number](public)
        except ValueError:
            raise _no_key(suite, "public") from None

    def __repr__(self) -> str:
        return f"EncryptionKey({self.suite.name}, {self.kid.hex()})"

    def seal(self, plain: bytes, info: bytes) -> bytes:
        """Seal for the holder of the secret half; `info` must be the same at opening.

        HPKE base mode: whoever can write can seal; who did is for a signature to say.
        """
        return _HPKE[self.suite.number].encrypt(plain, self._key, _info(self.suite, info))


class DecryptionKey:
    """The secret half of a recipient's key, made from its seeds.

    Raises:
        InputError: these bytes are no secret key of `suite`.
    """

    def __init__(self, suite: Suite, secret: bytes) -> None:
        self.suite = suite
        if len(secret) != suite.secret_bytes:
            raise _no_key(suite, "secret")
        try:
            self._key, public = _SECRET[suite.number](secret)
        except ValueError:
            raise _no_key(suite, "secret") from None
        self.public: bytes = public
        self.kid = fingerprint(suite.name, public)

    def __repr__(self) -> str:
        return f"DecryptionKey({self.suite.name}, {self.kid.hex()})"

    def open(self, sealed: bytes, info: bytes) -> bytes:
        """Open what `EncryptionKey.seal` gave.

        Raises:
            DeniedError: another key, another `info`, or changed bytes.
        """
        try:
            return _HPKE[self.suite.number].decrypt(sealed, self._key, _info(self.suite, info))
        except (InvalidTag, ValueError):
            raise refused() from None

    def encryption_key(self) -> EncryptionKey:
        """Give the public half."""
        return EncryptionKey(self.suite, self.public)


def _info(suite: Suite, info: bytes) -> bytes:
    return b"cronos hpke v1\0" + bytes((suite.number,)) + info


def _no_key(suite: Suite, half: str) -> InputError:
    return InputError(
        "crypto.bad_key",
        f"These bytes are no {half} key of the suite `{suite.name}`.",
        "Give the key that was made for this suite.",
    )


def _hybrid_public(data: bytes) -> Any:
    point = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), data[_MLKEM1024_PUBLIC:])
    return MLKEM1024P384PublicKey(
        mlkem.MLKEM1024PublicKey.from_public_bytes(data[:_MLKEM1024_PUBLIC]), point
    )


def _hybrid_secret(data: bytes) -> tuple[Any, bytes]:
    lattice = mlkem.MLKEM1024PrivateKey.from_seed_bytes(data[:_MLKEM_SEED])
    scalar = int.from_bytes(data[_MLKEM_SEED:], "big")
    curve = ec.derive_private_key(scalar, ec.SECP384R1())
    point = curve.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    public = lattice.public_key().public_bytes_raw() + point
    return MLKEM1024P384PrivateKey(lattice, curve), public


def _cnsa_secret(data: bytes) -> tuple[Any, bytes]:
    key = mlkem.MLKEM1024PrivateKey.from_seed_bytes(data)
    return key, key.public_key().public_bytes_raw()


def _rate_public(data: bytes) -> Any:
    point = x25519.X25519PublicKey.from_public_bytes(data[_MLKEM768_PUBLIC:])
    # Raises ValueError for a point of low order (RFC 7748, 6.1): found here, once, and not when
    # the first message is sealed.
    _ANY_X25519.exchange(point)
    return MLKEM768X25519PublicKey(
        mlkem.MLKEM768PublicKey.from_public_bytes(data[:_MLKEM768_PUBLIC]), point
    )


def _rate_secret(data: bytes) -> tuple[Any, bytes]:
    lattice = mlkem.MLKEM768PrivateKey.from_seed_bytes(data[:_MLKEM_SEED])
    curve = x25519.X25519PrivateKey.from_private_bytes(data[_MLKEM_SEED:])
    public = lattice.public_key().public_bytes_raw() + curve.public_key().public_bytes_raw()
    return MLKEM768X25519PrivateKey(lattice, curve), public


_PUBLIC: Final[dict[int, Callable[[bytes], Any]]] = {
    HYBRID.number: _hybrid_public,
    CNSA.number: mlkem.MLKEM1024PublicKey.from_public_bytes,
    RATE.number: _rate_public,
}
_SECRET: Final[dict[int, Callable[[bytes], tuple[Any, bytes]]]] = {
    HYBRID.number: _hybrid_secret,
    CNSA.number: _cnsa_secret,
    RATE.number: _rate_secret,
}


def generate_secret(suite: Suite) -> bytes:
    """Draw a new decapsulation key, as the seeds that `DecryptionKey` takes."""
    if suite is not HYBRID:
        return secrets.token_bytes(suite.secret_bytes)
    scalar = 1 + secrets.randbelow(_P384_ORDER - 1)
    return secrets.token_bytes(_MLKEM_SEED) + scalar.to_bytes(_P384_SECRET, "big")
