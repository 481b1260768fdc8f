"""Chain verification: exactly our shape, or one and the same refusal."""

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from tests.unit.crypto.pki import forge
from tests.unit.crypto.pki.plant import DOMAIN, NOW_NS, S_NS, Plant, shared_credential, shared_plant

from cronos.crypto.pki import profile
from cronos.crypto.pki.chain import (
    EXPIRED,
    NOT_YET,
    REVOKED,
    claimed_domain,
    verify_chain,
    verify_issuer,
)
from cronos.crypto.pki.chain import _certified as known
from cronos.crypto.pki.chain import _issuer as issuers
from cronos.crypto.pki.profile import ALGORITHMS, MLDSA, P384
from cronos.crypto.pki.revocation import Revocations
from cronos.errors import DeniedError
from cronos.types import Now

NOW = Now(1, NOW_NS)


class NoneRevoked:
    def is_revoked(self, issuer, serial):
        return False


class OneRevoked:
    def __init__(self, scope, serial):
        self.one = (scope, serial)

    def is_revoked(self, issuer, serial):
        return (issuer, serial) == self.one


def verified(chain, now=NOW, revoked=None, **more):
    return verify_chain(chain, shared_plant().trust, now, revoked or NoneRevoked(), **more)


def assert_refused(chain, **more):
    with pytest.raises(DeniedError) as refused:
        verified(chain, **more)
    assert refused.value.code == "crypto.refused"
    assert refused.value.__cause__ is None


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_chain_of_ours_says_who_it_is(algorithm):
    identity = verified(shared_credential().chains.of(algorithm))

    assert (identity.kind, identity.name) == ("node", "alpha")
    assert identity.roles == ("defense", "audit")
    assert identity.algorithm == algorithm
    assert identity.issuer == "issuer-1"
    assert identity.not_after_ns == NOW_NS + profile.DAY_NS
    assert len(identity.mldsa_hash) == 48
    assert len(identity.serial) == 32


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_pinned_root_may_stand_at_the_end_and_no_other(algorithm):
    chain = shared_credential().chains.of(algorithm)
    root = shared_plant().trust.roots()[algorithm]

    assert verified((*chain, root)).name == "alpha"
    assert_refused((*chain, forge.other_root(algorithm=algorithm).der))
    assert_refused((*chain, root, root))


def test_a_forged_leaf_that_is_good_in_all_shows_that_the_forge_works():
    assert verified(forge.chain()).name == "alpha"


@pytest.mark.parametrize("count", [0, 1])
def test_less_than_leaf_and_issuer_is_refused(count):
    assert_refused(shared_credential().chains.p384[:count])


def test_a_leaf_straight_under_the_root_is_refused():
    root = forge.root_half()

    assert_refused((forge.leaf(root), root.der))


def test_a_leaf_under_a_leaf_is_refused():
    chain = shared_credential().chains.p384
    key = shared_credential().keys.of(P384)
    parent = profile.Half(x509.load_der_x509_certificate(chain[0]), key)

    assert_refused((forge.leaf(parent), chain[0]))


def test_the_chain_of_another_authority_with_the_same_names_is_refused():
    root = forge.other_root()

    assert_refused(forge.chain(forge.other_issuer(root)))
    assert_refused((*forge.chain(forge.other_issuer(root)), root.der))


def test_halves_of_the_two_chains_do_not_mix():
    p384, mldsa = (shared_credential().chains.of(one) for one in ALGORITHMS)

    assert_refused((p384[0], mldsa[1]))
    assert_refused((mldsa[0], p384[1]))
    assert_refused((p384[1], p384[0]))


def test_a_leaf_of_an_issuer_that_it_only_names_is_refused():
    stranger = forge.other_issuer(forge.other_root())
    true = forge.issuer_half()

    assert_refused((forge.leaf(stranger, version_subject=true.certificate.subject), true.der))


def test_another_hash_than_sha384_is_refused():
    assert_refused(forge.chain(hashed=forge.SHA_256))


@pytest.mark.parametrize(
    "key",
    [
        ec.generate_private_key(ec.SECP256R1()),
        ed25519.Ed25519PrivateKey.generate(),
        rsa.generate_private_key(65537, 2048),
        profile.generate_key(MLDSA),
    ],
    ids=["p-256", "ed25519", "rsa", "ml-dsa under p-384"],
)
def test_a_leaf_with_another_kind_of_key_is_refused(key):
    assert_refused(forge.chain(key=key))


