"""A credential: the two keys of one holder, each with its certificate chain."""

from typing import Annotated, Any, Final

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from msgspec import Meta

from cronos.crypto.pki import profile
from cronos.crypto.pki.chain import Identity, Revoked, public_bytes, verify_chain
from cronos.crypto.pki.profile import ALGORITHMS, MLDSA, P384, PrivateKey
from cronos.crypto.pki.trust import Der, Trust
from cronos.crypto.refusal import refused
from cronos.types import Now

Chain = Annotated[tuple[Der, ...], Meta(min_length=2, max_length=2)]
Secret = Annotated[bytes, Meta(min_length=1, max_length=8_192)]


class Chains(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Leaf and issuer on both algorithms; public."""

    p384: Chain
    mldsa: Chain

    def of(self, algorithm: str) -> tuple[bytes, ...]:
        """Give the chain of one algorithm."""
        return self.p384 if algorithm == P384 else self.mldsa


class Keys(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Two private keys as PKCS8; kept only in memory and in sealed files."""

    p384: Secret
    mldsa: Secret

    def __repr__(self) -> str:
        return "<two private keys>"

    def __reduce__(self) -> Any:
        raise TypeError("private keys are not copied")

    def of(self, algorithm: str) -> PrivateKey:
        """Give the key of one algorithm.

        Raises:
            DeniedError: these bytes are none.
        """
        try:
            return profile.key_from(algorithm, self.p384 if algorithm == P384 else self.mldsa)
        except (ValueError, TypeError):
            raise refused() from None


class Credential(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a process proves its identity with."""

    chains: Chains
    keys: Keys
    trust: Trust

    def __repr__(self) -> str:
        return "<a credential>"

    def identity(self, now: Now, revoked: Revoked, algorithm: str = MLDSA) -> Identity:
        """Say who this is, as any peer would.

        Raises:
            DeniedError: nobody: expired, revoked, or not of this trust.
        """
        return verify_chain(self.chains.of(algorithm), self.trust, now, revoked)

    def public(self, algorithm: str) -> bytes:
        """Give the public key that the leaf certifies; see `chain.public_bytes`."""
        leaf = x509.load_der_x509_certificate(self.chains.of(algorithm)[0])
        return public_bytes(leaf.public_key())

    def key_pem(self, algorithm: str) -> bytes:
        """Give a private key as PEM, for a TLS library; for memory only."""
        key = self.keys.of(algorithm)
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    def chain_pem(self, algorithm: str) -> bytes:
        """Give leaf and issuer as PEM, in the order that TLS libraries want."""
        return b"".join([to_pem(der) for der in self.chains.of(algorithm)])

    def root_pem(self, algorithm: str) -> bytes:
        """Give the root as PEM."""
        return to_pem(self.trust.roots()[algorithm])


def generate_keys() -> Keys:
    """Make the two keys of a new credential."""
    made = [profile.key_bytes(profile.generate_key(algorithm)) for algorithm in ALGORITHMS]
    return Keys(*made)


def to_pem(der: bytes) -> bytes:
    """Give a certificate as PEM.

    Raises:
        DeniedError: it is none.
    """
    try:
        return x509.load_der_x509_certificate(der).public_bytes(Encoding.PEM)
    except ValueError:
        raise refused() from None


_ENCODER: Final = msgspec.msgpack.Encoder()
_DECODER: Final = msgspec.msgpack.Decoder(Credential)


def pack_credential(credential: Credential) -> bytes:
    """Encode a credential, private keys included: to be sealed at once."""
    return _ENCODER.encode(credential)


def unpack_credential(data: bytes) -> Credential:
    """Read what `pack_credential` gave.

    Raises:
        DeniedError: it is nothing of the kind.
    """
    try:
        return _DECODER.decode(data)
    except (msgspec.DecodeError, ValueError, RecursionError):
        raise refused() from None
