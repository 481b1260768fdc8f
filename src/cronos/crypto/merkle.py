"""Merkle batches: one ML-DSA-87 signature for many messages, a proof for each that needs no other.

A signature takes 0.8 ms, a hash under a microsecond: a batch of 64 is signed 60 times as fast as
its messages one by one.

| offset | bytes | field of a proof |
|---|---|---|
| 0 | 1 | version, 1 |
| 1 | 16 | the signer's fingerprint |
| 17 | 4 | messages in the batch, big-endian, at most 65,536 |
| 21 | 4 | index of this one, from 0 |
| 25 | 48 p | hashes beside its path, from the leaf up; p follows from size and index |
| 25 + 48 p | 4627 | signature over the statement |

Leaf: SHA-384(0x00 | message); node: SHA-384(0x01 | left | right). The statement that is signed is
version | size | root | the caller's context; whatever is before the context has one length.

Source: RFC 9162, 2.1 (tree and inclusion proof), with SHA-384 for SHA-256.
"""

import hmac
import threading
from collections.abc import Sequence
from hashlib import sha384
from typing import Final

from cronos.crypto.epoch import Signer
from cronos.crypto.refusal import refused
from cronos.crypto.signatures import ML_DSA_87, VerifyingKey
from cronos.crypto.suites import KID_BYTES
from cronos.errors import InputError

VERSION: Final = 1
SIGN_CONTEXT: Final = b"cronos-batch-v1"
MAX_BATCH: Final = 1 << 16
HASH_BYTES: Final = 48
_START_BYTES: Final = 1 + KID_BYTES + 4 + 4
_MAX_DEPTH: Final = 16
_MAX_PROOF_BYTES: Final = _START_BYTES + _MAX_DEPTH * HASH_BYTES + ML_DSA_87.signature_bytes


def sign_batch(messages: Sequence[bytes], signer: Signer, context: bytes) -> tuple[bytes, ...]:
    """Sign 1 to 65,536 messages at once and give the proof of each, in their order.

    Args:
        messages: any bytes.
        signer: an ML-DSA-87 key.
        context: what the batch is for and where; it must be the same at verifying.

    Raises:
        InputError: no message or too many, or another scheme's signature.
    """
    size = len(messages)
    if not 1 <= size <= MAX_BATCH:
        raise InputError(
            "crypto.bad_batch",
            f"A batch has 1 to {MAX_BATCH} messages, not {size}.",
            "Sign in several batches.",
        )
    levels = _levels([sha384(b"\0" + message).digest() for message in messages])
    signature = signer.sign(_statement(size, levels[-1][0], context), SIGN_CONTEXT)
    if len(signature) != ML_DSA_87.signature_bytes or len(signer.kid) != KID_BYTES:
        raise InputError(
            "crypto.bad_batch",
            "Batches are signed with ML-DSA-87.",
            "Sign with a key of that scheme.",
        )
    start = bytes((VERSION,)) + signer.kid + size.to_bytes(4, "big")
    return tuple(
        b"".join((start, index.to_bytes(4, "big"), path, signature))
        for index, path in enumerate(_paths(levels))
    )


def verify_one(message: bytes, proof: bytes, verifying_key: VerifyingKey, context: bytes) -> None:
    """Return when `proof` shows that the holder of the key signed `message` in `context`.

    Raises:
        DeniedError: it does not.
    """
    statement, signature = _claimed(message, proof, verifying_key, context)
    verifying_key.verify(statement, SIGN_CONTEXT, signature)


def proof_signer(proof: bytes) -> bytes:
    """Give the fingerprint of the key that a proof says it was made with; nothing is verified.

    Raises:
        DeniedError: it cannot be a proof.
    """
    if not _START_BYTES < len(proof) <= _MAX_PROOF_BYTES or proof[0] != VERSION:
        raise refused()
    return bytes(proof[1 : 1 + KID_BYTES])


class BatchVerifier:
    """Verifies many proofs of one key, and the signature of each batch once.

    It remembers the last `roots` statements that verified, with their very signature: a changed
    one is looked at again, so that what it accepts never depends on what it saw before. Safe to
    share between threads.
    """

    def __init__(self, verifying_key: VerifyingKey, roots: int = 256) -> None:
        if roots < 1:
            raise ValueError("a batch verifier remembers one root at least")
        self._key = verifying_key
        self._roots = roots
        self._known: dict[bytes, bytes] = {}
        self._lock = threading.Lock()

    def verify(self, message: bytes, proof: bytes, context: bytes) -> None:
        """Return when `verify_one` would.

        Raises:
            DeniedError: it would not.
        """
        statement, signature = _claimed(message, proof, self._key, context)
        if self._known.get(statement) == signature:
            return
        self._key.verify(statement, SIGN_CONTEXT, signature)
        with self._lock:
            self._known.pop(statement, None)
            while len(self._known) >= self._roots:
                del self._known[next(iter(self._known))]
            self._known[statement] = signature


def _statement(size: int, root: bytes, context: bytes) -> bytes:
    return bytes((VERSION,)) + size.to_bytes(4, "big") + root + context


def _levels(leaves: list[bytes]) -> list[list[bytes]]:
    """Give the levels of the tree from the leaves to the root.

    A node without a neighbour moves up as it is, which makes the shape of RFC 9162 from below.
    """
    levels = [leaves]
    while len(levels[-1]) > 1:
        below = levels[-1]
        pairs = zip(below[::2], below[1::2], strict=False)
        above = [sha384(b"\1" + left + right).digest() for left, right in pairs]
        if len(below) % 2:
            above.append(below[-1])
        levels.append(above)
    return levels


def _paths(levels: list[list[bytes]]) -> list[bytes]:
    """Give the path of every leaf; from the root down, so that what two share is joined once."""
    paths = [b""]
    for level in reversed(levels[:-1]):
        wider: list[bytes] = []
        for left, right, path in zip(level[::2], level[1::2], paths, strict=False):
            wider += (right + path, left + path)
        if len(level) % 2:
            wider.append(paths[-1])
        paths = wider
    return paths


def _claimed(
    message: bytes, proof: bytes, key: VerifyingKey, context: bytes
) -> tuple[bytes, bytes]:
    """Give the statement that must have been signed if the proof is right, and the signature.

    The length of the path follows from size and index and must be the proof's: at most 16 hashes
    are computed, whatever it says.
    """
    kid = proof_signer(proof)
    size = int.from_bytes(proof[17:21], "big")
    index = int.from_bytes(proof[21:25], "big")
    if not index < size <= MAX_BATCH or not hmac.compare_digest(kid, key.kid):
        raise refused()
    if key.scheme is not ML_DSA_87:
        raise refused()
    node = sha384(b"\0" + message).digest()
    at, last = _START_BYTES, size - 1
    while last:
        if index & 1 or index < last:
            beside = proof[at : at + HASH_BYTES]
            at += HASH_BYTES
            pair = beside + node if index & 1 else node + beside
            node = sha384(b"\1" + pair).digest()
        index >>= 1
        last >>= 1
    if len(proof) != at + ML_DSA_87.signature_bytes:
        raise refused()
    return _statement(size, node, context), proof[at:]
