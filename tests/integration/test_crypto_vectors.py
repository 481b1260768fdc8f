"""Every open vector, through our own interface; the counts are exact, so none is skipped unseen.

Where our interface cannot be asked (an expanded secret key, a drawn encapsulation, a deterministic
signature), a second implementation answers the vector, and ours is then compared with that one.
"""

import hashlib
import json
import pathlib
from collections import Counter

import pqcrypto
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from dilithium_py.ml_dsa import ML_DSA_87 as DILITHIUM_PY
from kyber_py.ml_kem import ML_KEM_768 as KYBER_768
from kyber_py.ml_kem import ML_KEM_1024 as KYBER_PY
from tests.integration import hpke_oracle

from cronos.crypto.hazmat.aead import Aes256Gcm
from cronos.crypto.hazmat.hkdf import hkdf
from cronos.crypto.hazmat.kem import ML_KEM_768, ML_KEM_1024, DecapsulationKey, EncapsulationKey
from cronos.crypto.hazmat.mu import representative, verify_mu
from cronos.crypto.signatures import ML_DSA_87, SigningKey, VerifyingKey
from cronos.crypto.suites import CNSA, RATE
from cronos.crypto.suites import DecryptionKey as SuiteKey
from cronos.crypto.suites import EncryptionKey as SuitePublic
from cronos.errors import DeniedError, InputError

DATA = pathlib.Path(__file__).parents[3] / "shared" / "data" / "crypto"
FILES = {
    "aes256gcm_wycheproof": 53,
    "hkdf_sha256_wycheproof": 22,
    "hkdf_sha384_wycheproof": 22,
    "hpke_pq_draft": 7,
    "mldsa87_sign_wycheproof": 9,
    "mldsa87_sigver_acvp": 5,
    "mldsa87_verify_wycheproof": 26,
    "mlkem1024_decaps_wycheproof": 21,
    "mlkem1024_encapdecap_acvp": 5,
    "mlkem1024_encaps_wycheproof": 17,
    "mlkem1024_keygen_wycheproof": 8,
    "xwing_draft": 2,
}
# The context that our suites put before a caller's: "cronos hpke v1", a zero, the suite's byte.
OURS = b"cronos hpke v1\0"

pytestmark = pytest.mark.skipif(
    not DATA.is_dir(), reason="the crypto vectors are not beside the repository"
)


def vectors(name):
    tests = json.loads((DATA / f"{name}.json").read_text())["tests"]
    assert len(tests) == FILES[name]
    return tests


def data(test, *names):
    return tuple(bytes.fromhex(test.get(name) or "") for name in names)


def tally(name, judge):
    """Count what `judge` says of each vector; it raises where one disagrees."""
    return Counter(judge(test) for test in vectors(name))


def test_there_is_a_test_for_every_file():
    assert {path.stem for path in DATA.glob("*.json")} == set(FILES)


def test_aes_256_gcm():
    def judge(test):
        key, nonce, context, plain, text, tag = data(test, "key", "iv", "aad", "msg", "ct", "tag")
        cipher = Aes256Gcm(key)
        if len(nonce) != 12:
            with pytest.raises(InputError):
                cipher.seal(nonce, plain, context)
            with pytest.raises(DeniedError):
                cipher.open(nonce, text + tag, context)
            return "another nonce size, refused"
        if test["result"] == "invalid":
            with pytest.raises(DeniedError):
                cipher.open(nonce, text + tag, context)
            return "invalid, refused"
        assert cipher.open(nonce, text + tag, context) == plain
        assert cipher.seal(nonce, plain, context) == text + tag
        return "valid, opened and sealed"

    assert tally("aes256gcm_wycheproof", judge) == {
        "valid, opened and sealed": 21,
        "invalid, refused": 14,
        "another nonce size, refused": 18,
    }


@pytest.mark.parametrize("hash_name", ["sha256", "sha384"])
def test_hkdf(hash_name):
    def judge(test):
        secret, salt, info, key = data(test, "ikm", "salt", "info", "okm")
        if test["result"] == "invalid":
            with pytest.raises(InputError):
                hkdf(secret, info, test["size"], salt=salt, hash_name=hash_name)
            return "invalid, refused"
        assert hkdf(secret, info, test["size"], salt=salt, hash_name=hash_name) == key
        return "valid, derived"

    assert tally(f"hkdf_{hash_name}_wycheproof", judge) == {
        "valid, derived": 20,
        "invalid, refused": 2,
    }


def test_ml_kem_1024_keys_from_seeds():
    def judge(test):
        seed, public, expanded = data(test, "seed", "ek", "dk")
        ours = DecapsulationKey(ML_KEM_1024, seed)
        assert ours.public == SuiteKey(CNSA, seed).public == public
        assert KYBER_PY.key_derive(seed) == (public, expanded)
        secret, ciphertext = ours.encapsulation_key().encapsulate()
        assert KYBER_PY.decaps(expanded, ciphertext) == secret
        return test["result"]

    assert tally("mlkem1024_keygen_wycheproof", judge) == {"valid": 8}


