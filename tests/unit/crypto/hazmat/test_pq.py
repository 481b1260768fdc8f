"""ML-KEM-512 and SLH-DSA, where the extra is installed; a sentence where it is not."""

import sys

import pytest
from tests.unit.crypto.refusals import assert_refused, flip

from cronos.crypto.hazmat import pq
from cronos.crypto.hazmat.pq import (
    ML_KEM_512,
    SLH_DSA,
    DecapsulationKey512,
    EncapsulationKey512,
    SlhSigningKey,
    SlhVerifyingKey,
    generate_512,
    generate_slh,
)
from cronos.errors import ExtraMissingError, InputError

# The fast sets sign in milliseconds; the small ones verify alike.
FAST = [name for name in SLH_DSA if name.endswith("f")]


def test_both_sides_of_ml_kem_512_have_one_secret():
    key = DecapsulationKey512(generate_512())
    secret, ciphertext = key.encapsulation_key().encapsulate()

    assert key.decapsulate(ciphertext) == secret
    assert (len(secret), len(ciphertext)) == (32, ML_KEM_512.ciphertext_bytes)


def test_a_changed_ciphertext_gives_another_secret_the_same_each_time():
    key = DecapsulationKey512(generate_512())
    secret, ciphertext = key.encapsulation_key().encapsulate()

    for bit in range(0, 8 * len(ciphertext), 97):
        rejected = key.decapsulate(flip(ciphertext, bit))
        assert rejected != secret
        assert key.decapsulate(flip(ciphertext, bit)) == rejected


def test_bytes_that_are_no_key_of_ml_kem_512_are_refused_in_a_sentence():
    key = generate_512()
    public = DecapsulationKey512(key).public
    for wrong in (b"", public[:-1], public + b"\0", b"\xff" * 800):
        with pytest.raises(InputError, match="no key of ml-kem-512"):
            EncapsulationKey512(wrong)
    changed_public = flip(key, 8 * 1000)  # its hash, inside the secret key, says so
    for wrong in (b"", key[:-1], key + b"\0", changed_public):
        with pytest.raises(InputError, match="no key of ml-kem-512"):
            DecapsulationKey512(wrong)


def test_a_ciphertext_of_the_wrong_length_is_refused():
    key = DecapsulationKey512(generate_512())

    for wrong in (b"", bytes(767), bytes(769)):
        assert_refused(key.decapsulate, wrong)


@pytest.mark.parametrize("name", FAST)
def test_a_signature_verifies_over_its_message_in_its_context_alone(name):
    scheme = SLH_DSA[name]
    key = SlhSigningKey(scheme, generate_slh(scheme))
    public = key.verifying_key()
    signature = key.sign(b"message", b"context")
    public.verify(b"message", b"context", signature)

    assert len(signature) == scheme.signature_bytes
    assert public.kid == key.kid
    assert_refused(public.verify, b"messag", b"context", signature)
    assert_refused(public.verify, b"message", b"", signature)
    assert_refused(public.verify, b"message", b"c" * 256, signature)
    for wrong in (b"", signature[:-1], signature + b"\0"):
        assert_refused(public.verify, b"message", b"context", wrong)
    for bit in range(0, 8 * len(signature), len(signature) // 3):
        assert_refused(public.verify, b"message", b"context", flip(signature, bit))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["slh-dsa-sha2-256s", "slh-dsa-shake-128s"])
def test_a_small_signature_verifies(name):
    scheme = SLH_DSA[name]
    key = SlhSigningKey(scheme, generate_slh(scheme))
    signature = key.sign(b"message", b"")

    key.verifying_key().verify(b"message", b"", signature)
    assert_refused(key.verifying_key().verify, b"message\0", b"", signature)


@pytest.mark.parametrize("name", SLH_DSA)
def test_the_sizes_are_those_of_the_library(name):
    scheme = SLH_DSA[name]
    module = pq._slh(scheme)

    assert scheme.public_bytes == module.PUBLIC_KEY_SIZE
    assert 2 * scheme.public_bytes == module.SECRET_KEY_SIZE
    assert scheme.signature_bytes == module.SIGNATURE_SIZE


def test_bytes_that_are_no_key_of_slh_dsa_are_refused_in_a_sentence():
    scheme = SLH_DSA["slh-dsa-shake-256f"]
    secret = generate_slh(scheme)
    key = SlhSigningKey(scheme, secret)
    for wrong in (b"", key.public[:-1], key.public + b"\0"):
        with pytest.raises(InputError, match="no key of slh-dsa-shake-256f"):
            SlhVerifyingKey(scheme, wrong)
    with pytest.raises(InputError, match="no key of slh-dsa-shake-256f"):
        SlhSigningKey(scheme, secret[:-1])
    with pytest.raises(InputError, match="it may have 255"):
        key.sign(b"message", b"c" * 256)


def test_keys_show_no_secret():
    scheme = SLH_DSA["slh-dsa-sha2-128f"]
    secret = generate_slh(scheme)
    kem = generate_512()

    assert secret.hex() not in repr(SlhSigningKey(scheme, secret))
    assert kem.hex() not in repr(DecapsulationKey512(kem))


@pytest.mark.parametrize(
    "action",
    [
        generate_512,
        lambda: EncapsulationKey512(bytes(800)),
        lambda: DecapsulationKey512(bytes(1632)),
        lambda: generate_slh(SLH_DSA["slh-dsa-shake-256f"]),
        lambda: SlhVerifyingKey(SLH_DSA["slh-dsa-shake-256f"], bytes(64)),
        lambda: SlhSigningKey(SLH_DSA["slh-dsa-shake-256f"], bytes(128)),
    ],
)
def test_without_the_extra_a_sentence_says_what_to_install(action, monkeypatch):
    for name in [one for one in sys.modules if one.split(".")[0] == "pqcrypto"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "pqcrypto", None)

    with pytest.raises(ExtraMissingError, match=r"pip install 'cronos\[pq\]'"):
        action()
