"""The certificates that we make: what stands in them, and for how long."""

import pytest
from cryptography import x509
from cryptography.hazmat import asn1
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtensionOID
from tests.unit.crypto.pki.plant import NOW_NS, shared_credential, shared_plant

from cronos.crypto.pki import profile
from cronos.crypto.pki.profile import ALGORITHMS, GRANT, MLDSA, P384, Grant


def leaf(algorithm):
    der = shared_credential().chains.of(algorithm)[0]
    return x509.load_der_x509_certificate(der)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_node_leaf_has_one_uri_in_the_trust_domain_and_the_host_name_that_grpc_wants(algorithm):
    names = leaf(algorithm).extensions.get_extension_for_oid(ExtensionOID.SUBJECT_ALTERNATIVE_NAME)

    assert names.value.get_values_for_type(x509.UniformResourceIdentifier) == [
        "spiffe://plant.example/node/alpha"
    ]
    assert names.value.get_values_for_type(x509.DNSName) == ["alpha.node.plant.example"]


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_node_leaf_lives_a_day_and_is_backdated_by_the_skew(algorithm):
    found = leaf(algorithm)

    assert profile.nanoseconds(found.not_valid_before_utc) == NOW_NS - profile.SKEW_NS
    assert profile.nanoseconds(found.not_valid_after_utc) == NOW_NS + profile.DAY_NS


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_leaf_may_sign_and_nothing_else(algorithm):
    extensions = leaf(algorithm).extensions
    usage = extensions.get_extension_for_class(x509.KeyUsage)
    basic = extensions.get_extension_for_class(x509.BasicConstraints)

    assert usage.critical
    assert usage.value == profile.LEAF_USAGE
    assert not usage.value.key_cert_sign
    assert basic.critical
    assert not basic.value.ca


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_grant_names_roles_and_binds_the_signing_key(algorithm):
    extension = leaf(algorithm).extensions.get_extension_for_oid(GRANT)
    grant = asn1.decode_der(Grant, extension.value.value)

    assert not extension.critical
    assert (grant.version, grant.kind, grant.roles) == (1, "node", ["defense", "audit"])
    assert len(grant.key_hash) == 48


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_an_issuer_is_bound_to_its_domain_and_to_leaves(algorithm):
    der = shared_credential().chains.of(algorithm)[1]
    extensions = x509.load_der_x509_certificate(der).extensions
    basic = extensions.get_extension_for_class(x509.BasicConstraints).value
    names = extensions.get_extension_for_class(x509.NameConstraints)
    grant = asn1.decode_der(Grant, extensions.get_extension_for_oid(GRANT).value.value)

    assert (basic.ca, basic.path_length) == (True, 0)
    assert names.critical
    assert names.value == profile.constraints("plant.example")
    assert grant.roles == ["node", "service"]


def test_serial_numbers_are_drawn_from_128_bits():
    drawn = {profile.new_serial() for _ in range(1000)}

    assert len(drawn) == 1000
    assert max(drawn) < 1 << 128
    assert min(drawn) > 0
    assert max(drawn) > 1 << 120
    assert len(profile.serial_hex(1)) == 32


def test_both_halves_of_a_leaf_have_their_own_serial_number():
    assert leaf(P384).serial_number != leaf(MLDSA).serial_number


def test_a_leaf_never_outlives_its_issuer():
    plant = shared_plant()
    key = profile.generate_key(P384)
    root = profile.Half(profile.root_certificate("plant.example", key, NOW_NS), key)
    own = profile.generate_key(P384)
    subject = profile.Subject("plant.example", "issuer", "late", ("operator",))
    issuer = profile.Half(profile.issuer_certificate(root, subject, own.public_key(), NOW_NS), own)
    late_ns = NOW_NS + profile.LIFE_NS["issuer"] - profile.HOUR_NS
    person = profile.Subject(plant.trust.domain, "operator", "eve", ("admin",), b"h" * 48)
    made = profile.leaf_certificate(issuer, person, own.public_key(), late_ns)

    assert made.not_valid_after_utc == issuer.certificate.not_valid_after_utc


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_key_comes_back_from_its_bytes_and_only_as_what_it_is(algorithm):
    key = profile.generate_key(algorithm)
    other = MLDSA if algorithm == P384 else P384

    again = profile.key_from(algorithm, profile.key_bytes(key))

    assert again.public_key() == key.public_key()
    with pytest.raises(ValueError, match="another algorithm"):
        profile.key_from(other, profile.key_bytes(key))


def test_other_curves_are_none_of_ours():
    assert profile.algorithm_of(ec.generate_private_key(ec.SECP256R1()).public_key()) == ""
