"""What the installed `cryptography` can do: asked at the start, answered in a sentence.

A release before 50, or one that was built against an older OpenSSL, installs and imports well, and
lacks just what Cronos stands on. So nothing is believed of a version number: each algorithm does
once what will be asked of it, and its key from the zero seed must be the one that FIPS 203 and 204
give: a draft of the same name (Kyber, Dilithium) makes another.
"""

import hashlib
from importlib import import_module
from typing import Any, Final

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm

from cronos.errors import InputError

_PRIMITIVES: Final = "cryptography.hazmat.primitives."
# What a missing algorithm looks like: no module, no name in it, or an OpenSSL that lacks it.
MISSING: Final = (ImportError, AttributeError, UnsupportedAlgorithm)


class _Lattice(msgspec.Struct, frozen=True):
    """A parameter set of ML-KEM or ML-DSA, and the SHA-256[:8] of its key from the zero seed."""

    module: str
    name: str
    seed_bytes: int
    known: str

    def secret(self) -> Any:
        """Make the key from the zero seed and compare what it must be."""
        kind = getattr(import_module(_PRIMITIVES + self.module), f"{self.name}PrivateKey")
        key = kind.from_seed_bytes(bytes(self.seed_bytes))
        if hashlib.sha256(key.public_key().public_bytes_raw()).hexdigest()[:16] != self.known:
            raise UnsupportedAlgorithm(f"{self.name} is not the final standard")
        return key


_KEM768: Final = _Lattice("asymmetric.mlkem", "MLKEM768", 64, "f95c185fe5b2335d")
_KEM1024: Final = _Lattice("asymmetric.mlkem", "MLKEM1024", 64, "29e3692e1c08422f")
_SIGNATURES: Final = {
    "ml-dsa-44": _Lattice("asymmetric.mldsa", "MLDSA44", 32, "eb4e7302842153b0"),
    "ml-dsa-65": _Lattice("asymmetric.mldsa", "MLDSA65", 32, "085ba380ff386dd5"),
    "ml-dsa-87": _Lattice("asymmetric.mldsa", "MLDSA87", 32, "1d4a461707fc50a7"),
}


def _hybrid_key() -> Any:
    ec = import_module(_PRIMITIVES + "asymmetric.ec")
    curve = ec.derive_private_key(1, ec.SECP384R1())
    hpke = import_module(_PRIMITIVES + "hpke")
    return hpke.MLKEM1024P384PrivateKey(_KEM1024.secret(), curve)


def _rate_key() -> Any:
    x25519 = import_module(_PRIMITIVES + "asymmetric.x25519")
    curve = x25519.X25519PrivateKey.from_private_bytes(bytes(32))
    hpke = import_module(_PRIMITIVES + "hpke")
    return hpke.MLKEM768X25519PrivateKey(_KEM768.secret(), curve)


_SUITES: Final = {
    "hybrid": ("MLKEM1024_P384", _hybrid_key),
    "cnsa": ("MLKEM1024", _KEM1024.secret),
    "rate": ("MLKEM768_X25519", _rate_key),
}
ALGORITHMS: Final = (*_SUITES, *_SIGNATURES)


def check(*algorithms: str) -> None:
    """Use each named suite and signature scheme once; all six when none is named.

    At most a few milliseconds. Nothing that it makes is kept.

    Raises:
        InputError: the installed library lacks one, or does it otherwise than the standard.
    """
    for name in algorithms or ALGORITHMS:
        try:
            _try(name)
        except MISSING:
            raise unsupported(name) from None


def unsupported(what: str) -> InputError:
    """Give the error of an algorithm that the installed library lacks."""
    return InputError(
        "crypto.unsupported",
        f"`{what}` does not work with what is installed here: {installed()}.",
        "Install the wheel that brings its own OpenSSL: pip install --only-binary :all: "
        "'cryptography>=50'.",
    )


def installed() -> str:
    """Name the library that is imported, and its OpenSSL, with versions."""
    library = (
        f"cryptography {getattr(import_module('cryptography'), '__version__', '(no version)')}"
    )
    try:
        backend = import_module("cryptography.hazmat.backends.openssl").backend
    except MISSING:
        return library
    return f"{library} with {backend.openssl_version_text()}"


def _try(name: str) -> None:
    if name in _SIGNATURES:
        key = _SIGNATURES[name].secret()
        key.public_key().verify(key.sign(b"message", b"context"), b"message", b"context")
        return
    if name not in _SUITES:
        raise unsupported(name)
    kem, make = _SUITES[name]
    hpke = import_module(_PRIMITIVES + "hpke")
    suite = hpke.Suite(getattr(hpke.KEM, kem), hpke.KDF.HKDF_SHA384, hpke.AEAD.AES_256_GCM)
    key = make()
    suite.decrypt(suite.encrypt(b"plain", key.public_key(), b"info"), key, b"info")
