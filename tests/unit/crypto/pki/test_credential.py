"""Credentials: keys that show themselves to nobody."""

import pickle

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from tests.unit.crypto.pki.plant import NOW_NS, shared_credential

from cronos.crypto.pki.credential import generate_keys, pack_credential, to_pem, unpack_credential
from cronos.crypto.pki.profile import ALGORITHMS, MLDSA, P384
from cronos.crypto.pki.revocation import Revocations
from cronos.errors import DeniedError
from cronos.types import Now


def test_it_comes_back_as_it_was():
    credential = shared_credential()

    again = unpack_credential(pack_credential(credential))

    assert again == credential


@pytest.mark.parametrize("cut", [0, 1, 100, 5000])
def test_part_of_one_is_refused(cut):
    with pytest.raises(DeniedError):
        unpack_credential(pack_credential(shared_credential())[:cut])


def test_neither_repr_nor_pickle_gives_a_key_away():
    credential = shared_credential()
    shown = f"{credential} {credential!r} {credential.keys} {credential.keys!r}"

    assert credential.keys.mldsa[-32:].hex() not in shown
    assert repr(credential.keys.mldsa) not in shown
    for one in (credential, credential.keys):
        with pytest.raises(TypeError):
            pickle.dumps(one)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_its_pems_are_key_chain_and_root_of_one_algorithm(algorithm):
    credential = shared_credential()
    chain = x509.load_pem_x509_certificates(credential.chain_pem(algorithm))
    (root,) = x509.load_pem_x509_certificates(credential.root_pem(algorithm))
    key = load_pem_private_key(credential.key_pem(algorithm), None)

    assert len(chain) == 2
    assert chain[0].public_key() == key.public_key()
    chain[0].verify_directly_issued_by(chain[1])
    chain[1].verify_directly_issued_by(root)


def test_it_says_who_it_is():
    credential = shared_credential()
    revoked = Revocations(credential.trust)

    assert credential.identity(Now(1, NOW_NS), revoked).algorithm == MLDSA
    assert credential.identity(Now(1, NOW_NS), revoked, P384).name == "alpha"


def test_bytes_that_are_no_key_or_certificate_are_refused():
    keys = type(generate_keys())(b"x", b"y")

    with pytest.raises(DeniedError):
        keys.of(P384)
    with pytest.raises(DeniedError):
        to_pem(b"x")
