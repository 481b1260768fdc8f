"""Second opinions: other implementations make the same keys, open ours, and refuse alike.

`pqcrypto` (Rust), `kyber-py` and `dilithium-py` (pure Python) and an HPKE written from the drafts.
The gate asks a hundred random cases of the main sets, `make soak` ten thousand.
"""

import hashlib

import pqcrypto
from cryptography.hazmat.primitives.asymmetric import ec
from dilithium_py.ml_dsa import ML_DSA_44 as DILITHIUM_44
from dilithium_py.ml_dsa import ML_DSA_65 as DILITHIUM_65
from dilithium_py.ml_dsa import ML_DSA_87 as DILITHIUM_87
from hypothesis import given, settings
from hypothesis import strategies as st
from kyber_py.ml_kem import ML_KEM_512 as KYBER_512
from kyber_py.ml_kem import ML_KEM_768 as KYBER_768
from kyber_py.ml_kem import ML_KEM_1024 as KYBER_1024
from tests.integration import hpke_oracle
from tests.unit.crypto.refusals import assert_refused, flip

from cronos.crypto.hazmat.kem import ML_KEM_768, ML_KEM_1024, DecapsulationKey
from cronos.crypto.hazmat.pq import DecapsulationKey512, EncapsulationKey512
from cronos.crypto.signatures import ML_DSA_44, ML_DSA_65, ML_DSA_87, SigningKey, VerifyingKey
from cronos.crypto.suites import CNSA, HYBRID, RATE, DecryptionKey

SEEDS = st.binary(min_size=64, max_size=64)
SHORT_SEEDS = st.binary(min_size=32, max_size=32)
PLACES = st.integers(0, 2**32)
MESSAGES = st.binary(max_size=300)
CONTEXTS = st.binary(max_size=255)


def uniform(drawn, size):
    """Spread what was drawn: hypothesis likes zeros, a random case has few."""
    return hashlib.shake_256(drawn).digest(size)


def kem_agrees(kem, python, rust, drawn, place):
    """Ask all three for one key: the same public half, every direction, the same rejection."""
    seed = uniform(drawn, 64)
    ours = DecapsulationKey(kem, seed)
    public, expanded = python.key_derive(seed)
    assert ours.public == public

    secret, ciphertext = ours.encapsulation_key().encapsulate()
    assert python.decaps(expanded, ciphertext) == secret
    assert rust.decaps(expanded, ciphertext) == secret

    secret, ciphertext = python.encaps(public)
    assert ours.decapsulate(ciphertext) == secret
    ciphertext, secret = rust.encaps(public)
    assert ours.decapsulate(ciphertext) == secret

    changed = flip(ciphertext, place % (8 * len(ciphertext)))
    rejected = ours.decapsulate(changed)
    assert rejected != secret
    assert python.decaps(expanded, changed) == rejected
    assert rust.decaps(expanded, changed) == rejected


@settings(max_examples=100)
@given(SEEDS, PLACES)
def test_three_implementations_agree_on_ml_kem_1024(drawn, place):
    kem_agrees(ML_KEM_1024, KYBER_1024, pqcrypto.ml_kem_1024, drawn, place)


@settings(max_examples=10)
@given(SEEDS, PLACES)
def test_three_implementations_agree_on_ml_kem_768(drawn, place):
    kem_agrees(ML_KEM_768, KYBER_768, pqcrypto.ml_kem_768, drawn, place)


@settings(max_examples=10)
@given(SEEDS, PLACES)
def test_two_implementations_agree_on_ml_kem_512(drawn, place):
    public, expanded = KYBER_512.key_derive(uniform(drawn, 64))
    ours = DecapsulationKey512(expanded)
    assert ours.public == public

    secret, ciphertext = EncapsulationKey512(public).encapsulate()
    assert KYBER_512.decaps(expanded, ciphertext) == secret
    secret, ciphertext = KYBER_512.encaps(public)
    assert ours.decapsulate(ciphertext) == secret
    changed = flip(ciphertext, place % (8 * len(ciphertext)))
    assert ours.decapsulate(changed) == KYBER_512.decaps(expanded, changed)


@settings(max_examples=10)
@given(SEEDS)
def test_a_ciphertext_of_noise_is_rejected_with_the_same_secret(drawn):
    seed, noise = uniform(drawn, 64), uniform(b"noise" + drawn, 1568)
    _, expanded = KYBER_1024.key_derive(seed)

    rejected = DecapsulationKey(ML_KEM_1024, seed).decapsulate(noise)

    assert rejected == KYBER_1024.decaps(expanded, noise)
    # The standard's own words: J(z || c), with z the second half of the seed.
    assert rejected == hashlib.shake_256(seed[32:] + noise).digest(32)


def rust_refuses(rust, public, message, signature, context):
    try:
        rust.verify(public, message, signature, context)
    except (ValueError, pqcrypto.InvalidSignatureError):
        return True
    return False


@settings(max_examples=100)
@given(SHORT_SEEDS, MESSAGES, CONTEXTS, PLACES)
def test_rust_and_ours_agree_on_ml_dsa_87(drawn, message, context, place):
    rust = pqcrypto.ml_dsa_87
    ours = SigningKey(ML_DSA_87, uniform(drawn, 32))
    signature = ours.sign(message, context)
    rust.verify(ours.public, message, signature, context)

    public, secret = rust.keygen()
    theirs = rust.sign(secret, message, context)
    VerifyingKey(ML_DSA_87, public).verify(message, context, theirs)

    changed = flip(signature, place % (8 * len(signature)))
    assert_refused(ours.verifying_key().verify, message, context, changed)
    assert rust_refuses(rust, ours.public, message, changed, context)
    other = context[:-1] + b"\xa5!"
    assert_refused(ours.verifying_key().verify, message, other, signature)
    assert rust_refuses(rust, ours.public, message, signature, other)