URI = ("uri", "spiffe://plant.example/node/alpha")
DNS = ("dns", "alpha.node.plant.example")
CHANGES = {
    "no constraints": {"basic": None},
    "constraints not critical": {"basic": (x509.BasicConstraints(False, None), False)},
    "says it is an authority": {"basic": (x509.BasicConstraints(True, None), True)},
    "no key usage": {"usage": None},
    "may sign certificates": {"usage": (profile._AUTHORITY_USAGE, True)},
    "key usage not critical": {"usage": (profile.LEAF_USAGE, False)},
    "no name": {"names": None},
    "name critical": {"names": (forge.names(URI, DNS), True)},
    "two uris": {"names": (forge.names(URI, ("uri", "spiffe://plant.example/node/b"), DNS), False)},
    "uri twice": {"names": (forge.names(URI, URI), False)},
    "no uri": {"names": (forge.names(DNS), False)},
    "no host name": {"names": (forge.names(URI), False)},
    "another host name": {"names": (forge.names(URI, ("dns", "b.node.plant.example")), False)},
    "a wildcard": {"names": (forge.names(URI, ("dns", "*.node.plant.example")), False)},
    "a mail address": {"names": (forge.names(URI, DNS, ("mail", "a@b.example")), False)},
    "another domain": {
        "names": (
            forge.names(
                ("uri", "spiffe://other.example/node/alpha"), ("dns", "alpha.node.other.example")
            ),
            False,
        )
    },
    "a path trick": {
        "names": (forge.names(("uri", "spiffe://plant.example/node/../alpha"), DNS), False)
    },
    "no extended usage": {"extended": None},
    "any usage": {
        "extended": (
            x509.ExtendedKeyUsage([x509.oid.ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE]),
            False,
        )
    },
    "another kind's usage": {
        "extended": (x509.ExtendedKeyUsage(profile.USAGES["operator"]), False)
    },
    "no grant": {"grant": None},
    "grant critical": {"grant": (forge.grant_extension(), True)},
    "grant of another version": {"grant": (forge.grant_extension(version=2), False)},
    "grant of another kind": {"grant": (forge.grant_extension("operator", ("admin",)), False)},
    "a role that is none": {"grant": (forge.grant_extension(roles=("god",)), False)},
    "another kind's role": {"grant": (forge.grant_extension(roles=("admin",)), False)},
    "a role twice": {"grant": (forge.grant_extension(roles=("audit", "audit")), False)},
    "no bound key": {"grant": (forge.grant_extension(key_hash=b""), False)},
    "a grant that is noise": {
        "grant": (x509.UnrecognizedExtension(profile.GRANT, b"\x30\x80"), False)
    },
    "an unknown critical extension": {
        "more": (x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\0"), True)
    },
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
def test_a_leaf_that_strays_from_its_profile_is_refused_though_its_signature_holds(change):
    assert_refused(forge.chain(**change))


def test_an_unknown_extension_that_is_not_critical_is_let_be():
    more = x509.UnrecognizedExtension(x509.ObjectIdentifier("1.2.3.4"), b"\x05\0")

    assert verified(forge.chain(more=(more, False))).name == "alpha"


ISSUERS = {
    "no issuer at all": {"basic": (x509.BasicConstraints(False, None), True)},
    "may have issuers below": {"basic": (x509.BasicConstraints(True, 1), True)},
    "any depth": {"basic": (x509.BasicConstraints(True, None), True)},
    "not for certificates": {"usage": (profile.LEAF_USAGE, True)},
    "no name constraints": {"constraints": None},
    "constraints not critical": {"constraints": (profile.constraints("plant.example"), False)},
    "another domain": {"constraints": (profile.constraints("other.example"), True)},
    "no grant": {"grant": None},
    "a leaf's grant": {"grant": (forge.grant_extension("node", ("node",), b""), False)},
    "a kind that is none": {"grant": (forge.grant_extension("issuer", ("node", "x"), b""), False)},
    "another kind": {"grant": (forge.grant_extension("issuer", ("operator",), b""), False)},
}


def test_an_issuer_of_ones_own_that_the_root_signed_shows_that_the_forge_works():
    assert verified(forge.chain(forge.custom_issuer())).issuer == "issuer-9"


@pytest.mark.parametrize("change", ISSUERS.values(), ids=ISSUERS.keys())
def test_an_issuer_that_strays_from_its_profile_is_refused_though_the_root_signed_it(change):
    assert_refused(forge.chain(forge.custom_issuer(**change)))


def test_a_network_issuer_cannot_make_an_operator():
    eve = forge.names(
        ("uri", "spiffe://plant.example/operator/eve"), ("dns", "eve.operator.plant.example")
    )

    assert_refused(
        forge.chain(
            names=(eve, False),
            grant=(forge.grant_extension("operator", ("admin",)), False),
            extended=(x509.ExtendedKeyUsage(profile.USAGES["operator"]), False),
        )
    )


def test_a_kind_that_the_caller_has_nothing_to_do_with_is_refused():
    assert_refused(shared_credential().chains.p384, kinds=("operator",))


def test_it_is_not_valid_before_its_time_but_for_the_backdating():
    chain = shared_credential().chains.mldsa
    first_ns = NOW_NS - profile.SKEW_NS

    assert verified(chain, Now(1, first_ns)).name == "alpha"
    with pytest.raises(DeniedError) as refused:
        verified(chain, Now(1, first_ns - S_NS))
    assert refused.value.code == NOT_YET


def test_a_clock_that_knows_that_it_may_be_behind_lets_a_young_certificate_pass():
    chain = shared_credential().chains.mldsa
    early_ns = NOW_NS - profile.SKEW_NS - 10 * S_NS

    assert verified(chain, Now(1, early_ns, 10 * S_NS)).name == "alpha"


def test_it_has_expired_at_its_last_second_and_no_uncertainty_helps():
    chain = shared_credential().chains.mldsa
    end_ns = NOW_NS + profile.DAY_NS

    assert verified(chain, Now(1, end_ns - 1)).name == "alpha"
    with pytest.raises(DeniedError) as refused:
        verified(chain, Now(1, end_ns, 10**15))
    assert refused.value.code == EXPIRED


def test_a_leaf_outlives_no_issuer_whatever_it_says_of_itself():
    long = (NOW_NS - S_NS, NOW_NS + 20 * 365 * profile.DAY_NS)
    chain = forge.chain(window=long)

    with pytest.raises(DeniedError) as refused:
        verified(chain, Now(1, NOW_NS + profile.LIFE_NS["issuer"]))
    assert refused.value.code == EXPIRED


def test_what_its_issuer_took_back_is_revoked():
    chain = shared_credential().chains.mldsa
    identity = verified(chain)

    with pytest.raises(DeniedError) as refused:
        verified(chain, revoked=OneRevoked("issuer-1", identity.serial))
    assert refused.value.code == REVOKED


def test_what_another_issuer_claims_to_take_back_stands():
    chain = shared_credential().chains.mldsa
    identity = verified(chain)

    assert verified(chain, revoked=OneRevoked("issuer-2", identity.serial)) == identity


def test_when_the_root_takes_an_issuer_back_all_below_it_is_revoked():
    chain = shared_credential().chains.mldsa
    identity = verified(chain)

    with pytest.raises(DeniedError) as refused:
        verified(chain, revoked=OneRevoked("root", identity.issuer_serial))
    assert refused.value.code == REVOKED


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_a_changed_bit_anywhere_in_the_leaf_is_refused(algorithm):
    leaf, issuer = shared_credential().chains.of(algorithm)
    step = 8 if algorithm == P384 else 401

    for bit in range(0, len(leaf) * 8, step):
        changed = bytearray(leaf)
        changed[bit // 8] ^= 1 << (bit % 8)
        with pytest.raises(DeniedError):
            verified((bytes(changed), issuer))


@pytest.mark.parametrize("which", [0, 1])
def test_every_truncation_and_every_extension_is_refused(which):
    chain = shared_credential().chains.p384

    for end in range(len(chain[which])):
        cut = list(chain)
        cut[which] = chain[which][:end]
        assert_refused(cut)
    for more in (b"\0", b"\x30", b"\0" * 1000):
        longer = list(chain)
        longer[which] += more
        assert_refused(longer)


def test_a_certificate_longer_than_any_of_ours_is_not_even_parsed():
    assert_refused(
        (b"\x30\x84\x7f\xff\xff\xff" + bytes(1 << 20), shared_credential().chains.p384[1])
    )


def test_an_issuer_is_known_by_its_ml_dsa_half_alone():
    chains = shared_credential().chains
    trust = shared_plant().trust

    name, serial, _ = verify_issuer(chains.mldsa[1], trust)

    assert (name, serial) == ("issuer-1", verified(chains.mldsa).issuer_serial)
    for der in (chains.p384[1], chains.mldsa[0], b"", chains.mldsa[1][:-1]):
        with pytest.raises(DeniedError):
            verify_issuer(der, trust)


def test_another_domains_chain_is_refused_though_its_root_were_the_same(tmp_path):
    plant = Plant(tmp_path / "other", "other.example")
    credential = plant.credential()

    assert_refused(credential.chains.mldsa)
    with pytest.raises(DeniedError):
        verify_chain(shared_credential().chains.mldsa, plant.trust, NOW, Revocations(plant.trust))


def test_an_issuer_that_was_verified_once_costs_no_second_signature():
    chain = shared_credential().chains.mldsa
    verified(chain)
    known.cache_clear()
    before = issuers.cache_info()
    verified(chain)
    after = issuers.cache_info()

    assert (after.hits, after.misses) == (before.hits + 1, before.misses)


def test_a_chain_that_was_verified_once_costs_no_signature_and_what_failed_is_not_kept():
    chain = shared_credential().chains.mldsa
    verified(chain)
    before = known.cache_info()
    verified(list(chain))
    assert_refused((chain[0][:-1] + bytes([chain[0][-1] ^ 1]), chain[1]))
    after = known.cache_info()

    assert (after.hits, after.currsize) == (before.hits + 1, before.currsize)


def test_a_remembered_issuer_is_asked_for_its_time_and_its_revocation_at_every_use():
    chain = shared_credential().chains.mldsa
    identity = verified(chain)
    late = Now(1, NOW_NS + profile.LIFE_NS["issuer"])

    for revoked, now, code in (
        (OneRevoked("root", identity.issuer_serial), NOW, REVOKED),
        (NoneRevoked(), late, EXPIRED),
    ):
        with pytest.raises(DeniedError) as refused:
            verified(chain, now, revoked, grace_ns=profile.LIFE_NS["root"])
        assert refused.value.code == code
    assert verified(chain) == identity


def test_an_issuer_is_remembered_for_the_same_bytes_root_and_domain_alone(tmp_path):
    chain = shared_credential().chains.mldsa
    verified(chain)
    other = Plant(tmp_path / "other")
    same_root_other_domain = msgspec.structs.replace(shared_plant().trust, domain="other.example")

    for trust in (other.trust, same_root_other_domain):
        with pytest.raises(DeniedError):
            verify_chain(chain, trust, NOW, NoneRevoked())
    changed = bytearray(chain[1])
    changed[-1] ^= 1
    assert_refused((chain[0], bytes(changed)))


def test_strangers_issuers_take_no_place_among_the_remembered(tmp_path):
    stranger = Plant(tmp_path / "stranger").credential().chains.mldsa
    before = issuers.cache_info().currsize
    assert_refused(stranger)

    assert issuers.cache_info().currsize == before
    assert issuers.cache_info().maxsize == 32


def test_grace_lengthens_a_leaf_by_its_measure_and_no_further():
    chain = shared_credential().chains.mldsa
    end_ns = verified(chain).not_after_ns

    assert verified(chain, Now(1, end_ns + S_NS - 1), grace_ns=S_NS).not_after_ns == end_ns
    for grace_ns in (0, S_NS):
        with pytest.raises(DeniedError) as refused:
            verified(chain, Now(1, end_ns + S_NS), grace_ns=grace_ns)
        assert refused.value.code == EXPIRED


def test_a_leaf_without_a_common_name_is_named_by_its_id_when_it_has_expired():
    chain = forge.chain(subject=False)
    assert verified(chain).name == "alpha"

    with pytest.raises(DeniedError) as refused:
        verified(chain, Now(1, NOW_NS + profile.DAY_NS))
    assert (refused.value.code, "`alpha`" in refused.value.sentence) == (EXPIRED, True)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_the_domain_that_a_leaf_claims_is_read_and_an_issuer_claims_none(algorithm):
    leaf, issuer = shared_credential().chains.of(algorithm)
    assert claimed_domain(leaf) == DOMAIN
    for other in (issuer, leaf[:-1], b"", b"\x30\x84\xff\xff\xff\xff"):
        with pytest.raises(DeniedError):
            claimed_domain(other)


def test_a_serial_number_that_no_revocation_list_can_name_is_refused(monkeypatch):
    monkeypatch.setattr(profile, "new_serial", lambda: (1 << 128) - 1)
    assert verified(forge.chain())
    monkeypatch.setattr(profile, "new_serial", lambda: 1 << 128)
    assert_refused(forge.chain())
