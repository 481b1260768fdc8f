"""Requests: three keys, each proved."""

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384
from cryptography.hazmat.primitives.serialization import Encoding

from cronos.crypto.pki import requests
from cronos.crypto.pki.credential import generate_keys
from cronos.crypto.pki.node import own_bound
from cronos.crypto.pki.profile import MLDSA, P384, bound_hash, generate_key
from cronos.crypto.pki.requests import Bound, Request, Wish
from cronos.crypto.signatures import ML_DSA_87, SigningKey, generate_seed
from cronos.errors import DeniedError

KEYS = generate_keys()
IDENTITY = SigningKey(ML_DSA_87, generate_seed())
BOUND = Bound(IDENTITY.public, IDENTITY.sign)
TOKEN = SigningKey(ML_DSA_87, generate_seed())


def made():
    return requests.make_request("alpha", KEYS, BOUND, (b"i" * 16, TOKEN))


def test_a_request_proves_both_tls_keys_and_the_bound_one():
    request = requests.read_request(made())
    checked = requests.check_request(request)

    assert checked.name == "alpha"
    assert checked.key_hash == bound_hash(IDENTITY.public)
    assert checked.keys[P384] == KEYS.of(P384).public_key()
    assert checked.keys[MLDSA] == KEYS.of(MLDSA).public_key()
    assert requests.check_token_signature(request) == TOKEN.public


def test_no_two_requests_are_alike():
    assert requests.read_request(made()).body != requests.read_request(made()).body


def test_without_a_key_of_its_own_the_ml_dsa_key_of_the_certificate_is_bound():
    request = requests.read_request(requests.make_request("alpha", KEYS, own_bound(KEYS)))

    public = KEYS.of(MLDSA).public_key().public_bytes_raw()
    assert requests.check_request(request).key_hash == bound_hash(public)


def signed(body):
    return Request(body, IDENTITY.sign(body, requests.ENROL_CONTEXT))


def wish(**changes):
    good = msgspec.msgpack.decode(requests.read_request(made()).body, type=Wish)
    return msgspec.msgpack.encode(msgspec.structs.replace(good, **changes))


def foreign_csr(key, hashed):
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "alpha")])
    builder = x509.CertificateSigningRequestBuilder(subject)
    return builder.sign(key, hashed).public_bytes(Encoding.DER)


def broken_csr():
    der = bytearray(foreign_csr(generate_key(P384), SHA384()))
    der[-1] ^= 1
    return bytes(der)


@pytest.mark.parametrize(
    "changes",
    [
        {"p384": b"x"},
        {"p384": broken_csr()},
        {"p384": foreign_csr(ec.generate_private_key(ec.SECP256R1()), SHA384())},
        {"p384": foreign_csr(generate_key(MLDSA), None)},
        {"mldsa": foreign_csr(generate_key(P384), SHA384())},
        {"bound": b"x" * 2592},
        {"version": 2},
        {"name": "a" * 64},
    ],
)
def test_a_wish_without_all_its_proofs_is_refused(changes):
    with pytest.raises(DeniedError) as refused:
        requests.check_request(signed(wish(**changes)))

    assert refused.value.code == "crypto.refused"
    assert refused.value.__cause__ is None


def test_a_signature_of_another_key_or_in_another_context_is_refused():
    body = requests.read_request(made()).body
    other = SigningKey(ML_DSA_87, generate_seed())

    for signature in (
        other.sign(body, requests.ENROL_CONTEXT),
        IDENTITY.sign(body, requests.TOKEN_CONTEXT),
    ):
        with pytest.raises(DeniedError):
            requests.check_request(Request(body, signature))


def test_a_token_signature_that_does_not_hold_is_refused():
    request = requests.read_request(made())

    for change in (
        {"token_public": IDENTITY.public},
        {"token_signature": b"x"},
        {"token_public": b""},
    ):
        with pytest.raises(DeniedError):
            requests.check_token_signature(msgspec.structs.replace(request, **change))


def test_a_megabyte_is_refused_before_it_is_read():
    with pytest.raises(DeniedError):
        requests.read_request(bytes(1 << 20))
    huge = msgspec.msgpack.encode([b"x" * 60_000, b"s" * 4627])
    with pytest.raises(DeniedError):
        requests.check_request(requests.read_request(huge))


def test_a_certification_request_of_a_megabyte_does_not_pass():
    with pytest.raises(DeniedError):
        requests.check_request(signed(wish(p384=b"\x30" * 16_385)))


def test_a_response_that_is_none_is_refused():
    for data in (b"", b"\xc1", msgspec.msgpack.encode([1, 2, 3, 4])):
        with pytest.raises(DeniedError):
            requests.read_response(data)