@settings(max_examples=100)
@given(SHORT_SEEDS, MESSAGES, CONTEXTS)
def test_pure_python_makes_our_ml_dsa_87_keys_and_verifies_our_signatures(drawn, message, context):
    seed = uniform(drawn, 32)
    ours = SigningKey(ML_DSA_87, seed)

    assert DILITHIUM_87.key_derive(seed)[0] == ours.public
    assert DILITHIUM_87.verify(ours.public, message, ours.sign(message, context), context)


SLOWEST = (
    (ML_DSA_44, DILITHIUM_44, pqcrypto.ml_dsa_44),
    (ML_DSA_65, DILITHIUM_65, pqcrypto.ml_dsa_65),
    (ML_DSA_87, DILITHIUM_87, pqcrypto.ml_dsa_87),
)


# The set is drawn, not a parameter: soak multiplies a test's examples once for each parameter.
@settings(max_examples=6)
@given(st.sampled_from(SLOWEST), SHORT_SEEDS, MESSAGES, CONTEXTS, PLACES)
def test_signatures_of_the_slowest_verify_everywhere(which, drawn, message, context, place):
    scheme, python, rust = which
    seed = uniform(drawn, 32)
    ours = SigningKey(scheme, seed)
    public, expanded = python.key_derive(seed)
    assert ours.public == public

    theirs = python.sign(expanded, message, context)
    ours.verifying_key().verify(message, context, theirs)
    rust.verify(public, message, theirs, context)
    assert python.verify(public, message, ours.sign(message, context), context)

    changed = flip(theirs, place % (8 * len(theirs)))
    assert_refused(ours.verifying_key().verify, message, context, changed)
    assert not python.verify(public, message, changed, context)
    assert rust_refuses(rust, public, message, changed, context)


IDS = {HYBRID: (0x51, 2, 2), CNSA: (0x42, 2, 2), RATE: (0x647A, 2, 2)}
LATTICE = {HYBRID: 1568, CNSA: 1568, RATE: 1184}


def oracle_agreement(suite, scalar, point):
    """Give the public point of a scalar, the secret it shares, and the combiner's label."""
    if suite is HYBRID:
        number = int.from_bytes(scalar, "big")
        return *hpke_oracle.nist_agreement(ec.SECP384R1(), number, point), b"MLKEM1024-P384"
    return *hpke_oracle.x25519_agreement(scalar, point), hpke_oracle.XWING_LABEL


def oracle_encapsulate(suite, public, entropy):
    """Encapsulate for a suite's key with pure Python and one curve: ciphertext and secret."""
    kyber = KYBER_768 if suite is RATE else KYBER_1024
    size = LATTICE[suite]
    secret, ciphertext = kyber._encaps_internal(public[:size], entropy[:32])
    if suite is CNSA:
        return ciphertext, secret
    scalar = entropy[32 : 32 + (48 if suite is HYBRID else 32)]
    point, agreed, label = oracle_agreement(suite, scalar, public[size:])
    return ciphertext + point, hpke_oracle.combine(secret, agreed, point, public[size:], label)


def oracle_decapsulate(suite, seeds, enc, public):
    kyber = KYBER_768 if suite is RATE else KYBER_1024
    cut = 1088 if suite is RATE else 1568
    _, expanded = kyber.key_derive(seeds[:64])
    secret = kyber.decaps(expanded, enc[:cut])
    if suite is CNSA:
        return secret
    _, agreed, label = oracle_agreement(suite, seeds[64:], enc[cut:])
    return hpke_oracle.combine(secret, agreed, enc[cut:], public[LATTICE[suite] :], label)


def drawn_secret(suite, drawn):
    """Give the seeds of a key; a scalar of P-384 with its top bit clear is in the group."""
    seeds = bytearray(uniform(drawn, suite.secret_bytes))
    if suite is HYBRID:
        seeds[64] &= 0x7F
    return bytes(seeds)


@settings(max_examples=15)
@given(st.sampled_from((HYBRID, CNSA, RATE)), SEEDS, MESSAGES, CONTEXTS)
def test_an_hpke_written_from_the_drafts_opens_ours_and_is_opened(suite, drawn, plain, info):
    seeds = drawn_secret(suite, drawn)
    ours = DecryptionKey(suite, seeds)
    entropy = bytearray(uniform(b"entropy" + drawn, 80))
    entropy[32] &= 0x7F
    whole = b"cronos hpke v1\0" + bytes((suite.number,)) + info

    enc, shared = oracle_encapsulate(suite, ours.public, bytes(entropy))
    theirs = hpke_oracle.seal(IDS[suite], enc, shared, whole, plain)
    assert ours.open(theirs, info) == plain

    sealed = ours.encryption_key().seal(plain, info)
    enc, text = sealed[: len(enc)], sealed[len(enc) :]
    shared = oracle_decapsulate(suite, seeds, enc, ours.public)
    assert hpke_oracle.open_sealed(IDS[suite], text, shared, whole) == plain


def test_every_bit_of_an_ml_dsa_87_signature_counts(request):
    key = SigningKey(ML_DSA_87, b"\x2a" * 32)
    signature = key.sign(b"message", b"context")
    verify = key.verifying_key().verify
    bits = 8 * len(signature)
    step = 1 if request.config.getoption("--hypothesis-profile") == "soak" else 41

    for bit in range(0, bits, step):
        assert_refused(verify, b"message", b"context", flip(signature, bit))
    for bit in range(bits - 8 * 83, bits, 1 if step == 1 else 5):  # the hints, at the end
        assert_refused(verify, b"message", b"context", flip(signature, bit))
    verify(b"message", b"context", signature)
