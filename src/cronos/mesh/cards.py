"""Cards: which roles a member holds, in its own signature, with what proves who it is.

A card holds a claim (instance, epoch, roles), the member's ML-DSA-87 public key, and its
certificate chain. The chain says which roles it may hold and binds the hash of the key; the key
signs the claim. So a card is believed whoever hands it on, and says no more than its certificate
allows.

A later epoch replaces an earlier one, and an earlier one never comes back. When a certificate ends
or is revoked, so does its card.

Source: DESIGN 4, roles held are signed claims with epochs.
"""

import hashlib
import hmac
from collections.abc import Callable, Sequence
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from cronos.crypto.pki.chain import Revoked, verify_chain
from cronos.crypto.pki.credential import Chain
from cronos.crypto.pki.names import NODE
from cronos.crypto.pki.profile import MLDSA, bound_hash
from cronos.crypto.pki.requests import Bound
from cronos.crypto.pki.trust import Trust
from cronos.crypto.refusal import refused
from cronos.crypto.signatures import ML_DSA_87, VerifyingKey
from cronos.errors import CronosError, DeniedError, UnreachableError
from cronos.mesh.memberwire import MAX_CARD_BYTES
from cronos.ports import Clock

CONTEXT: Final = b"cronos-mesh-card-v1"
DIGEST_BYTES: Final = 16
MAX_CARDS: Final = 4096
_Role = Annotated[str, Meta(max_length=32)]


