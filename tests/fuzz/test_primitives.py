"""Arbitrary bytes as keys, messages and signatures: refused, and nothing else."""

import contextlib

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.crypto.refusals import assert_refused

from cronos.crypto.hazmat.aead import Aes256Gcm, RandomNonceAes256Gcm
from cronos.crypto.hazmat.kem import ML_KEM_768, ML_KEM_1024, DecapsulationKey, EncapsulationKey
from cronos.crypto.signatures import SCHEMES, SigningKey, VerifyingKey
from cronos.crypto.suites import HYBRID, SUITES, DecryptionKey, EncryptionKey
from cronos.errors import DeniedError, InputError

SECRETS = {suite.number: b"\x01" * (suite.secret_bytes - 1) + b"\x02" for suite in SUITES.values()}
KEYS = [DecryptionKey(suite, SECRETS[suite.number]) for suite in SUITES.values()]
SIGNERS = [SigningKey(scheme, b"\x01" * 32) for scheme in SCHEMES.values()]
KEMS = [DecapsulationKey(kem, b"\x01" * 64) for kem in (ML_KEM_768, ML_KEM_1024)]
SIZES = sorted(
    {suite.public_bytes for suite in SUITES.values()}
    | {suite.overhead for suite in SUITES.values()}
    | {scheme.public_bytes for scheme in SCHEMES.values()}
    | {scheme.signature_bytes for scheme in SCHEMES.values()}
    | {suite.secret_bytes for suite in SUITES.values()}
)


@st.composite
def blobs(draw):
    """Bytes near the lengths that mean something: a short pattern repeated, then edited."""
    size = draw(st.sampled_from(SIZES)) + draw(st.integers(-2, 40))
    if draw(st.booleans()):
        size = draw(st.integers(0, 5000))
    pattern = draw(st.binary(min_size=1, max_size=64))
    data = bytearray((pattern * (max(size, 0) // len(pattern) + 1))[: max(size, 0)])
    for _ in range(draw(st.integers(0, 4))):
        if data:
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data)


@settings(max_examples=200)
@given(blobs(), st.binary(max_size=300))
def test_whatever_arrives_to_be_opened_or_verified_is_refused(data, context):
    for key in KEYS:
        assert_refused(key.open, data, context)
    for signer in SIGNERS:
        assert_refused(signer.verifying_key().verify, b"message", context, data)
    assert_refused(Aes256Gcm(bytes(32)).open, data[:12], data[12:], context)
    assert_refused(RandomNonceAes256Gcm(bytes(32)).open, data, context)


@settings(max_examples=200)
@given(blobs())
def test_whatever_is_given_as_a_key_is_a_key_or_is_refused_in_a_sentence(data):
    for suite in SUITES.values():
        with contextlib.suppress(InputError):
            sealed = EncryptionKey(suite, data).seal(b"plain", b"")
            assert len(sealed) == 5 + suite.overhead
        with contextlib.suppress(InputError):
            key = DecryptionKey(suite, data)
            assert key.open(key.encryption_key().seal(b"plain", b""), b"") == b"plain"
    for scheme in SCHEMES.values():
        with contextlib.suppress(InputError):
            VerifyingKey(scheme, data)
        with contextlib.suppress(InputError):
            SigningKey(scheme, data)
    for kem in (ML_KEM_768, ML_KEM_1024):
        with contextlib.suppress(InputError):
            EncapsulationKey(kem, data).encapsulate()


@settings(max_examples=200)
@given(blobs())
def test_a_raw_ciphertext_gives_a_secret_or_is_refused(data):
    for key in KEMS:
        with contextlib.suppress(DeniedError):
            assert len(key.decapsulate(data)) == 32
            assert len(data) == key.kem.ciphertext_bytes


@settings(max_examples=100)
@given(blobs())
def test_a_message_changed_anywhere_is_refused(patch):
    key = KEYS[HYBRID.number - 1]
    sealed = key.encryption_key().seal(b"plain text", b"info")
    at = len(patch) % len(sealed)
    changed = sealed[:at] + patch[:50] + sealed[at + len(patch[:50]) :]
    if changed != sealed:
        assert_refused(key.open, changed, b"info")
