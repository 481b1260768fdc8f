"""A second opinion on HPKE: the key schedule and the hybrid combiners, written from the drafts.

It stands on hashlib, HMAC and one AES-GCM call, and shares nothing with the library's HPKE.

Source: RFC 9180, 5.1; draft-ietf-hpke-pq; draft-connolly-cfrg-xwing-kem.
"""

import hashlib
import hmac

from cryptography.hazmat.primitives.asymmetric import ec, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

HKDF_HASHES = {1: "sha256", 2: "sha384", 3: "sha512"}
KEY_BYTES = {1: 16, 2: 32}
XWING_LABEL = bytes.fromhex("5c2e2f2f5e5c")


def u16(number):
    return number.to_bytes(2, "big")


def expand(key, info, length, name):
    block, out = b"", b""
    for count in range(1, 256):
        block = hmac.digest(key, block + info + bytes((count,)), name)
        out += block
        if len(out) >= length:
            break
    return out[:length]


def key_schedule(ids, shared, info):
    """Give key, base nonce and exporter secret of base mode; `ids` are those of KEM, KDF, AEAD."""
    kem, kdf, aead = ids
    name = HKDF_HASHES[kdf]
    size = hashlib.new(name).digest_size
    suite = b"HPKE-v1HPKE" + u16(kem) + u16(kdf) + u16(aead)

    def extract(salt, label, secret):
        return hmac.digest(salt or bytes(size), suite + label + secret, name)

    context = b"\0" + extract(b"", b"psk_id_hash", b"") + extract(b"", b"info_hash", info)
    secret = extract(shared, b"secret", b"")
    return tuple(
        expand(secret, u16(length) + suite + label + context, length, name)
        for label, length in ((b"key", KEY_BYTES[aead]), (b"base_nonce", 12), (b"exp", size))
    )


def seal(ids, enc, shared, info, plain):
    """Give a whole single-shot message: the encapsulation and the sealed text."""
    key, nonce, _ = key_schedule(ids, shared, info)
    return enc + AESGCM(key).encrypt(nonce, plain, b"")


def open_sealed(ids, sealed, shared, info):
    """Open the second part of a single-shot message."""
    key, nonce, _ = key_schedule(ids, shared, info)
    return AESGCM(key).decrypt(nonce, sealed, b"")


def combine(lattice_secret, curve_secret, curve_ciphertext, curve_public, label):
    """Join two shared secrets, as X-Wing and the hybrids of the HPKE draft do."""
    parts = lattice_secret + curve_secret + curve_ciphertext + curve_public + label
    return hashlib.sha3_256(parts).digest()


def nist_agreement(curve, scalar, point):
    """Give the public point of `scalar` and the x coordinate that it shares with `point`."""
    private = ec.derive_private_key(scalar, curve)
    other = ec.EllipticCurvePublicKey.from_encoded_point(curve, point)
    public = private.public_key().public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    return public, private.exchange(ec.ECDH(), other)


def x25519_agreement(scalar, point):
    """Give the public point of `scalar` and the secret that it shares with `point`."""
    private = x25519.X25519PrivateKey.from_private_bytes(scalar)
    other = x25519.X25519PublicKey.from_public_bytes(point)
    return private.public_key().public_bytes_raw(), private.exchange(other)
