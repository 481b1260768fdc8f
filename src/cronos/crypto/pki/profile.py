"""What our certificates look like: the profiles of root, issuer and leaf, and the grant in them.

The grant is a non-critical extension that says what RFC 5280 has no word for: of which kind the
holder is, which roles it may hold (for an issuer: which kinds it may issue), and the hash of the
ML-DSA-87 key that signs for it above TLS. Others ignore it; `chain` asks for it.

Our object identifiers stand below ``2.25.<uuid>``, the arc that X.667 gives to everybody:
``.1`` the grant, ``.2`` the extended key usage of signing orders.

Source: RFC 5280, 4.1 and 4.2; FIPS 204; RFC 9881 (ML-DSA in X.509); SPIFFE X.509-SVID.
"""

import datetime as dt
import hashlib
import secrets
from typing import Any, Final, TypeAlias

import msgspec
from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric import ec, mldsa
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_der_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cronos.crypto.pki.names import NODE, OPERATOR, SERVICE, host_name, spiffe_id

P384: Final = "p-384"
MLDSA: Final = "ml-dsa-87"
ALGORITHMS: Final = (P384, MLDSA)
ARC: Final = "2.25.201192285730756886863446530737783044489"
GRANT: Final = x509.ObjectIdentifier(f"{ARC}.1")
ORDERS: Final = x509.ObjectIdentifier(f"{ARC}.2")
ISSUER: Final = "issuer"
HOUR_NS: Final = 3_600_000_000_000
DAY_NS: Final = 24 * HOUR_NS
# A peer whose clock is behind by this much still takes a certificate that is minutes old.
SKEW_NS: Final = 5 * 60 * 1_000_000_000
# The longest that anyone may still renew after a certificate's end. Revocation lists remember for
# as long: neither a grace nor a peer's clock that is behind brings back what was revoked.
MAX_GRACE_NS: Final = 7 * DAY_NS
LIFE_NS: Final = {
    "root": 20 * 365 * DAY_NS,
    ISSUER: 2 * 365 * DAY_NS,
    NODE: DAY_NS,
    OPERATOR: 90 * DAY_NS,
    SERVICE: 90 * DAY_NS,
}
_TLS: Final = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
USAGES: Final = {
    NODE: _TLS,
    SERVICE: _TLS,
    OPERATOR: (ExtendedKeyUsageOID.CLIENT_AUTH, ORDERS),
    ISSUER: (*_TLS, ORDERS),
}
_VERSION: Final = 1

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | mldsa.MLDSA87PrivateKey
PublicKey: TypeAlias = ec.EllipticCurvePublicKey | mldsa.MLDSA87PublicKey


@asn1.sequence
class Grant:
    """The extension's content: ``SEQUENCE { INTEGER, UTF8String, SEQUENCE OF UTF8String, OCTET }``.

    Attributes:
        kind: ``node``, ``operator``, ``service`` or ``issuer``.
        roles: allowed roles; for an issuer the kinds that it may issue.
        key_hash: SHA-384 of the bound ML-DSA-87 public key; empty for an issuer.
    """

    version: int
    kind: str
    roles: list[str]
    key_hash: bytes


class Subject(msgspec.Struct, frozen=True):
    """Whom a certificate is about; `key_hash` as in `Grant`."""

    domain: str
    kind: str
    name: str
    roles: tuple[str, ...]
    key_hash: bytes = b""


class Half:
    """A certificate authority's half: its certificate and its key, on one algorithm."""

    def __init__(self, certificate: x509.Certificate, key: PrivateKey) -> None:
        self.certificate = certificate
        self.key = key

    @property
    def der(self) -> bytes:
        """The certificate, encoded."""
        return encoded(self.certificate)


def encoded(certificate: x509.Certificate) -> bytes:
    """Give a certificate as DER."""
    return certificate.public_bytes(Encoding.DER)


def generate_key(algorithm: str) -> PrivateKey:
    """Make a key on P-384 or ML-DSA-87."""
    if algorithm == P384:
        return ec.generate_private_key(ec.SECP384R1())
    return mldsa.MLDSA87PrivateKey.generate()


def key_bytes(key: PrivateKey) -> bytes:
    """Give a key as PKCS8; never to be written where it is not sealed."""
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def key_from(algorithm: str, data: bytes) -> PrivateKey:
    """Read what `key_bytes` gave.

    Raises:
        ValueError: these bytes are no such key.
    """
    key = load_der_private_key(data, None)
    if algorithm_of(key.public_key()) != algorithm:
        raise ValueError("a key of another algorithm")
    return key  # type: ignore[return-value]  # algorithm_of has just looked


def algorithm_of(public: Any) -> str:
    """Name the algorithm of a public key; empty for all that we do not use."""
    if isinstance(public, mldsa.MLDSA87PublicKey):
        return MLDSA
    if isinstance(public, ec.EllipticCurvePublicKey) and isinstance(public.curve, ec.SECP384R1):
        return P384
    return ""


def bound_hash(public: bytes) -> bytes:
    """Give the hash by which a grant binds an ML-DSA-87 public key."""
    return hashlib.sha384(public).digest()


