"""Who said it: Merkle batches of bulletins and receipts, one ML-DSA-87 signature each.

What is signed of a message is ``incarnation u64 | of u64 | canonical bytes``, in the context
``cronos-mesh-batch/<instance>``. A peer gets the signature once, and for each of its messages the
hashes beside its path (`cronos.crypto.merkle`).

Whose key it is, the certificate says: it binds the SHA-384 of the node's ML-DSA-87 key. A peer
announces the key itself; it is believed only where the hash is the certificate's.

A node may rotate its key before its certificate is renewed. So a key that no certificate binds is
*not proven yet*: what it signs counts as unsigned meanwhile, and as nobody's fault. It is false
once the peer's next certificate binds another, or once every certificate that was in force when it
was announced has ended.
"""

import asyncio
import hmac
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Final, NoReturn, Protocol

import msgspec

from cronos.crypto.epoch import Signer
from cronos.crypto.merkle import HASH_BYTES, BatchVerifier, sign_batch
from cronos.crypto.pki.names import NODE
from cronos.crypto.pki.profile import LIFE_NS, bound_hash
from cronos.crypto.refusal import refused
from cronos.crypto.signatures import ML_DSA_87, VerifyingKey
from cronos.crypto.suites import KID_BYTES
from cronos.errors import UnreachableError
from cronos.mesh.wire import Leaf, Signatures
from cronos.ports import Clock, KeyProvider

_START_BYTES: Final = 1 + KID_BYTES + 4 + 4
_VERSION: Final = b"\x01"
_KEYS_PER_PEER: Final = 4
_ROOTS: Final = 256
_MAX_PEERS: Final = 4_096
UNPROVEN: Final = "mesh.unproven_key"
UNPROVEN_NS: Final = LIFE_NS[NODE]


class _Unproven(msgspec.Struct, frozen=True):
    """A key that no certificate binds yet, since when, and what the certificate bound then."""

    public: bytes
    bound: bytes
    since_ns: int


class Batch(msgspec.Struct, frozen=True):
    """A signature over messages, and the key that verifies it; `paths` are in their order."""

    kid: bytes
    public: bytes
    size: int
    signature: bytes
    paths: tuple[bytes, ...]


class Seals(Protocol):
    """Signs for this node, and verifies for its peers."""

    async def sign(self, leaves: Sequence[bytes]) -> Batch:
        """Sign messages at once.

        Raises:
            CronosError: the keys do not answer, or may not sign.
        """
        ...

    def learn(self, peer: str, public: bytes) -> None:
        """Take a peer's key; where its certificate is not known yet, it is looked at later.

        Raises:
            DeniedError: its certificate binds another.
            UnreachableError: so it does, but the next may bind this one (code `UNPROVEN`).
        """
        ...

    def verify(self, peer: str, leaf: bytes, signed: Signatures, place: Leaf) -> None:
        """Return when the peer signed `leaf` at that place.

        Raises:
            DeniedError: it did not.
            UnreachableError: its key is not known (yet).
        """
        ...


def leaf_of(incarnation: int, of: int, data: bytes) -> bytes:
    """Give what is signed of a message."""
    return incarnation.to_bytes(8, "big") + of.to_bytes(8, "big") + data


