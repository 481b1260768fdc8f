"""Verification of a certificate chain: leaf, issuer, pinned root, and nothing longer or shorter.

We do not ask a TLS library: it would build paths through whatever it is offered, and take every
profile that RFC 5280 allows. Here a chain is exactly ours or it is refused. Until both signatures
hold every refusal is the same; only then may a person learn that it is expired or revoked.

Source: RFC 5280, section 6, cut down to one shape.
"""

import functools
import hmac
from collections.abc import Collection, Sequence
from typing import Any, Final, Protocol

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtensionOID, NameOID, SignatureAlgorithmOID

from cronos.crypto.pki import profile
from cronos.crypto.pki.names import KINDS, ROLES, host_name, parse_id
from cronos.crypto.pki.profile import GRANT, ISSUER, MLDSA, P384, Grant
from cronos.crypto.pki.trust import MAX_CERTIFICATE_BYTES, Trust
from cronos.crypto.refusal import refused
from cronos.errors import DeniedError
from cronos.types import Now

EXPIRED: Final = "crypto.certificate_expired"
NOT_YET: Final = "crypto.certificate_not_yet_valid"
REVOKED: Final = "crypto.certificate_revoked"
_KEY_HASH_BYTES: Final = 48
# What a revocation list can name: a certificate that it cannot is none of ours.
_SERIAL_BITS: Final = 128
_ISSUERS_KEPT: Final = 32
_CHAINS_KEPT: Final = 256
_SIGNED_WITH: Final = {
    P384: SignatureAlgorithmOID.ECDSA_WITH_SHA384,
    MLDSA: x509.ObjectIdentifier("2.16.840.1.101.3.4.3.19"),
}
_LEAF: Final = frozenset(
    {
        ExtensionOID.BASIC_CONSTRAINTS,
        ExtensionOID.KEY_USAGE,
        ExtensionOID.SUBJECT_ALTERNATIVE_NAME,
        ExtensionOID.EXTENDED_KEY_USAGE,
        GRANT,
    }
)
_ISSUER: Final = _LEAF - {ExtensionOID.SUBJECT_ALTERNATIVE_NAME} | {ExtensionOID.NAME_CONSTRAINTS}
_CRITICAL: Final = frozenset(
    {ExtensionOID.BASIC_CONSTRAINTS, ExtensionOID.KEY_USAGE, ExtensionOID.NAME_CONSTRAINTS}
)
# Whatever a parser of hostile bytes may raise; a warning is one where warnings are errors.
_UNPARSED: Final = (
    ValueError,
    TypeError,
    KeyError,
    OverflowError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.ExtensionNotFound,
    x509.UnsupportedGeneralNameType,
    x509.InvalidVersion,
    Warning,
)


class Identity(msgspec.Struct, frozen=True):
    """What a verified chain says of its holder.

    Attributes:
        kind: ``node``, ``operator`` or ``service``.
        roles: the roles that it may hold, none other.
        mldsa_hash: SHA-384 of the ML-DSA-87 key that signs for it above TLS.
        serial: the leaf's serial number, 32 hex digits.
        not_after_ns: Unix time from which on it is nobody.
        issuer: the issuer's name; its revocation list is asked.
        issuer_serial: the issuer's serial number.
        algorithm: of the leaf's own key.
    """

    kind: str
    name: str
    roles: tuple[str, ...]
    mldsa_hash: bytes
    serial: str
    not_after_ns: int
    issuer: str
    issuer_serial: str
    algorithm: str


class Revoked(Protocol):
    """Who knows what was revoked."""

    def is_revoked(self, issuer: str, serial: str) -> bool:
        """Say whether `issuer` (or the root) took the certificate of this serial back."""
        ...


def verify_chain(
    chain: Sequence[bytes],
    trust: Trust,
    now: Now,
    revoked: Revoked,
    kinds: Collection[str] = KINDS,
    grace_ns: int = 0,
) -> Identity:
    """Say whose chain this is.

    Args:
        chain: leaf and issuer, DER; the root may follow, and must then be the pinned one.
        trust: the pinned roots.
        now: the time; its uncertainty counts in favour of a certificate that is too young, never
            of one that is too old.
        revoked: the revocation lists.
        kinds: which kinds of holder the caller has to do with.
        grace_ns: for how long after its end the leaf, never its issuer, still counts.

    Raises:
        DeniedError: it is not exactly a chain of ours, or expired, or revoked; the code says which
            of the last two.
    """
    leaf, issuer, identity = _certified(tuple(chain), trust)
    if identity.kind not in kinds:
        raise refused()
    _require_time(leaf, now, identity.name, grace_ns)
    _require_time(issuer, now, identity.issuer)
    if revoked.is_revoked(identity.issuer, identity.serial) or revoked.is_revoked(
        "root", identity.issuer_serial
    ):
        raise DeniedError(
            REVOKED,
            f"The certificate of {identity.kind} {identity.name} is revoked.",
            "If this is a mistake, issue it a new one with `cronos pki issue`.",
        )
    return identity


