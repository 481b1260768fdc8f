"""Certificates as an attacker, or a careless authority, would make them."""

from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256, SHA384
from tests.unit.crypto.pki.plant import NOW_NS, shared_plant

from cronos.crypto.pki import profile
from cronos.crypto.pki.profile import GRANT, Grant, Half

KEY_HASH = b"h" * 48


def issuer_half(algorithm=profile.P384, name="issuer-1"):
    """The shared plant's own issuer: what it signs has a true signature."""
    authority = shared_plant().authority
    with authority._registry.work() as book:
        row = next(one for one in book.issuers() if one.name == name)
    return authority._halves(row)[algorithm]


def grant_extension(kind="node", roles=("defense",), key_hash=KEY_HASH, version=1):
    grant = Grant(version=version, kind=kind, roles=list(roles), key_hash=key_hash)
    return x509.UnrecognizedExtension(GRANT, asn1.encode_der(grant))


def standard_extensions():
    """The extensions of a good node leaf: (extension, critical) under a short name."""
    return {
        "basic": (x509.BasicConstraints(ca=False, path_length=None), True),
        "usage": (profile.LEAF_USAGE, True),
        "names": (
            x509.SubjectAlternativeName(
                [
                    x509.UniformResourceIdentifier("spiffe://plant.example/node/alpha"),
                    x509.DNSName("alpha.node.plant.example"),
                ]
            ),
            False,
        ),
        "extended": (x509.ExtendedKeyUsage(profile.USAGES["node"]), False),
        "grant": (grant_extension(), False),
    }


def names(*entries):
    kinds = {"uri": x509.UniformResourceIdentifier, "dns": x509.DNSName, "mail": x509.RFC822Name}
    return x509.SubjectAlternativeName([kinds[kind](value) for kind, value in entries])


def leaf(
    issuer=None,
    *,
    key=None,
    window=None,
    hashed=None,
    version_subject=None,
    subject=True,
    **changes,
):
    """A leaf that is good but for `changes`: a name of `standard_extensions`, or a new one.

    A change is (extension, critical), or None to leave it out.
    """
    issuer = issuer or issuer_half()
    key = key or profile.generate_key(profile.algorithm_of(issuer.key.public_key()))
    first, last = window or (NOW_NS - 60_000_000_000, NOW_NS + profile.HOUR_NS)
    builder = x509.CertificateBuilder(
        issuer_name=version_subject or issuer.certificate.subject,
        subject_name=x509.Name(
            [x509.NameAttribute(x509.NameOID.COMMON_NAME, "node alpha")] if subject else []
        ),
        public_key=key.public_key(),
        serial_number=profile.new_serial(),
        not_valid_before=profile.instant(first),
        not_valid_after=profile.instant(last),
    )
    for change in ({**standard_extensions(), **changes}).values():
        if change is not None:
            builder = builder.add_extension(*change)
    classical = isinstance(issuer.key, ec.EllipticCurvePrivateKey)
    made = builder.sign(issuer.key, (hashed or SHA384()) if classical else None)
    return profile.encoded(made)


def chain(issuer=None, **changes):
    issuer = issuer or issuer_half()
    return (leaf(issuer, **changes), issuer.der)


def other_root(domain="plant.example", algorithm=profile.P384):
    """A root of the same name, made by somebody else."""
    key = profile.generate_key(algorithm)
    return Half(profile.root_certificate(domain, key, NOW_NS), key)


def other_issuer(root, domain="plant.example", kinds=("node",), algorithm=profile.P384):
    key = profile.generate_key(algorithm)
    subject = profile.Subject(domain, "issuer", "issuer-1", kinds)
    return Half(profile.issuer_certificate(root, subject, key.public_key(), NOW_NS), key)


def root_half(algorithm=profile.P384):
    """The shared plant's true root."""
    from cronos.crypto.pki.authority import _root_halves  # noqa: PLC0415 - only a forger needs it

    plant = shared_plant()
    return _root_halves(plant.trust, plant.home, plant.offline)[algorithm]


def custom_issuer(**changes):
    """An issuer that the true root signed, with extensions of one's own."""
    root, key = root_half(), profile.generate_key(profile.P384)
    usual = {
        "basic": (x509.BasicConstraints(ca=True, path_length=0), True),
        "usage": (profile._AUTHORITY_USAGE, True),
        "constraints": (profile.constraints("plant.example"), True),
        "extended": (x509.ExtendedKeyUsage(profile.USAGES["issuer"]), False),
        "grant": (grant_extension("issuer", ("node",), b""), False),
    }
    builder = x509.CertificateBuilder(
        issuer_name=root.certificate.subject,
        subject_name=x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer-9")]),
        public_key=key.public_key(),
        serial_number=profile.new_serial(),
        not_valid_before=profile.instant(NOW_NS - 60_000_000_000),
        not_valid_after=profile.instant(NOW_NS + profile.DAY_NS),
    )
    for change in ({**usual, **changes}).values():
        if change is not None:
            builder = builder.add_extension(*change)
    return Half(builder.sign(root.key, SHA384()), key)


SHA_256 = SHA256()
