"""Proof of presence: bound to every word, to their number, and to the key of one certificate."""

import pytest
from tests.unit.crypto.pki.plant import shared_credential

from cronos.crypto.pki.presence import nonce, prove, require_present
from cronos.errors import DeniedError

SAID = (b"hello", b"welcome", b"certificate")


def test_what_its_holder_signed_holds():
    credential = shared_credential("alpha")
    leaf = credential.chains.p384[0]
    require_present(leaf, SAID, prove(credential, SAID))


@pytest.mark.parametrize(
    "said",
    [
        (b"hello", b"welcome", b"another's certificate"),
        (b"hello", b"welcome"),
        (b"hello", b"welcome", b"certificate", b""),
        (b"hellowelcome", b"", b"certificate"),
        (b"welcome", b"hello", b"certificate"),
    ],
)
def test_it_holds_for_nothing_else_that_was_said(said):
    credential = shared_credential("alpha")
    with pytest.raises(DeniedError):
        require_present(credential.chains.p384[0], said, prove(credential, SAID))


def test_another_certificate_of_the_same_name_does_not_pass_with_the_old_key():
    old, other = shared_credential("alpha"), shared_credential("beta")
    with pytest.raises(DeniedError):
        require_present(other.chains.p384[0], SAID, prove(old, SAID))


def test_every_flipped_bit_and_what_is_no_signature_or_certificate_is_refused():
    credential = shared_credential("alpha")
    signature = prove(credential, SAID)
    for at in range(len(signature)):
        flipped = bytearray(signature)
        flipped[at] ^= 1
        with pytest.raises(DeniedError):
            require_present(credential.chains.p384[0], SAID, bytes(flipped))
    for leaf in (b"", b"no certificate", credential.chains.mldsa[0]):
        with pytest.raises(DeniedError):
            require_present(leaf, SAID, signature)


def test_no_two_nonces_are_the_same():
    assert len({nonce() for _ in range(100)}) == 100