def certified(chain: Sequence[bytes], trust: Trust) -> Identity:
    """Say whom a chain names, whatever the time and the lists say: only for one's own.

    Raises:
        DeniedError: it is not exactly a chain of ours.
    """
    return _certified(tuple(chain), trust)[2]


@functools.lru_cache(_CHAINS_KEPT)
def _certified(
    chain: tuple[bytes, ...], trust: Trust
) -> tuple[x509.Certificate, x509.Certificate, Identity]:
    """Give what the same bytes always say: who signed them, and for whom.

    A peer shows its chain with each stream. Its time and its revocation are asked at every use,
    by the caller; what fails is not kept, so that only what the root let in takes a place.
    """
    try:
        leaf, issuer, algorithm = _parsed(chain, trust)
        return leaf, issuer, _identity(leaf, issuer, algorithm, trust)
    except (*_UNPARSED, InvalidSignature):
        raise refused() from None


def verify_issuer(der: bytes, trust: Trust) -> tuple[str, str, Any]:
    """Give name, serial and public key of an ML-DSA-87 issuer that the root made.

    Its time is not asked: what an issuer once revoked stays revoked.

    Raises:
        DeniedError: it is none of ours.
    """
    try:
        certificate = _issuer(der, trust.mldsa_root, trust.domain, MLDSA)
        return (
            common_name(certificate),
            profile.serial_hex(certificate.serial_number),
            certificate.public_key(),
        )
    except (*_UNPARSED, InvalidSignature):
        raise refused() from None


def root_key(trust: Trust) -> Any:
    """Give the ML-DSA-87 public key of the root.

    Raises:
        DeniedError: the pinned bytes are no such certificate.
    """
    try:
        return _load(trust.mldsa_root).public_key()
    except _UNPARSED:
        raise refused() from None


def claimed_domain(leaf: bytes) -> str:
    """Give the trust domain that a leaf names; nothing is verified yet.

    Raises:
        DeniedError: it names none.
    """
    try:
        alternatives = _load(leaf).extensions.get_extension_for_class(x509.SubjectAlternativeName)
        return _subject(alternatives.value)[0]
    except _UNPARSED:
        raise refused() from None


def common_name(certificate: x509.Certificate) -> str:
    """Give the common name, which for an issuer is its name."""
    (name,) = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(name.value)


def public_bytes(key: Any) -> bytes:
    """Give a public key as its own standard writes it: FIPS 204, or an uncompressed point."""
    if isinstance(key, ec.EllipticCurvePublicKey):
        return key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)
    raw: bytes = key.public_bytes_raw()
    return raw


def _parsed(chain: Sequence[bytes], trust: Trust) -> tuple[x509.Certificate, x509.Certificate, str]:
    """Parse and check signatures, from the pinned root down."""
    if not 2 <= len(chain) <= 3:
        raise ValueError("not leaf and issuer")
    leaf = _load(chain[0])
    algorithm = profile.algorithm_of(leaf.public_key())
    root = trust.roots()[algorithm]
    if len(chain) == 3 and not hmac.compare_digest(chain[2], root):
        raise ValueError("not the pinned root")
    issuer = _issuer(chain[1], root, trust.domain, algorithm)
    _require_signed(leaf, issuer, algorithm)
    return leaf, issuer, algorithm


def _load(der: bytes) -> x509.Certificate:
    if len(der) > MAX_CERTIFICATE_BYTES:
        raise ValueError("too long")
    certificate = x509.load_der_x509_certificate(der)
    serial = certificate.serial_number
    if certificate.version != x509.Version.v3 or not 0 < serial < 1 << _SERIAL_BITS:
        raise ValueError("not version 3, or no serial number of ours")
    # The parser lets a signature leave bits of its last byte unused: a second form of the same.
    if not der.endswith(b"\0" + certificate.signature):
        raise ValueError("a signature of half bytes")
    return certificate


