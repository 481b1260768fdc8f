"""Merkle batches: each proof stands alone, and none is good for anything else."""

import hashlib
from functools import partial

import pytest
from tests.unit.crypto.parties import Party
from tests.unit.crypto.refusals import assert_refused, flip

from cronos.crypto.epoch import Signer
from cronos.crypto.merkle import (
    MAX_BATCH,
    SIGN_CONTEXT,
    BatchVerifier,
    proof_signer,
    sign_batch,
    verify_one,
)
from cronos.crypto.signatures import ML_DSA_44, ML_DSA_87, SigningKey, VerifyingKey, generate_seed
from cronos.errors import InputError

SIZES = (1, 2, 3, 4, 5, 7, 8, 9, 16, 31, 33)


@pytest.fixture(scope="module")
def party():
    return Party()


def messages_of(size):
    return [b"message %d" % n for n in range(size)]


def root_by_the_book(leaves):
    """Give the root as RFC 9162, 2.1.1 writes it down, recursively from above."""
    if len(leaves) == 1:
        return hashlib.sha384(b"\0" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    left, right = root_by_the_book(leaves[:split]), root_by_the_book(leaves[split:])
    return hashlib.sha384(b"\1" + left + right).digest()


@pytest.mark.parametrize("size", SIZES)
def test_every_message_of_a_batch_verifies_by_its_own_proof_alone(party, size):
    messages = messages_of(size)
    proofs = sign_batch(messages, party.signer, b"bulletins")

    assert len(proofs) == size
    for message, proof in zip(messages, proofs, strict=True):
        verify_one(message, proof, party.verifying, b"bulletins")
        assert proof_signer(proof) == party.signing.kid


@pytest.mark.parametrize("size", SIZES)
def test_the_signature_is_over_the_root_of_rfc_9162_with_size_and_context(party, size):
    messages = messages_of(size)
    proof = sign_batch(messages, party.signer, b"bulletins")[-1]

    statement = b"\1" + size.to_bytes(4, "big") + root_by_the_book(messages) + b"bulletins"
    party.verifying.verify(statement, SIGN_CONTEXT, proof[-ML_DSA_87.signature_bytes :])


def test_a_batch_is_signed_once(party):
    signed = []

    def sign(message, context):
        signed.append(context)
        return party.signing.sign(message, context)

    sign_batch(messages_of(1000), Signer(party.signing.kid, sign), b"")

    assert signed == [SIGN_CONTEXT]


def test_a_proof_is_48_bytes_a_level(party):
    for size, levels in ((1, 0), (2, 1), (64, 6), (1024, 10)):
        proof = sign_batch(messages_of(size), party.signer, b"")[0]
        assert len(proof) == 25 + 48 * levels + 4627


def test_the_largest_batch_works_and_one_more_is_an_error(party):
    messages = [b"%d" % n for n in range(MAX_BATCH)]
    proofs = sign_batch(messages, party.signer, b"")

    for index in (0, 1, MAX_BATCH // 2, MAX_BATCH - 1):
        verify_one(messages[index], proofs[index], party.verifying, b"")
    for bad in ([], [*messages, b"one more"]):
        with pytest.raises(InputError) as caught:
            sign_batch(bad, party.signer, b"")
        assert caught.value.code == "crypto.bad_batch"


def test_two_messages_that_are_equal_have_two_proofs(party):
    proofs = sign_batch([b"same", b"same"], party.signer, b"")

    assert proofs[0] != proofs[1]
    for proof in proofs:
        verify_one(b"same", proof, party.verifying, b"")


def test_a_proof_is_for_its_message_its_context_and_its_signer(party):
    messages = messages_of(5)
    proofs = sign_batch(messages, party.signer, b"bulletins")

    for index, proof in enumerate(proofs):
        for other, message in enumerate(messages):
            if other != index:
                assert_refused(verify_one, message, proof, party.verifying, b"bulletins")
        for context in (b"", b"bulletin", b"bulletins ", b"receipts"):
            assert_refused(verify_one, messages[index], proof, party.verifying, context)
        assert_refused(verify_one, messages[index], proof, Party().verifying, b"bulletins")


def test_a_signature_of_another_purpose_is_no_proof(party):
    message = b"message"
    proof = sign_batch([message], party.signer, b"")[0]
    statement = b"\1\0\0\0\1" + hashlib.sha384(b"\0" + message).digest()
    for context in (b"", b"cronos-epoch-v1"):
        forged = proof[:25] + party.signing.sign(statement, context)
        assert_refused(verify_one, message, forged, party.verifying, b"")


def test_an_inner_node_is_no_message(party):
    left, right = (hashlib.sha384(b"\0" + one).digest() for one in (b"left", b"right"))
    proof = sign_batch([b"left", b"right"], party.signer, b"")[0]
    as_leaf = proof[:17] + b"\0\0\0\1" + bytes(4) + proof[-4627:]

    assert_refused(verify_one, left + right, as_leaf, party.verifying, b"")
    assert_refused(verify_one, b"\1" + left + right, as_leaf, party.verifying, b"")


@pytest.mark.parametrize("size", [1, 3, 4])
def test_every_changed_bit_before_the_signature_and_many_in_it_are_refused(party, size):
    messages = messages_of(size)
    proof = sign_batch(messages, party.signer, b"c")[-1]
    verifier = BatchVerifier(party.verifying)
    verifier.verify(messages[-1], proof, b"c")
    body = (len(proof) - 4627) * 8

    for bit in (*range(body), *range(body, len(proof) * 8, 331)):
        assert_refused(verifier.verify, messages[-1], flip(proof, bit), b"c")
    for bit in range(0, len(proof) * 8, 97):
        assert_refused(verify_one, messages[-1], flip(proof, bit), party.verifying, b"c")


def test_every_cut_and_every_extension_is_refused(party):
    message, *_ = messages = messages_of(3)
    proof = sign_batch(messages, party.signer, b"")[0]

    for end in (*range(200), *range(200, len(proof), 97), len(proof) - 1):
        assert_refused(verify_one, message, proof[:end], party.verifying, b"")
    for more in (b"\0", bytes(48), proof):
        assert_refused(verify_one, message, proof + more, party.verifying, b"")
        assert_refused(verify_one, message, more + proof, party.verifying, b"")


def test_a_size_or_an_index_out_of_bounds_is_refused_without_a_single_node(party):
    proof = sign_batch([b"message"], party.signer, b"")[0]
    for size, index in ((0, 0), (1, 1), (MAX_BATCH + 1, 0), (2**32 - 1, 5), (7, 2**32 - 1)):
        numbers = size.to_bytes(4, "big") + index.to_bytes(4, "big")
        changed = proof[:17] + numbers + proof[25:]
        assert_refused(verify_one, b"message", changed, party.verifying, b"")


def test_a_giant_proof_is_refused_before_it_is_read(party):
    proof = sign_batch([b"message"], party.signer, b"")[0]

    assert_refused(verify_one, b"message", proof + bytes(1 << 20), party.verifying, b"")
    assert_refused(proof_signer, proof + bytes(1 << 20))


def test_what_cannot_be_a_proof_names_no_signer(party):
    proof = sign_batch([b"message"], party.signer, b"")[0]

    for bad in (b"", proof[:25], b"\2" + proof[1:]):
        assert_refused(proof_signer, bad)


def test_a_key_or_a_signature_of_another_scheme_is_not_taken(party):
    small = SigningKey(ML_DSA_44, generate_seed())
    with pytest.raises(InputError) as caught:
        sign_batch([b"message"], Signer(small.kid, small.sign), b"")
    assert caught.value.code == "crypto.bad_batch"

    proof = sign_batch([b"message"], party.signer, b"")[0]
    named = proof[:1] + small.kid + proof[17:]
    assert_refused(verify_one, b"message", named, small.verifying_key(), b"")


class CountingKey(VerifyingKey):
    """A real key that counts what it verifies."""

    def __init__(self, key):
        super().__init__(key.scheme, key.public)
        self.calls = 0

    def verify(self, message, context, signature):
        self.calls += 1
        super().verify(message, context, signature)


def test_a_receiver_verifies_one_signature_a_batch(party):
    key = CountingKey(party.verifying)
    verifier = BatchVerifier(key)
    messages = messages_of(100)

    for _ in range(3):
        for message, proof in zip(messages, sign_batch(messages, party.signer, b""), strict=True):
            verifier.verify(message, proof, b"")

    assert key.calls == 3, "signing is hedged: three batches, three signatures"


def test_what_is_remembered_vouches_for_nothing_else(party):
    verifier = BatchVerifier(party.verifying)
    messages = messages_of(4)
    proofs = sign_batch(messages, party.signer, b"c")
    verifier.verify(messages[0], proofs[0], b"c")

    assert_refused(verifier.verify, messages[1], proofs[0], b"c")
    assert_refused(verifier.verify, messages[0], proofs[0], b"d")
    assert_refused(verifier.verify, messages[0], proofs[0][:-1] + b"\0\0", b"c")
    verifier.verify(messages[3], proofs[3], b"c")


def test_what_a_receiver_remembers_is_bounded(party):
    key = CountingKey(party.verifying)
    verifier = BatchVerifier(key, roots=3)
    proofs = [sign_batch([b"%d" % n], party.signer, b"")[0] for n in range(5)]

    for number, proof in enumerate(proofs):
        verifier.verify(b"%d" % number, proof, b"")
    assert len(verifier._known) == 3
    verifier.verify(b"4", proofs[4], b"")
    assert key.calls == 5
    verifier.verify(b"0", proofs[0], b"")
    assert key.calls == 6


@pytest.mark.parametrize("roots", [0, -1])
def test_a_receiver_that_may_remember_nothing_is_an_error_at_once(party, roots):
    with pytest.raises(ValueError, match="one root"):
        BatchVerifier(party.verifying, roots)


def test_a_refused_signature_is_not_remembered(party):
    verifier = BatchVerifier(party.verifying)
    proof = sign_batch([b"message"], party.signer, b"")[0]
    bad = flip(proof, len(proof) * 8 - 1)

    for _ in range(2):
        assert_refused(partial(verifier.verify, b"message", bad, b""))
    assert verifier._known == {}
