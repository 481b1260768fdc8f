"""Each kind of key is drawn, made from its secret again, and known by its aliases."""

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA384

from cronos.crypto import keykinds
from cronos.errors import DeniedError, InputError


@pytest.mark.parametrize("algorithm", keykinds.ALGORITHMS)
def test_a_secret_gives_the_same_key_again(algorithm):
    secret = keykinds.generate(algorithm)
    one, two = keykinds.secret_key(algorithm, secret), keykinds.secret_key(algorithm, secret)
    assert one.public == two.public
    assert one.kid == two.kid
    assert keykinds.generate(algorithm) != secret


@pytest.mark.parametrize(
    ("alias", "name"),
    [
        ("Kyber-1024", "cnsa"),
        ("dilithium-5", "ml-dsa-87"),
        ("P-384", "p-384"),
        ("HYBRID", "hybrid"),
    ],
)
def test_other_names_mean_the_final_standards(alias, name):
    assert keykinds.algorithm_named(alias) == name


def test_an_unknown_name_is_refused_with_the_choice():
    with pytest.raises(InputError, match="p-384"):
        keykinds.algorithm_named("rsa-2048")


def test_a_p384_signature_verifies_with_the_bare_library():
    key = keykinds.EcKey(keykinds.generate("p-384"))
    public = ec.EllipticCurvePublicKey.from_encoded_point(ec.SECP384R1(), key.public)
    public.verify(key.sign(b"m", b""), b"m", ec.ECDSA(SHA384()))
    with pytest.raises(InvalidSignature):
        public.verify(key.sign(b"m", b""), b"other", ec.ECDSA(SHA384()))


@pytest.mark.parametrize("secret", [bytes(48), b"\xff" * 48])
def test_a_scalar_outside_the_group_is_refused(secret):
    with pytest.raises(DeniedError):
        keykinds.EcKey(secret)


def test_suites_encrypt_and_the_others_sign():
    assert [keykinds.encrypts(name) for name in keykinds.ALGORITHMS] == [True] * 3 + [False] * 4
