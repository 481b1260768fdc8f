"""Pairwise keys: what datagrams between two members are sealed with, agreed inside their stream.

Each direction has its own. The receiver offers a fresh hybrid key (MLKEM1024-P384), signed with
its ML-DSA-87 key; the sender answers with the signed packet of an epoch (`crypto.epoch`) whose data
key is sealed to it, and uses that epoch from then on. An offer is answered once, then its secret
half is gone: who takes a node later opens nothing of before. Both are made anew with each stream,
and every hour; where there are keys already they are used until the receiver has confirmed the new
ones, for under loss the stream that brings those may take seconds.

A record names its epoch by four bytes, so a datagram needs no names in the clear. Each is opened
once: `ReplayWindow` refuses the second.
"""

import asyncio
import hashlib
from functools import partial
from typing import Final, NamedTuple

from cronos.crypto.epoch import Epoch as EpochPacket
from cronos.crypto.epoch import (
    EpochTerms,
    Signer,
    begin_epoch,
    open_epoch,
    parse_epoch,
    require_valid,
)
from cronos.crypto.records import (
    RECORD_OVERHEAD,
    RecordReader,
    RecordWriter,
    record_epoch,
    record_seq,
)
from cronos.crypto.refusal import refused
from cronos.crypto.signatures import ML_DSA_87
from cronos.crypto.suites import (
    HYBRID,
    DecryptionKey,
    EncryptionKey,
    fingerprint,
    generate_secret,
)
from cronos.crypto.window import ReplayWindow
from cronos.errors import CronosError, UnreachableError
from cronos.mesh.cards import Cards, Held
from cronos.mesh.memberwire import Agreed, Confirmed, Offer
from cronos.ports import Clock

OVERHEAD: Final = RECORD_OVERHEAD
OFFER_CONTEXT: Final = b"cronos-mesh-offer-v1"
REKEY_NS: Final = 3_600_000_000_000
_LIFE_NS: Final = 2 * REKEY_NS
_SKEW_NS: Final = 300_000_000_000
_CONTEXT: Final = b"cronos mesh datagram v1"
# The one in use, and those that are under way while streams come and go.
_KEPT: Final = 4
_MAX_PEERS: Final = 4096


class _Reading(NamedTuple):
    peer: str
    epoch: EpochPacket
    reader: RecordReader
    # One for each epoch: several would be told apart by wall time, which may be set back.
    window: ReplayWindow