def test_ml_kem_1024_decapsulation():
    def judge(test):
        seed, public, ciphertext, secret = data(test, "seed", "ek", "c", "K")
        if len(seed) != 64:
            with pytest.raises(InputError):
                DecapsulationKey(ML_KEM_1024, seed)
            return "bad key, refused"
        key = DecapsulationKey(ML_KEM_1024, seed)
        if test["result"] == "invalid":
            assert len(ciphertext) != 1568
            with pytest.raises(DeniedError):
                key.decapsulate(ciphertext)
            return "bad length, refused"
        assert key.decapsulate(ciphertext) == secret
        assert key.public == public
        return "valid, the same secret"

    assert tally("mlkem1024_decaps_wycheproof", judge) == {
        "valid, the same secret": 11,
        "bad length, refused": 7,
        "bad key, refused": 3,
    }


def test_ml_kem_1024_encapsulation():
    def judge(test):
        public, message, ciphertext, secret = data(test, "ek", "m", "c", "K")
        if test["result"] == "invalid":
            with pytest.raises(InputError):
                EncapsulationKey(ML_KEM_1024, public)
            with pytest.raises(InputError):
                SuitePublic(CNSA, public)
            return "bad key, refused"
        # Ours draws the message itself, so the vector's answer comes from the other
        # implementation, and ours takes the same key.
        assert KYBER_PY._encaps_internal(public, message) == (secret, ciphertext)
        assert len(EncapsulationKey(ML_KEM_1024, public).encapsulate()[1]) == len(ciphertext)
        return "valid, the key is taken"

    assert tally("mlkem1024_encaps_wycheproof", judge) == {
        "bad key, refused": 12,
        "valid, the key is taken": 5,
    }


def test_ml_kem_1024_of_acvp():
    def judge(test):
        public, expanded, ciphertext, secret = data(test, "ek", "dk", "c", "k")
        # The keys are expanded, ours are seeds: both others answer, and open what ours makes.
        assert pqcrypto.ml_kem_1024.decaps(expanded, ciphertext) == secret
        assert KYBER_PY.decaps(expanded, ciphertext) == secret
        if test["function"] == "encapsulation":
            (message,) = data(test, "m")
            assert KYBER_PY._encaps_internal(public, message) == (secret, ciphertext)
        ours, ours_ciphertext = EncapsulationKey(ML_KEM_1024, public).encapsulate()
        assert pqcrypto.ml_kem_1024.decaps(expanded, ours_ciphertext) == ours
        assert KYBER_PY.decaps(expanded, ours_ciphertext) == ours
        return test["function"]

    assert tally("mlkem1024_encapdecap_acvp", judge) == {"encapsulation": 3, "decapsulation": 2}


def test_ml_dsa_87_verification():
    def judge(test):
        public, message, context, signature = data(test, "publicKey", "msg", "ctx", "sig")
        if len(public) != ML_DSA_87.public_bytes:
            with pytest.raises(InputError):
                VerifyingKey(ML_DSA_87, public)
            return "bad key, refused"
        key = VerifyingKey(ML_DSA_87, public)
        if test["result"] == "invalid":
            with pytest.raises(DeniedError):
                key.verify(message, context, signature)
            return "invalid, refused"
        key.verify(message, context, signature)
        return "valid, verified"

    assert tally("mldsa87_verify_wycheproof", judge) == {
        "valid, verified": 10,
        "invalid, refused": 14,
        "bad key, refused": 2,
    }


def test_ml_dsa_87_signing():
    def judge(test):
        public, seed, message, context, mu, signature, drawn = data(
            test, "publicKey", "privateSeed", "msg", "ctx", "mu", "sig", "rnd"
        )
        if len(seed) != 32:
            with pytest.raises(InputError):
                SigningKey(ML_DSA_87, seed)
            return "bad seed, refused"
        key = SigningKey(ML_DSA_87, seed)
        if test["result"] == "invalid":
            with pytest.raises(InputError):
                key.sign(message, context)
            return "long context, refused"
        # Ours draws, so the vector's own bytes come from the other implementation; ours makes the
        # same key and the same representative, and verifies them.
        assert key.public == public
        verify_mu(ML_DSA_87, public, mu, signature)
        _, expanded = DILITHIUM_PY.key_derive(seed)
        assert DILITHIUM_PY._sign_internal(
            expanded, mu, drawn or bytes(32), external_mu=True
        ) == signature  # fmt: skip
        if "msg" not in test:
            return "valid, by its representative alone"
        assert representative(ML_DSA_87, public, context, [message]) == mu
        key.verifying_key().verify(message, context, signature)
        return "valid, the same key, verified"

    assert tally("mldsa87_sign_wycheproof", judge) == {
        "valid, the same key, verified": 5,
        "valid, by its representative alone": 2,
        "bad seed, refused": 1,
        "long context, refused": 1,
    }


