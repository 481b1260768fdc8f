"""Raw ML-KEM: both sides agree, and a change is rejected without a word."""

import pytest
from tests.unit.crypto.refusals import assert_refused, flip

from cronos.crypto.hazmat.kem import (
    ML_KEM_768,
    ML_KEM_1024,
    DecapsulationKey,
    EncapsulationKey,
    generate_seed,
)
from cronos.errors import InputError

EACH = pytest.mark.parametrize("kem", [ML_KEM_768, ML_KEM_1024], ids=lambda kem: kem.name)


def key_of(kem, byte=3):
    return DecapsulationKey(kem, bytes((byte,)) * kem.key_bytes)


@EACH
def test_both_sides_have_one_secret(kem):
    key = DecapsulationKey(kem, generate_seed(kem))
    secret, ciphertext = key.encapsulation_key().encapsulate()

    assert len(secret) == 32
    assert len(ciphertext) == kem.ciphertext_bytes
    assert key.decapsulate(ciphertext) == secret
    assert key.encapsulation_key().encapsulate()[0] != secret


@EACH
def test_a_changed_ciphertext_gives_another_secret_the_same_each_time(kem):
    key = key_of(kem)
    secret, ciphertext = key.encapsulation_key().encapsulate()

    for bit in range(0, 8 * len(ciphertext), 311):
        changed = flip(ciphertext, bit)
        rejected = key.decapsulate(changed)
        assert rejected != secret
        assert key.decapsulate(changed) == rejected


@EACH
def test_a_rejected_secret_depends_on_the_key_so_that_nobody_else_knows_it(kem):
    ciphertext = bytes(kem.ciphertext_bytes)

    assert key_of(kem, 1).decapsulate(ciphertext) != key_of(kem, 2).decapsulate(ciphertext)


@EACH
def test_a_ciphertext_of_the_wrong_length_is_refused(kem):
    key = key_of(kem)
    _, ciphertext = key.encapsulation_key().encapsulate()

    for wrong in (b"", ciphertext[:-1], ciphertext + b"\0", bytes(1 << 20)):
        assert_refused(key.decapsulate, wrong)


@EACH
def test_a_key_of_the_wrong_length_is_refused_in_a_sentence(kem):
    public = key_of(kem).public
    for wrong in (b"", public[:-1], public + b"\0"):
        with pytest.raises(InputError, match=f"no key of {kem.name}"):
            EncapsulationKey(kem, wrong)
    for length in (0, 32, 63, 65):
        with pytest.raises(InputError, match=f"no key of {kem.name}"):
            DecapsulationKey(kem, bytes(length))


@EACH
def test_a_public_key_that_is_not_reduced_is_refused_wherever_it_is_not(kem):
    public = key_of(kem).public
    end = kem.public_bytes - 32
    for start in range(0, end, 3):  # two coefficients of 12 bits in three bytes
        q_first = (3329).to_bytes(2, "little")
        low = bytes((q_first[0], q_first[1] | public[start + 1] & 0xF0, public[start + 2]))
        with pytest.raises(InputError, match="no key"):
            EncapsulationKey(kem, public[:start] + low + public[start + 3 :])
