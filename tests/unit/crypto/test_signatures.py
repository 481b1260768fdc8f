"""ML-DSA: what verifies, and everything that does not."""

import pickle

import pytest
from tests.unit.crypto.refusals import assert_refused, flip

from cronos.crypto.signatures import (
    MAX_CONTEXT_BYTES,
    ML_DSA_44,
    ML_DSA_65,
    ML_DSA_87,
    SCHEMES,
    SigningKey,
    VerifyingKey,
    generate_seed,
    scheme_named,
)
from cronos.errors import InputError

ALL = (ML_DSA_44, ML_DSA_65, ML_DSA_87)
EACH = pytest.mark.parametrize("scheme", ALL, ids=lambda scheme: scheme.name)


def key_of(scheme, byte=7):
    return SigningKey(scheme, bytes((byte,)) * 32)


@EACH
def test_a_signature_verifies_over_its_message_in_its_context(scheme):
    key = key_of(scheme)
    for message, context in ((b"", b""), (b"m", b"c"), (bytes(100_000), b"c" * MAX_CONTEXT_BYTES)):
        signature = key.sign(message, context)
        assert len(signature) == scheme.signature_bytes
        key.verifying_key().verify(message, context, signature)


@EACH
def test_signing_is_hedged_so_two_signatures_of_one_message_differ(scheme):
    key = key_of(scheme)

    assert key.sign(b"same", b"") != key.sign(b"same", b"")


@EACH
def test_another_message_context_or_key_is_refused(scheme):
    key = key_of(scheme)
    verify = key.verifying_key().verify
    signature = key.sign(b"message", b"context")

    for message in (b"", b"messag", b"message\0", b"Message"):
        assert_refused(verify, message, b"context", signature)
    for context in (b"", b"contex", b"context\0", b"c" * 256):
        assert_refused(verify, b"message", context, signature)
    other = key_of(scheme, 8).verifying_key()
    assert_refused(other.verify, b"message", b"context", signature)


@EACH
def test_message_and_context_are_not_one_string(scheme):
    key = key_of(scheme)
    signature = key.sign(b"ab", b"c")

    assert_refused(key.verifying_key().verify, b"b", b"ca", signature)
    assert_refused(key.verifying_key().verify, b"cab", b"", signature)


@EACH
def test_a_changed_bit_is_refused(scheme):
    key = key_of(scheme)
    signature = key.sign(b"message", b"context")

    for bit in range(0, 8 * len(signature), 131):  # all of them: the differential test, in soak
        assert_refused(key.verifying_key().verify, b"message", b"context", flip(signature, bit))


@EACH
def test_a_cut_or_lengthened_signature_is_refused(scheme):
    key = key_of(scheme)
    signature = key.sign(b"message", b"")
    verify = key.verifying_key().verify

    for length in {*range(0, len(signature), 53), len(signature) - 1}:
        assert_refused(verify, b"message", b"", signature[:length])
    assert_refused(verify, b"message", b"", signature + b"\0")
    assert_refused(verify, b"message", b"", b"\0" + signature)


@EACH
def test_a_signature_of_zeros_or_ones_is_refused(scheme):
    verify = key_of(scheme).verifying_key().verify

    assert_refused(verify, b"", b"", bytes(scheme.signature_bytes))
    assert_refused(verify, b"", b"", b"\xff" * scheme.signature_bytes)


def test_a_signature_of_one_scheme_does_not_verify_under_another():
    for scheme in ALL:
        signature = key_of(scheme).sign(b"message", b"")
        for other in ALL:
            if other is not scheme:
                assert_refused(key_of(other).verifying_key().verify, b"message", b"", signature)


@EACH
def test_a_key_of_the_wrong_length_is_refused_in_a_sentence(scheme):
    public = key_of(scheme).public
    for wrong in (b"", public[:-1], public + b"\0"):
        with pytest.raises(InputError, match=f"no key of {scheme.name}"):
            VerifyingKey(scheme, wrong)
    for length in (0, 31, 33, 64):
        with pytest.raises(InputError, match=f"no key of {scheme.name}"):
            SigningKey(scheme, bytes(length))


@EACH
def test_a_long_context_is_refused_in_a_sentence(scheme):
    with pytest.raises(InputError, match="has 256 bytes; it may have 255") as caught:
        key_of(scheme).sign(b"message", b"c" * 256)
    assert caught.value.code == "crypto.long_context"
    assert caught.value.__cause__ is None


@EACH
def test_a_key_shows_its_name_and_never_its_seed(scheme):
    seed = generate_seed()
    key = SigningKey(scheme, seed)

    for shown in (repr(key), repr(key.verifying_key())):
        assert key.kid.hex() in shown
        assert seed.hex() not in shown
    assert seed not in vars(key).values()
    with pytest.raises(TypeError, match="cannot pickle"):
        pickle.dumps(key)


def test_new_seeds_differ():
    assert len({generate_seed() for _ in range(100)}) == 100


@EACH
def test_both_halves_of_a_key_have_one_name(scheme):
    key = key_of(scheme)

    assert key.kid == key.verifying_key().kid
    assert len(key.public) == scheme.public_bytes


def test_the_keys_of_fixed_seeds_stay_the_same():
    # Stored seeds must make the same keys for ever; these names were computed once.
    assert {scheme.name: key_of(scheme).kid.hex() for scheme in ALL} == {
        "ml-dsa-44": "079bcd94aaa0d9fb927380f09e3f1198",
        "ml-dsa-65": "a1bea4aab16e96a2ed3e1e2d0d40fbd8",
        "ml-dsa-87": "09f5e17d532eedc2b09a689e3a96f043",
    }
    assert {number: scheme.name for number, scheme in SCHEMES.items()} == {
        1: "ml-dsa-44",
        2: "ml-dsa-65",
        3: "ml-dsa-87",
    }


@pytest.mark.parametrize(
    ("name", "scheme"),
    [
        ("ml-dsa-87", ML_DSA_87),
        ("ML-DSA-65", ML_DSA_65),
        ("Dilithium-5", ML_DSA_87),
        ("dilithium-3", ML_DSA_65),
        ("dilithium-2", ML_DSA_44),
    ],
)
def test_a_scheme_has_a_name(name, scheme):
    assert scheme_named(name) is scheme


def test_an_unknown_scheme_is_refused_with_the_names_there_are():
    with pytest.raises(InputError, match="ml-dsa-44, ml-dsa-65, ml-dsa-87") as caught:
        scheme_named("rsa")
    assert caught.value.code == "crypto.unknown_scheme"
