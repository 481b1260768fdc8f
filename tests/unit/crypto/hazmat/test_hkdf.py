"""HKDF without labels: the standard's own examples, and its limits."""

import pytest

from cronos.crypto.hazmat.hkdf import hkdf, hkdf_expand
from cronos.errors import InputError


def test_the_first_example_of_rfc_5869_comes_out():
    key = hkdf(
        b"\x0b" * 22,
        bytes(range(0xF0, 0xFA)),
        42,
        salt=bytes(range(13)),
        hash_name="sha256",
    )

    assert key.hex() == (
        "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865"
    )


def test_the_first_example_expands_from_its_extracted_key():
    extracted = bytes.fromhex("077709362c2e32df0ddc3f0dc47bba6390b6c73bb50f9c3122ec844ad7c2b3e5")

    expanded = hkdf_expand(extracted, bytes(range(0xF0, 0xFA)), 42, hash_name="sha256")

    assert expanded.hex().startswith("3cb25f25faacd57a90434f64d0362f2a")


def test_no_salt_is_a_salt_of_zeros():
    assert hkdf(b"secret", b"", 32) == hkdf(b"secret", b"", 32, salt=bytes(48))


def test_the_hash_is_sha384_unless_another_is_asked_for():
    assert hkdf(b"secret", b"", 32) == hkdf(b"secret", b"", 32, hash_name="sha384")
    assert hkdf(b"secret", b"", 32) != hkdf(b"secret", b"", 32, hash_name="sha256")


@pytest.mark.parametrize(("hash_name", "most"), [("sha256", 8160), ("sha384", 12_240)])
@pytest.mark.parametrize("make", [hkdf, hkdf_expand])
def test_the_longest_key_is_255_hashes_long(make, hash_name, most):
    assert len(make(b"secret", b"", most, hash_name=hash_name)) == most
    for length in (0, -1, most + 1, 1 << 40):
        with pytest.raises(InputError, match=f"1 to {most} can") as caught:
            make(b"secret", b"", length, hash_name=hash_name)
        assert caught.value.code == "crypto.bad_length"
