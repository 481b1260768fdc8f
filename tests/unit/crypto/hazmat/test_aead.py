"""AES-256-GCM: what opens, what does not, and which nonces there are."""

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from tests.unit.crypto.refusals import assert_refused, flip

from cronos.crypto.hazmat import aead
from cronos.crypto.hazmat.aead import Aes256Gcm, RandomNonceAes256Gcm
from cronos.errors import CronosError, InputError

KEY = bytes(range(32))
NONCE = bytes(12)


def test_what_is_sealed_opens_with_its_key_nonce_and_context():
    cipher = Aes256Gcm(KEY)
    sealed = cipher.seal(NONCE, b"plain", b"context")

    assert len(sealed) == len(b"plain") + 16
    assert cipher.open(NONCE, sealed, b"context") == b"plain"
    assert Aes256Gcm(KEY).open(NONCE, sealed, b"context") == b"plain"


def test_another_key_nonce_or_context_is_refused():
    sealed = Aes256Gcm(KEY).seal(NONCE, b"plain", b"context")

    assert_refused(Aes256Gcm(bytes(32)).open, NONCE, sealed, b"context")
    assert_refused(Aes256Gcm(KEY).open, b"\1" * 12, sealed, b"context")
    assert_refused(Aes256Gcm(KEY).open, NONCE, sealed, b"")


def test_every_changed_bit_and_every_cut_is_refused():
    cipher = Aes256Gcm(KEY)
    sealed = cipher.seal(NONCE, b"plain text", b"context")

    for bit in range(8 * len(sealed)):
        assert_refused(cipher.open, NONCE, flip(sealed, bit), b"context")
    for length in range(len(sealed)):
        assert_refused(cipher.open, NONCE, sealed[:length], b"context")
    assert_refused(cipher.open, NONCE, sealed + b"\0", b"context")


@pytest.mark.parametrize("length", [0, 1, 8, 11, 13, 16, 128, 4096])
def test_a_nonce_has_twelve_bytes(length):
    cipher = Aes256Gcm(KEY)
    with pytest.raises(InputError, match=f"this one has {length}") as caught:
        cipher.seal(bytes(length), b"plain")
    assert caught.value.code == "crypto.bad_nonce"
    assert_refused(cipher.open, bytes(length), cipher.seal(NONCE, b"plain"), b"")


def test_what_another_sealed_under_a_longer_nonce_is_refused():
    sealed = AESGCM(KEY).encrypt(bytes(16), b"plain", b"")

    assert_refused(Aes256Gcm(KEY).open, bytes(16), sealed)


@pytest.mark.parametrize("length", [0, 16, 24, 31, 33])
def test_a_key_has_thirty_two_bytes(length):
    for kind in (Aes256Gcm, RandomNonceAes256Gcm):
        with pytest.raises(InputError, match=f"this one has {length}"):
            kind(bytes(length))


def test_drawn_nonces_differ_and_stand_in_front():
    cipher = RandomNonceAes256Gcm(KEY)
    sealed = [cipher.seal(b"same", b"context") for _ in range(1000)]

    assert len({one[:12] for one in sealed}) == 1000
    assert {len(one) for one in sealed} == {12 + 4 + 16}
    assert {cipher.open(one, b"context") for one in sealed} == {b"same"}
    assert Aes256Gcm(KEY).open(sealed[0][:12], sealed[0][12:], b"context") == b"same"


def test_a_message_with_a_drawn_nonce_is_refused_when_changed_or_cut():
    cipher = RandomNonceAes256Gcm(KEY)
    sealed = cipher.seal(b"plain", b"context")

    for bit in range(8 * len(sealed)):
        assert_refused(cipher.open, flip(sealed, bit), b"context")
    for length in range(len(sealed)):
        assert_refused(cipher.open, sealed[:length], b"context")


def test_a_key_is_spent_after_as_many_drawn_nonces_as_are_safe(monkeypatch):
    monkeypatch.setattr(aead, "MAX_RANDOM_NONCES", 3)
    cipher = RandomNonceAes256Gcm(KEY)
    sealed = [cipher.seal(b"plain") for _ in range(3)]

    with pytest.raises(CronosError, match="Use a new key") as caught:
        cipher.seal(b"plain")
    assert caught.value.code == "crypto.key_spent"
    assert cipher.open(sealed[0]) == b"plain"


def test_the_limit_is_that_of_the_standard():
    assert aead.MAX_RANDOM_NONCES == 2**32
