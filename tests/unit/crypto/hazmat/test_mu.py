"""Signatures over a message that is never held whole."""

import pytest
from tests.unit.crypto.refusals import assert_refused, flip

from cronos.crypto.hazmat.mu import representative, sign_mu, verify_mu
from cronos.crypto.signatures import ML_DSA_44, ML_DSA_65, ML_DSA_87, SigningKey, VerifyingKey
from cronos.errors import InputError

EACH = pytest.mark.parametrize(
    "scheme", [ML_DSA_44, ML_DSA_65, ML_DSA_87], ids=lambda scheme: scheme.name
)
SEED = b"\x05" * 32


@EACH
def test_a_signature_over_the_representative_is_one_over_the_message(scheme):
    key = SigningKey(scheme, SEED)
    mu = representative(scheme, key.public, b"context", [b"mess", b"", b"age"])

    key.verifying_key().verify(b"message", b"context", sign_mu(scheme, SEED, mu))
    verify_mu(scheme, key.public, mu, key.sign(b"message", b"context"))


@EACH
def test_another_message_context_or_key_has_another_representative(scheme):
    public = SigningKey(scheme, SEED).public
    other = SigningKey(scheme, bytes(32)).public
    made = [
        representative(scheme, public, b"context", [b"message"]),
        representative(scheme, public, b"contex", [b"tmessage"]),
        representative(scheme, public, b"", [b"message"]),
        representative(scheme, other, b"context", [b"message"]),
    ]

    assert len(set(made)) == len(made)


@EACH
def test_a_changed_representative_or_signature_is_refused(scheme):
    key = SigningKey(scheme, SEED)
    mu = representative(scheme, key.public, b"", [b"message"])
    signature = sign_mu(scheme, SEED, mu)

    for bit in range(0, 512, 7):
        assert_refused(verify_mu, scheme, key.public, flip(mu, bit), signature)
    assert_refused(verify_mu, scheme, key.public, mu, flip(signature, 9))
    assert_refused(verify_mu, scheme, key.public, mu, signature[:-1])
    assert_refused(verify_mu, scheme, key.public, mu[:-1], signature)
    assert_refused(verify_mu, scheme, key.public, mu + b"\0", signature)


def test_bad_lengths_are_refused_in_a_sentence():
    key = SigningKey(ML_DSA_87, SEED)
    with pytest.raises(InputError, match="has 64 bytes; this one has 63"):
        sign_mu(ML_DSA_87, SEED, bytes(63))
    with pytest.raises(InputError, match="no key of ml-dsa-87"):
        sign_mu(ML_DSA_87, SEED[:-1], bytes(64))
    with pytest.raises(InputError, match="no key of ml-dsa-87"):
        verify_mu(ML_DSA_87, key.public[:-1], bytes(64), b"")
    with pytest.raises(InputError, match="it may have 255"):
        representative(ML_DSA_87, key.public, bytes(256), [])


def test_a_verifying_key_need_not_know_how_a_signature_was_made():
    key = SigningKey(ML_DSA_87, SEED)
    chunks = (bytes(1 << 16) for _ in range(16))
    mu = representative(ML_DSA_87, key.public, b"file", chunks)

    VerifyingKey(ML_DSA_87, key.public).verify(
        bytes(1 << 20), b"file", sign_mu(ML_DSA_87, SEED, mu)
    )