class Claim(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What a member says of itself; `epoch` rises with each claim."""

    version: Annotated[int, Meta(ge=1, le=1)]
    domain: Annotated[str, Meta(max_length=180)]
    instance: Annotated[str, Meta(max_length=63)]
    epoch: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]
    roles: Annotated[tuple[_Role, ...], Meta(max_length=8)]


class _Packed(msgspec.Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    body: Annotated[bytes, Meta(max_length=2048)]
    public: Annotated[bytes, Meta(min_length=2592, max_length=2592)]
    chain: Chain
    signature: Annotated[bytes, Meta(min_length=4627, max_length=4627)]


class Held(msgspec.Struct, frozen=True):
    """A card that was verified.

    Attributes:
        roles: those it claims, all of them allowed.
        allowed: those that its certificate lets it claim.
        key: signs for this member.
        digest: names this very card.
        packed: its bytes, to be handed on.
    """

    instance: str
    epoch: int
    roles: tuple[str, ...]
    allowed: tuple[str, ...]
    key: VerifyingKey
    digest: bytes
    packed: bytes
    chain: tuple[bytes, ...]


_ENCODER: Final = msgspec.msgpack.Encoder()
_CLAIMS: Final = msgspec.msgpack.Decoder(Claim)
_CARDS: Final = msgspec.msgpack.Decoder(_Packed)
_UNREADABLE: Final = (msgspec.DecodeError, ValueError, RecursionError)


class Cards:
    """The cards of all members, this node's own among them.

    Args:
        me: this node.
        bound: the ML-DSA-87 key that this node's certificate binds, or what gives it, where it may
            be rotated; that and its `sign` may take a while.
        chain: gives this node's ML-DSA-87 certificate chain as it stands: what is agreed on its
            word must outlive elliptic curves.
        trust: the pinned roots.
        revoked: gives the revocation lists as last heard.
        clock: the time.
    """

    def __init__(
        self,
        me: str,
        bound: Bound | Callable[[], Bound],
        chain: Callable[[], Sequence[bytes]],
        trust: Trust,
        revoked: Callable[[], Revoked],
        clock: Clock,
    ) -> None:
        self.me = me
        self._bound = bound
        self._chain = chain
        self._trust = trust
        self._revoked = revoked
        self._clock = clock
        self._held: dict[str, Held] = {}
        self._epochs: dict[str, int] = {}

    @property
    def bound(self) -> Bound:
        """The key that this node signs with; in a thread, for the key agent may be asked."""
        return self._bound() if callable(self._bound) else self._bound

    def signer(self) -> Bound:
        """Give the key that this node signs with, if its card says so.

        Raises:
            UnreachableError: it was rotated; the card follows when the certificate is renewed.
        """
        bound, own = self.bound, self._held.get(self.me)
        if own is not None and own.key.public != bound.public:
            raise UnreachableError(
                "mesh.rotated_key",
                f"{self.me} signs with another key than its certificate binds.",
                "It is renewed where `certificate-renewal` runs; else `cronos pki rotate` does it.",
            )
        return bound

    def claim(self, roles: Sequence[str]) -> Held:
        """Make this node's card anew; takes as long as a signature.

        Raises:
            DeniedError: its own certificate does not allow a role, or is none any more.
        """
        now = self._clock.now()
        before = self._held.get(self.me)
        epoch = max(now.wall_ns, before.epoch + 1 if before else 0)
        body = _ENCODER.encode(Claim(1, self._trust.domain, self.me, epoch, tuple(roles)))
        chain = tuple(self._chain())[:2]
        bound = self.bound
        signature = bound.sign(body, CONTEXT)
        packed = _ENCODER.encode(_Packed(body, bound.public, chain, signature))
        return self.learn(packed)[0]

    def learn(self, packed: bytes) -> tuple[Held, bool]:
        """Verify a card; give the newest of its member, and whether this one is new.

        Raises:
            DeniedError: it does not hold; the code says whether a role is not certified, or the
                certificate has expired or was revoked.
        """
        card, claim = _read(packed)
        known = self._held.get(claim.instance)
        if known is not None and claim.epoch <= known.epoch:
            return known, False
        held = self._verified(packed, card, claim)
        if claim.epoch <= self._epochs.get(claim.instance, -1):
            raise refused()
        if known is None and len(self._held) >= MAX_CARDS:
            raise DeniedError(
                "mesh.too_many_cards",
                f"{MAX_CARDS} members' cards are kept already.",
                "See who makes up members; the authority issued a certificate to each.",
            )
        self._held[held.instance] = held
        self._epochs[held.instance] = held.epoch
        return held, True

    @staticmethod
    def named(packed: bytes) -> str:
        """Say whose card this claims to be, before it is verified.

        Raises:
            DeniedError: it is none.
        """
        return _read(packed)[1].instance

    def of(self, instance: str) -> Held | None:
        """Give a member's card."""
        return self._held.get(instance)

    def all(self) -> tuple[Held, ...]:
        """Give all cards, sorted by member."""
        return tuple(held for _, held in sorted(self._held.items()))

    def bound_hash(self, instance: str) -> bytes | None:
        """Give the hash of the key that signs for a member, where its card is known."""
        held = self._held.get(instance)
        return bound_hash(held.key.public) if held is not None else None

    def outdated(self) -> bool:
        """Say whether this node's certificate was renewed since it made its card."""
        own = self._held.get(self.me)
        return own is None or own.chain != tuple(self._chain())[:2]

    def lapse(self) -> tuple[str, ...]:
        """Drop the cards whose certificates have ended or were revoked, and say whose."""
        now, revoked = self._clock.now(), self._revoked()
        ended: list[str] = []
        for held in self.all():
            try:
                verify_chain(held.chain, self._trust, now, revoked, (NODE,))
            except DeniedError:
                del self._held[held.instance]
                ended.append(held.instance)
        return tuple(ended)

    def _verified(self, packed: bytes, card: _Packed, claim: Claim) -> Held:
        now = self._clock.now()
        identity = verify_chain(card.chain, self._trust, now, self._revoked(), (NODE,))
        if (
            identity.algorithm != MLDSA
            or identity.name != claim.instance
            or claim.domain != self._trust.domain
            or not hmac.compare_digest(identity.mldsa_hash, bound_hash(card.public))
        ):
            raise refused()
        try:
            key = VerifyingKey(ML_DSA_87, card.public)
        except CronosError:
            raise refused() from None
        key.verify(card.body, CONTEXT, card.signature)
        beyond = sorted(set(claim.roles) - set(identity.roles))
        if beyond:
            raise DeniedError(
                "mesh.uncertified_role",
                f"{claim.instance} claims roles that its certificate does not allow: "
                f"{', '.join(beyond)}.",
                "Issue it a certificate with these roles, or see why it claims them.",
            )
        digest = hashlib.sha384(packed).digest()[:DIGEST_BYTES]
        roles, allowed = claim.roles, identity.roles
        return Held(
            claim.instance, claim.epoch, roles, allowed, key, digest, packed, tuple(card.chain)
        )


def _read(packed: bytes) -> tuple[_Packed, Claim]:
    if len(packed) > MAX_CARD_BYTES:
        raise refused()
    try:
        card = _CARDS.decode(packed)
        return card, _CLAIMS.decode(card.body)
    except _UNREADABLE:
        raise refused() from None