def test_ml_dsa_87_of_acvp_is_the_internal_interface():
    def judge(test):
        public, message, signature = data(test, "pk", "message", "signature")
        # The message is M' itself, with no byte of mode and no context: the public interface
        # must refuse all of them, and the representative is made by hand.
        with pytest.raises(DeniedError):
            VerifyingKey(ML_DSA_87, public).verify(message, b"", signature)
        tr = hashlib.shake_256(public).digest(64)
        mu = hashlib.shake_256(tr + message).digest(64)
        assert DILITHIUM_PY._verify_internal(public, message, signature) == test["testPassed"]
        if not test["testPassed"]:
            with pytest.raises(DeniedError):
                verify_mu(ML_DSA_87, public, mu, signature)
            return "invalid, refused"
        verify_mu(ML_DSA_87, public, mu, signature)
        return "valid, verified"

    assert tally("mldsa87_sigver_acvp", judge) == {"valid, verified": 1, "invalid, refused": 4}


def test_hpke_of_the_post_quantum_draft():
    def judge(test):
        ids = (test["kem_id"], test["kdf_id"], test["aead_id"])
        if ids[0] in (0x20, 0x21):
            return "X25519 or X448 alone: no suite of ours has it"
        if ids[0] == 0x50:
            check_p256_hybrid(test)
            return "MLKEM768-P256: its lattice half is ours"
        kem = ML_KEM_768 if ids[0] == 0x41 else ML_KEM_1024
        seed, public, enc, shared, info = data(test, "skRm", "pkRm", "enc", "shared_secret", "info")
        key = DecapsulationKey(kem, seed)
        assert (key.public, key.decapsulate(enc)) == (public, shared)
        if ids[1] not in hpke_oracle.HKDF_HASHES:
            return "ML-KEM, a KDF of no suite of ours: the shared secret"
        made = hpke_oracle.key_schedule(ids, shared, info)
        assert made == data(test, "key", "base_nonce", "exporter_secret")
        check_messages(test, made)
        if ids != (0x42, 2, 2):
            return "ML-KEM, the key schedule and every message"
        # Our CNSA suite exactly: a message under the vector's secret, in our context, opens.
        sealed = hpke_oracle.seal(
            ids, enc, shared, OURS + bytes((CNSA.number,)) + b"info", b"plain"
        )
        assert SuiteKey(CNSA, seed).open(sealed, b"info") == b"plain"
        return "the suite cnsa, whole"

    assert tally("hpke_pq_draft", judge) == {
        "the suite cnsa, whole": 1,
        "ML-KEM, the key schedule and every message": 1,
        "ML-KEM, a KDF of no suite of ours: the shared secret": 1,
        "MLKEM768-P256: its lattice half is ours": 2,
        "X25519 or X448 alone: no suite of ours has it": 2,
    }


def check_p256_hybrid(test):
    """Decapsulate by hand, with our ML-KEM-768: seed, two ciphertexts, one combiner."""
    seed, public, enc, shared = data(test, "skRm", "pkRm", "enc", "shared_secret")
    expanded = hashlib.shake_256(seed).digest(64 + 32)
    lattice = DecapsulationKey(ML_KEM_768, expanded[:64])
    scalar = int.from_bytes(expanded[64:], "big")
    point, agreed = hpke_oracle.nist_agreement(ec.SECP256R1(), scalar, enc[1088:])
    assert public == lattice.public + point
    assert shared == hpke_oracle.combine(
        lattice.decapsulate(enc[:1088]), agreed, enc[1088:], point, b"MLKEM768-P256"
    )


def check_messages(test, made):
    """Open each message of the vector under its counted nonce."""
    key, base, _ = made
    for index, one in enumerate(test["encryptions"]):
        context, text, nonce, plain = data(one, "aad", "ct", "nonce", "pt")
        count = int.from_bytes(base, "big") ^ index
        assert count.to_bytes(12, "big") == nonce
        if len(key) == 32:
            assert Aes256Gcm(key).open(nonce, text, context) == plain
        else:  # AES-128, which is in no suite of ours
            assert AESGCM(key).decrypt(nonce, text, context) == plain


def test_x_wing():
    def judge(test):
        seed, public, ciphertext, shared = data(test, "seed", "pk", "ct", "ss")
        # The draft's secret key is a seed of 32 bytes; ours is what that expands to.
        key = SuiteKey(RATE, hashlib.shake_256(seed).digest(96))
        assert key.public == public
        sealed = hpke_oracle.seal(
            (0x647A, 2, 2), ciphertext, shared, OURS + bytes((RATE.number,)) + b"info", b"plain"
        )
        assert key.open(sealed, b"info") == b"plain"
        # And the vector's randomness gives its ciphertext and its secret, by another way.
        (eseed,) = data(test, "eseed")
        check_xwing_encapsulation(public, eseed, ciphertext, shared)
        return "the suite rate, whole"

    assert tally("xwing_draft", judge) == {"the suite rate, whole": 2}


def check_xwing_encapsulation(public, eseed, ciphertext, shared):
    secret, lattice = KYBER_768._encaps_internal(public[:1184], eseed[:32])
    point, agreed = hpke_oracle.x25519_agreement(eseed[32:], public[1184:])
    assert ciphertext == lattice + point
    assert shared == hpke_oracle.combine(
        secret, agreed, point, public[1184:], hpke_oracle.XWING_LABEL
    )