@functools.lru_cache(_ISSUERS_KEPT)
def _issuer(der: bytes, root: bytes, domain: str, algorithm: str) -> x509.Certificate:
    """Give an issuer that this root signed, and that has the profile of one.

    What never changes is found out once for the same bytes: signature and profile. Its time and
    its revocation are asked at every use, by the caller. What fails is not kept, so that only
    what the root signed takes a place.
    """
    issuer = _load(der)
    _require_signed(issuer, _load(root), algorithm)
    if profile.algorithm_of(issuer.public_key()) != algorithm:
        raise ValueError("an issuer of another algorithm")
    found = _extensions(issuer, _ISSUER)
    constraints: Any = found[ExtensionOID.BASIC_CONSTRAINTS]
    usage: Any = found[ExtensionOID.KEY_USAGE]
    if not constraints.ca or constraints.path_length != 0 or not usage.key_cert_sign:
        raise ValueError("no issuer")
    if found[ExtensionOID.NAME_CONSTRAINTS] != profile.constraints(domain):
        raise ValueError("an issuer of another domain")
    grant = _grant(found)
    if grant.kind != ISSUER or not set(grant.roles) <= set(KINDS):
        raise ValueError("no issuer's grant")
    return issuer


def _require_signed(child: x509.Certificate, parent: x509.Certificate, algorithm: str) -> None:
    if (
        child.issuer != parent.subject
        or child.signature_algorithm_oid != _SIGNED_WITH[algorithm]
        or profile.algorithm_of(parent.public_key()) != algorithm
    ):
        raise ValueError("not made by this parent")
    key: Any = parent.public_key()
    if algorithm == P384:
        key.verify(child.signature, child.tbs_certificate_bytes, ec.ECDSA(SHA384()))
    else:
        key.verify(child.signature, child.tbs_certificate_bytes)


def _identity(
    leaf: x509.Certificate, issuer: x509.Certificate, algorithm: str, trust: Trust
) -> Identity:
    """Check the leaf against its profile and its issuer's grant, and read its name."""
    found = _extensions(leaf, _LEAF)
    constraints: Any = found[ExtensionOID.BASIC_CONSTRAINTS]
    if constraints.ca or found[ExtensionOID.KEY_USAGE] != profile.LEAF_USAGE:
        raise ValueError("no leaf")
    domain, kind, name = _subject(found[ExtensionOID.SUBJECT_ALTERNATIVE_NAME])
    grant = _grant(found)
    usages: Any = found[ExtensionOID.EXTENDED_KEY_USAGE]
    if (
        domain != trust.domain
        or grant.kind != kind
        or not set(grant.roles) <= set(ROLES[kind])
        or len(grant.key_hash) != _KEY_HASH_BYTES
        or tuple(usages) != profile.USAGES[kind]
        or kind not in _grant(_extensions(issuer, _ISSUER)).roles
    ):
        raise ValueError("a leaf that this issuer may not make")
    return Identity(
        kind,
        name,
        tuple(grant.roles),
        grant.key_hash,
        profile.serial_hex(leaf.serial_number),
        profile.nanoseconds(leaf.not_valid_after_utc),
        common_name(issuer),
        profile.serial_hex(issuer.serial_number),
        algorithm,
    )


def _subject(alternatives: Any) -> tuple[str, str, str]:
    """Read the one SPIFFE id; beside it only the host name that follows from it may stand."""
    uris = [one for one in alternatives if isinstance(one, x509.UniformResourceIdentifier)]
    if len(uris) != 1 or len(alternatives) != 2:
        raise ValueError("not one id")
    parsed = parse_id(uris[0].value)
    if parsed is None or x509.DNSName(host_name(*parsed)) not in alternatives:
        raise ValueError("no id of ours")
    return parsed


def _extensions(
    certificate: x509.Certificate, wanted: frozenset[x509.ObjectIdentifier]
) -> dict[x509.ObjectIdentifier, Any]:
    """Give the extensions that the profile has; all must be there, and no other critical one."""
    found = {one.oid: one for one in certificate.extensions}
    for oid, one in found.items():
        if one.critical and oid not in wanted:
            raise ValueError("an unknown critical extension")
    for oid in wanted:
        if found[oid].critical != (oid in _CRITICAL):
            raise ValueError("an extension that is not as critical as it should be")
    return {oid: found[oid].value for oid in wanted}


def _grant(found: dict[x509.ObjectIdentifier, Any]) -> Grant:
    grant = asn1.decode_der(Grant, found[GRANT].value)
    if grant.version != 1 or len(set(grant.roles)) != len(grant.roles):
        raise ValueError("an unknown grant")
    return grant


def _require_time(certificate: x509.Certificate, now: Now, name: str, grace_ns: int = 0) -> None:
    if now.wall_ns + now.wall_uncertainty_ns < profile.nanoseconds(
        certificate.not_valid_before_utc
    ):
        raise DeniedError(
            NOT_YET,
            f"The certificate of `{name}` is not valid yet.",
            "Set the clock: one of the two machines is behind or ahead.",
        )
    if now.wall_ns >= profile.nanoseconds(certificate.not_valid_after_utc) + grace_ns:
        raise DeniedError(
            EXPIRED,
            f"The certificate of `{name}` has expired.",
            "Renew it with `cronos pki rotate`; after the grace, join or issue it anew.",
        )
