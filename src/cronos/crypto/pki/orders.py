"""Signed orders: what a person tells Cronos to do, in a form nobody can replay.

An approval, a release or a kill order is bytes; here they get the signer's chain, a nonce, an
expiry and one ML-DSA-87 signature over all of it. Who verifies names the roles that may order
this, and remembers nonces until they expire.
"""

import secrets
from collections.abc import Collection
from typing import Annotated, Any, Final

import msgspec
from cryptography import x509
from cryptography.exceptions import InvalidSignature
from msgspec import Meta

from cronos.crypto.pki.chain import Identity, Revoked, verify_chain
from cronos.crypto.pki.credential import Chain, Credential
from cronos.crypto.pki.names import OPERATOR
from cronos.crypto.pki.profile import MLDSA
from cronos.crypto.pki.trust import Trust
from cronos.crypto.refusal import refused
from cronos.errors import DeniedError
from cronos.types import Now

CONTEXT: Final = b"cronos-order-v1"
MAX_ORDER_BYTES: Final = 65_536
MAX_LIFE_NS: Final = 600 * 1_000_000_000
# A signer whose clock is ahead by this much is still heard.
SKEW_NS: Final = 120 * 1_000_000_000
_MAX_PACKET_BYTES: Final = MAX_ORDER_BYTES + 48 * 1024
_Time = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]


class Order(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What is signed: the order, whom it is for, and when it holds."""

    version: Annotated[int, Meta(ge=1, le=1)]
    domain: Annotated[str, Meta(max_length=180)]
    nonce: Annotated[bytes, Meta(min_length=16, max_length=16)]
    issued_ns: _Time
    expires_ns: _Time
    chain: Chain
    order: Annotated[bytes, Meta(max_length=MAX_ORDER_BYTES)]


class _Packet(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    body: Annotated[bytes, Meta(max_length=_MAX_PACKET_BYTES)]
    signature: Annotated[bytes, Meta(min_length=4627, max_length=4627)]


class Verified(msgspec.Struct, frozen=True):
    """An order that holds, and who gave it."""

    identity: Identity
    order: bytes
    nonce: bytes
    issued_ns: int


_ENCODER: Final = msgspec.msgpack.Encoder()
_PACKETS: Final = msgspec.msgpack.Decoder(_Packet)
_ORDERS: Final = msgspec.msgpack.Decoder(Order)
_UNREADABLE: Final = (msgspec.DecodeError, ValueError, RecursionError)


class Nonces:
    """The nonces of orders that were carried out; each is kept until its order expires.

    Full, it refuses: forgetting one would let its order be carried out again. Nor does a clock
    that is set back revive an order whose nonce was forgotten.
    """

    def __init__(self, most: int = 100_000) -> None:
        self._most = most
        self._until: dict[bytes, int] = {}
        self._forgot_ns = -1

    def use(self, nonce: bytes, expires_ns: int, now_ns: int) -> bool:
        """Take a nonce; False where it was taken before, or nothing more can be remembered."""
        if len(self._until) >= self._most:
            self._forgot_ns = max(self._forgot_ns, now_ns)
            self._until = {one: end for one, end in self._until.items() if end > now_ns}
        if expires_ns <= self._forgot_ns:
            return False
        if nonce in self._until or len(self._until) >= self._most:
            return False
        self._until[nonce] = expires_ns
        return True


def sign_order(order: bytes, credential: Credential, now: Now, life_ns: int = MAX_LIFE_NS) -> bytes:
    """Sign an order with a credential's ML-DSA-87 key.

    Args:
        order: at most 64 KiB; what it means is for its receiver.
        credential: the signer's.
        now: the time.
        life_ns: how long it holds, at most ten minutes.

    Raises:
        DeniedError: the order is too long, or wants to live too long.
    """
    if len(order) > MAX_ORDER_BYTES or not 0 < life_ns <= MAX_LIFE_NS:
        raise DeniedError(
            "crypto.bad_order",
            f"An order of {len(order)} bytes for {life_ns // 1_000_000_000} s is not allowed.",
            f"At most {MAX_ORDER_BYTES} bytes, for at most {MAX_LIFE_NS // 1_000_000_000} s.",
        )
    body = _ENCODER.encode(
        Order(
            1,
            credential.trust.domain,
            secrets.token_bytes(16),
            now.wall_ns,
            now.wall_ns + life_ns,
            credential.chains.of(MLDSA),
            order,
        )
    )
    key: Any = credential.keys.of(MLDSA)
    return _ENCODER.encode(_Packet(body, key.sign(body, CONTEXT)))


def verify_order(
    packet: bytes,
    trust: Trust,
    now: Now,
    revoked: Revoked,
    nonces: Nonces,
    *,
    roles: Collection[str],
) -> Verified:
    """Give the order and who gave it, once.

    Args:
        packet: what `sign_order` gave.
        trust: the pinned roots.
        now: the time.
        revoked: the revocation lists.
        nonces: those of the orders carried out before.
        roles: one of these the signer, an operator, must hold.

    Raises:
        DeniedError: not signed by such a one, expired, revoked, or carried out before.
    """
    if len(packet) > _MAX_PACKET_BYTES + 8192:
        raise refused()
    try:
        signed = _PACKETS.decode(packet)
        order = _ORDERS.decode(signed.body)
    except _UNREADABLE:
        raise refused() from None
    identity = verify_chain(order.chain, trust, now, revoked, (OPERATOR,))
    if identity.algorithm != MLDSA or order.domain != trust.domain:
        raise refused()
    _require_signature(order, signed)
    _require_role(identity, roles)
    _require_fresh(order, now)
    if not nonces.use(order.nonce, order.expires_ns, now.wall_ns):
        raise DeniedError(
            "crypto.order_replayed",
            "This order was carried out already.",
            "Give it anew if it is to be carried out again.",
        )
    return Verified(identity, order.order, order.nonce, order.issued_ns)


def issued_ns(packet: bytes) -> int:
    """Give the time at which an order says it was given; nothing is verified yet.

    Raises:
        DeniedError: it is no order.
    """
    if len(packet) > _MAX_PACKET_BYTES + 8192:
        raise refused()
    try:
        return _ORDERS.decode(_PACKETS.decode(packet).body).issued_ns
    except _UNREADABLE:
        raise refused() from None


def _require_signature(order: Order, signed: _Packet) -> None:
    """Check the signature with the leaf's own key, which the chain has vouched for."""
    key: Any = x509.load_der_x509_certificate(order.chain[0]).public_key()
    try:
        key.verify(signed.signature, signed.body, CONTEXT)
    except (InvalidSignature, ValueError, TypeError):
        raise refused() from None


def _require_role(identity: Identity, roles: Collection[str]) -> None:
    if set(identity.roles).isdisjoint(roles):
        raise DeniedError(
            "crypto.order_role",
            f"{identity.kind} {identity.name} may not order this.",
            f"It takes one of these roles: {', '.join(sorted(roles))}.",
        )


def _require_fresh(order: Order, now: Now) -> None:
    ahead_ns = order.issued_ns - now.wall_ns - now.wall_uncertainty_ns
    life_ns = order.expires_ns - order.issued_ns
    if now.wall_ns >= order.expires_ns or ahead_ns > SKEW_NS or not 0 < life_ns <= MAX_LIFE_NS:
        raise DeniedError(
            "crypto.order_expired",
            "This order has expired, or is from the future.",
            "Give it anew; if it was given just now, compare the clocks.",
        )