class MerkleSeals:
    """Signs with one of the node's keys; blocks no event loop.

    Args:
        keys: hold the key; asked in a thread.
        me: this node.
        bound: gives the hash that a peer's certificate binds; None where it has none.
        key: the name of the ML-DSA-87 key.
        clock: says how long a key may be unproven; without one it is false at once.
    """

    def __init__(
        self,
        keys: KeyProvider,
        me: str,
        bound: Callable[[str], bytes | None],
        key: str = "identity",
        clock: Clock | None = None,
    ) -> None:
        self._keys = keys
        self._me = me
        self._bound = bound
        self._key = key
        self._peers: OrderedDict[str, OrderedDict[bytes, BatchVerifier]] = OrderedDict()
        self._clock = clock
        self._early: OrderedDict[str, bytes] = OrderedDict()
        self._unproven: OrderedDict[str, dict[bytes, _Unproven]] = OrderedDict()

    async def sign(self, leaves: Sequence[bytes]) -> Batch:
        """Sign messages at once; see `Seals.sign`."""
        return await asyncio.to_thread(self._sign, list(leaves))

    def _sign(self, leaves: list[bytes]) -> Batch:
        public = self._keys.public(self._key)
        signer = Signer(VerifyingKey(ML_DSA_87, public).kid, partial(self._keys.sign, self._key))
        proofs = sign_batch(leaves, signer, _context(self._me))
        end = -ML_DSA_87.signature_bytes
        paths = tuple(proof[_START_BYTES:end] for proof in proofs)
        return Batch(signer.kid, public, len(leaves), proofs[0][end:], paths)

    def learn(self, peer: str, public: bytes) -> None:
        """Take a peer's key; see `Seals.learn`."""
        bound = self._bound(peer)
        if bound is None:
            self._early[peer] = public
            while len(self._early) > _MAX_PEERS:
                self._early.popitem(last=False)
            return
        digest = bound_hash(public)
        key = VerifyingKey(ML_DSA_87, public)
        if key.kid in self._peers.get(peer, ()):
            return  # a certificate has bound it: what it signed before the next one still counts
        if not hmac.compare_digest(bound, digest):
            self._wait_for_proof(peer, public, digest, bound)
        self._unproven.get(peer, {}).pop(digest, None)
        known = self._peers.setdefault(peer, OrderedDict())
        if key.kid not in known:
            known[key.kid] = BatchVerifier(key, _ROOTS)
        while len(known) > _KEYS_PER_PEER:
            known.popitem(last=False)
        while len(self._peers) > _MAX_PEERS:
            self._peers.popitem(last=False)

    def _wait_for_proof(self, peer: str, public: bytes, digest: bytes, bound: bytes) -> NoReturn:
        """Keep a key until a certificate binds it; say whether that may still happen."""
        waiting = self._unproven.setdefault(peer, {})
        now_ns = self._clock.now().boot_ns if self._clock is not None else 0
        known = waiting.get(digest)
        if known is None and self._clock is not None and len(waiting) < _KEYS_PER_PEER:
            known = waiting[digest] = _Unproven(public, bound, now_ns)
        while len(self._unproven) > _MAX_PEERS:
            self._unproven.popitem(last=False)
        # Another certificate came, and it is not this key's; or none can come in time any more.
        settled = known is not None and not hmac.compare_digest(known.bound, bound)
        if known is None or settled or now_ns - known.since_ns >= UNPROVEN_NS:
            raise refused()
        raise UnreachableError(
            UNPROVEN,
            f"{peer} signs with a key that its certificate does not bind yet.",
            "It was rotated: have the certificate renewed there (`cronos pki rotate`).",
        )

    def _prove(self, peer: str) -> None:
        """Take up what a certificate that has come since binds."""
        waiting = self._unproven.get(peer)
        bound = self._bound(peer) if waiting else None
        if waiting and bound is not None and (proven := waiting.get(bound)) is not None:
            self.learn(peer, proven.public)

    def verify(self, peer: str, leaf: bytes, signed: Signatures, place: Leaf) -> None:
        """Return when the peer signed `leaf` at that place; see `Seals.verify`."""
        early = self._early.pop(peer, None)
        if early is not None:
            self.learn(peer, early)
        self._prove(peer)
        known = self._peers.get(peer)
        verifier = None if known is None else known.get(signed.kid)
        if verifier is None:
            raise UnreachableError(
                "mesh.unknown_key",
                f"{peer} signs with the key {signed.kid.hex()}, which it has not announced here.",
                "Look at its certificate: it has to bind that key (`cronos pki renew`).",
            )
        if len(place.path) % HASH_BYTES:
            raise refused()
        size, index = signed.size.to_bytes(4, "big"), place.index.to_bytes(4, "big")
        proof = b"".join((_VERSION, signed.kid, size, index, place.path, signed.signature))
        verifier.verify(leaf, proof, _context(peer))


def _context(instance: str) -> bytes:
    return b"cronos-mesh-batch/" + instance.encode()