def instant(wall_ns: int) -> dt.datetime:
    """Give Unix time as certificates want it: in whole seconds."""
    return dt.datetime.fromtimestamp(wall_ns // 1_000_000_000, dt.UTC)


def nanoseconds(moment: dt.datetime) -> int:
    """Give a certificate's time as Unix time."""
    return int(moment.timestamp()) * 1_000_000_000


def root_certificate(domain: str, key: PrivateKey, now_ns: int) -> x509.Certificate:
    """Make a root; its two halves carry the same name."""
    name = _name(domain, "root")
    builder = _begin(name, name, key.public_key(), _window("root", now_ns))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=1), critical=True)
    return _sign(builder.add_extension(_AUTHORITY_USAGE, critical=True), key.public_key(), key)


def issuer_certificate(
    root: Half, subject: Subject, public: PublicKey, now_ns: int
) -> x509.Certificate:
    """Make an issuer: it may issue leaves of the kinds in `subject.roles`, in this domain only."""
    name = _name(subject.domain, subject.name)
    builder = _begin(name, root.certificate.subject, public, _window(ISSUER, now_ns, root))
    builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
    builder = builder.add_extension(_AUTHORITY_USAGE, critical=True)
    builder = builder.add_extension(constraints(subject.domain), critical=True)
    return _sign(_granted(builder, subject, ISSUER), public, root.key)


def leaf_certificate(
    issuer: Half, subject: Subject, public: PublicKey, now_ns: int
) -> x509.Certificate:
    """Make a leaf; its life is its kind's, and never longer than its issuer's."""
    name = _name(subject.domain, f"{subject.kind} {subject.name}")
    window = _window(subject.kind, now_ns, issuer)
    builder = _begin(name, issuer.certificate.subject, public, window)
    builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), True)
    builder = builder.add_extension(LEAF_USAGE, critical=True)
    names = (
        x509.UniformResourceIdentifier(spiffe_id(subject.domain, subject.kind, subject.name)),
        x509.DNSName(host_name(subject.domain, subject.kind, subject.name)),
    )
    builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
    return _sign(_granted(builder, subject, subject.kind), public, issuer.key)


def constraints(domain: str) -> x509.NameConstraints:
    """Give an issuer's name constraints: URIs and host names of its own domain."""
    permitted = (x509.UniformResourceIdentifier(domain), x509.DNSName(domain))
    return x509.NameConstraints(permitted, None)


def new_serial() -> int:
    """Draw a serial number of 128 bits."""
    return int.from_bytes(secrets.token_bytes(16), "big") | 1


def serial_hex(serial: int) -> str:
    """Write a serial number as people and lists know it: 32 hex digits."""
    return f"{serial:032x}"


def _usage(*, leaf: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=leaf,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=not leaf,
        crl_sign=not leaf,
        encipher_only=False,
        decipher_only=False,
    )


LEAF_USAGE: Final = _usage(leaf=True)
_AUTHORITY_USAGE: Final = _usage(leaf=False)


def _name(domain: str, name: str) -> x509.Name:
    """Two attributes, so that the length limit of a common name (64) is never met."""
    return x509.Name(
        [
            x509.NameAttribute(NameOID.ORGANIZATION_NAME, domain[:64]),
            x509.NameAttribute(NameOID.COMMON_NAME, name[:64]),
        ]
    )


def _window(kind: str, now_ns: int, parent: Half | None = None) -> tuple[int, int]:
    """Give first and last moment: backdated by the skew, and within the parent's."""
    first, last = now_ns - SKEW_NS, now_ns + LIFE_NS[kind]
    if parent is not None:
        first = max(first, nanoseconds(parent.certificate.not_valid_before_utc))
        last = min(last, nanoseconds(parent.certificate.not_valid_after_utc))
    return first, last


def _begin(
    subject: x509.Name, issuer: x509.Name, public: PublicKey, window: tuple[int, int]
) -> x509.CertificateBuilder:
    return x509.CertificateBuilder(
        issuer_name=issuer,
        subject_name=subject,
        public_key=public,
        serial_number=new_serial(),
        not_valid_before=instant(window[0]),
        not_valid_after=instant(window[1]),
    )


def _granted(
    builder: x509.CertificateBuilder, subject: Subject, kind: str
) -> x509.CertificateBuilder:
    grant = asn1.encode_der(
        Grant(version=_VERSION, kind=kind, roles=list(subject.roles), key_hash=subject.key_hash)
    )
    builder = builder.add_extension(x509.ExtendedKeyUsage(USAGES[kind]), critical=False)
    return builder.add_extension(x509.UnrecognizedExtension(GRANT, grant), critical=False)


def _sign(builder: x509.CertificateBuilder, public: PublicKey, key: PrivateKey) -> x509.Certificate:
    builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
    above = x509.AuthorityKeyIdentifier.from_issuer_public_key(key.public_key())
    builder = builder.add_extension(above, critical=False)
    return builder.sign(key, SHA384() if isinstance(key, ec.EllipticCurvePrivateKey) else None)