class Pairwise:
    """The keys that this node shares with each peer.

    Args:
        cards: whose key signs for whom.
        clock: the time.
        context: what the records are for; those of another purpose do not open.
    """

    def __init__(self, cards: Cards, clock: Clock, context: bytes = _CONTEXT) -> None:
        self._context = context
        self._cards = cards
        self._clock = clock
        self._offered: dict[str, dict[bytes, DecryptionKey]] = {}
        self._writers: dict[str, RecordWriter] = {}
        self._coming: dict[str, dict[bytes, RecordWriter]] = {}
        self._readers: dict[bytes, _Reading] = {}
        self._order: dict[str, list[bytes]] = {}
        self._agreed_ns: dict[str, int] = {}

    async def offer(self, peer: str) -> Offer:
        """Make a fresh key for `peer` to seal to; the latest that it has not used are kept."""
        return await asyncio.to_thread(self._offer, peer)

    def _offer(self, peer: str) -> Offer:
        key = DecryptionKey(HYBRID, generate_secret(HYBRID))
        issued_ns = self._clock.now().wall_ns
        signed = _offer_bytes(self._cards.me, peer, key.public, issued_ns)
        signature = self._cards.signer().sign(signed, OFFER_CONTEXT)
        if len(self._offered) >= _MAX_PEERS:
            self._offered.pop(next(iter(self._offered)))
        offered = self._offered.setdefault(peer, {})
        offered[key.kid] = key
        while len(offered) > _KEPT:
            del offered[next(iter(offered))]
        self._agreed_ns[peer] = self._clock.now().boot_ns
        return Offer(key.public, issued_ns, signature)

    async def accept(self, peer: str, offer: Offer) -> Agreed:
        """Begin an epoch for what this node seals for `peer`.

        Raises:
            UnreachableError: its card has not come yet.
            DeniedError: the offer is not signed by it for this node.
        """
        held = self._card(peer)
        signed = _offer_bytes(peer, self._cards.me, offer.public, offer.issued_ns)
        held.key.verify(signed, OFFER_CONTEXT, offer.signature)
        packet, writer = await asyncio.to_thread(self._begin, peer, offer)
        if peer in self._writers:
            coming = self._coming.setdefault(peer, {})
            coming[writer.short_id] = writer
            while len(coming) > _KEPT:
                del coming[next(iter(coming))]
        else:
            self._writers[peer] = writer
        return Agreed(packet)

    def confirmed(self, peer: str, short_id: bytes) -> None:
        """Use the epoch of this short id from now on: `peer` opens what it seals."""
        writer = self._coming.get(peer, {}).pop(short_id, None)
        if writer is not None:
            self._writers[peer] = writer

    def _begin(self, peer: str, offer: Offer) -> tuple[bytes, RecordWriter]:
        now_ns = self._clock.now().wall_ns
        me, bound = self._cards.me, self._cards.signer()
        terms = EpochTerms(_producer(me), _topic(me, peer), now_ns, now_ns + _LIFE_NS)
        try:
            key = EncryptionKey(HYBRID, offer.public)
        except CronosError:
            raise refused() from None
        signer = Signer(fingerprint(ML_DSA_87.name, bound.public), bound.sign)
        return begin_epoch(terms, [key], signer)

    def agree(self, peer: str, agreed: Agreed) -> Confirmed:
        """Open the epoch that `peer` began for what it seals for this node; give the answer.

        Raises:
            DeniedError: it does not open, or nothing was offered.
        """
        held = self._card(peer)
        epoch = parse_epoch(agreed.packet)
        key = self._offered.get(peer, {}).pop(epoch.recipients[0][0], None)
        if key is None:
            raise refused()
        require_valid(epoch, self._clock.now().wall_ns, _SKEW_NS)
        reader = open_epoch(
            agreed.packet,
            topic=_topic(peer, self._cards.me),
            unwrap=partial(_unwrap, key),
            verify=partial(_verify, held),
            allowed=(HYBRID,),
            producer=_producer(peer),
        )
        taken = self._readers.get(reader.short_id)
        if taken is not None and taken.peer != peer:
            # By chance once in a hundred million; by intent, to silence another.
            raise refused()
        self._readers[reader.short_id] = _Reading(
            peer, epoch, reader, ReplayWindow(max_epochs=1, max_streams=1)
        )
        order = self._order.setdefault(peer, [])
        order.append(reader.short_id)
        while len(order) > _KEPT:
            self._readers.pop(order.pop(0), None)
        return Confirmed(reader.short_id)

    def seal(self, peer: str, plain: bytes) -> bytes | None:
        """Give a record for `peer`; None while no key is agreed."""
        writer = self._writers.get(peer)
        if writer is None:
            return None
        try:
            return writer.seal(plain, self._context)
        except CronosError:
            # It has sealed all that it may; whatever is under way takes its place.
            del self._writers[peer]
            return None

    def open(self, record: bytes) -> tuple[str, bytes]:
        """Give who sealed a record, and what.

        Raises:
            DeniedError: no epoch of ours, changed bytes, or opened before.
        """
        reading = self._readers.get(record_epoch(record))
        if reading is None:
            raise refused()
        plain = reading.reader.open(record, self._context)
        reading.window.admit(reading.epoch, record_seq(record))
        return reading.peer, plain

    def ready(self, peer: str) -> bool:
        """Say whether this node can seal for a peer."""
        return peer in self._writers

    def stale(self) -> tuple[str, ...]:
        """Give the peers whose keys are due to be made anew."""
        now_ns = self._clock.now().boot_ns
        # In one piece: threads that make offers write into it meanwhile.
        agreed = list(self._agreed_ns.items())
        return tuple(peer for peer, at_ns in agreed if now_ns - at_ns >= REKEY_NS)

    def forget(self, peer: str) -> None:
        """Drop all keys of a peer."""
        for short_id in self._order.pop(peer, []):
            self._readers.pop(short_id, None)
        for kept in (self._offered, self._writers, self._coming, self._agreed_ns):
            kept.pop(peer, None)

    def _card(self, peer: str) -> Held:
        held = self._cards.of(peer)
        if held is None:
            raise UnreachableError(
                "mesh.unknown_key",
                f"{peer} agrees on keys before it has shown its card.",
                "It shows it with each new stream; see what it logs if it does not.",
            )
        return held


def _unwrap(key: DecryptionKey, kid: bytes, wrapped: bytes, info: bytes) -> bytes:
    if kid != key.kid:
        raise refused()
    return key.open(wrapped, info)


def _verify(held: Held, kid: bytes, message: bytes, context: bytes, signature: bytes) -> None:
    if kid != held.key.kid:
        raise refused()
    held.key.verify(message, context, signature)


def _offer_bytes(maker: str, peer: str, public: bytes, issued_ns: int) -> bytes:
    names = b"".join(bytes((len(name.encode()),)) + name.encode() for name in (maker, peer))
    return names + issued_ns.to_bytes(8, "big") + public


def _producer(instance: str) -> bytes:
    return hashlib.sha256(b"cronos mesh producer\0" + instance.encode()).digest()[:16]


def _topic(sender: str, receiver: str) -> str:
    return f"mesh/{sender}>{receiver}"
