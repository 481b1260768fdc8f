"""Epochs: one data key, announced once in a packet that is signed, and used by one writer.

| offset | bytes | field | |
|---|---|---|---|
| 0 | 4 | ``CRE1`` | immutable |
| 4 | 1 | version, 1 | immutable |
| 5 | 1 | suite | immutable |
| 6 | 1 | 1 when signed, else 0 | immutable |
| 7 | 16 | epoch id, drawn | immutable |
| 23 | 16 | producer | immutable |
| 39 | 8 | not before, Unix time in ns | immutable |
| 47 | 8 | not after; 0: no end | immutable |
| 55 | 32 | `link` of the epoch before, zeros for the first | immutable |
| 87 | 1 + t | topic, UTF-8, its length before it | immutable |
| | 16 | the signer's fingerprint, zeros when unsigned | |
| | 1 | recipients, 1 to 64; for each: | |
| | 16 | - the fingerprint of its key | |
| | 32 + o | - the data key, HPKE under the suite (`o` is its overhead) | |
| | 32 | commitment | |
| | 4627 | ML-DSA-87 signature over all that stands before it; none when unsigned | |

The keys of the records, the commitment and the wrapping (HPKE `info`) are all bound to SHA-384 of
the immutable part. So a packet whose topic, producer, suite or signedness was changed gives
another commitment and opens nothing, even where no signature is asked for; while recipients and
signer may be replaced (`rewrap_epoch`) and what was sealed still opens.

Source: RFC 9180 (HPKE, base mode); FIPS 204.
"""

import hashlib
import hmac
import secrets
from collections.abc import Callable, Collection, Sequence
from typing import Final, NamedTuple

import msgspec

from cronos.crypto.records import (
    COMMITMENT_BYTES,
    DATA_KEY_BYTES,
    HIGHEST_MAX_BYTES,
    HIGHEST_MAX_RECORDS,
    SHORT_ID_BYTES,
    RecordKeys,
    RecordReader,
    RecordWriter,
    derive_record_keys,
)
from cronos.crypto.refusal import refused
from cronos.crypto.signatures import ML_DSA_87
from cronos.crypto.suites import KID_BYTES, SUITES, EncryptionKey, Suite
from cronos.errors import DeniedError, InputError

MAGIC: Final = b"CRE1"
VERSION: Final = 1
SIGN_CONTEXT: Final = b"cronos-epoch-v1"
WRAP_LABEL: Final = b"cronos epoch v1\0"
ID_BYTES: Final = 16
LINK_BYTES: Final = 32
MAX_RECIPIENTS: Final = 64
MAX_TOPIC_BYTES: Final = 255
NO_SIGNER: Final = bytes(KID_BYTES)
_TOPIC_AT: Final = 88
_MAX_TIME: Final = (1 << 64) - 1

Unwrap = Callable[[bytes, bytes, bytes], bytes]
Verify = Callable[[bytes, bytes, bytes, bytes], None]


class Signer(NamedTuple):
    """Who signs: the fingerprint of an ML-DSA-87 key, and what signs (message, context) with it."""

    kid: bytes
    sign: Callable[[bytes, bytes], bytes]


class EpochTerms(msgspec.Struct, frozen=True):
    """What a new epoch is for.

    Attributes:
        producer: 16 bytes that name who writes.
        topic: what it writes to, with the partition; at most 255 bytes as UTF-8.
        not_before_ns: Unix time; also the order of a producer's epochs in a `ReplayWindow`.
        not_after_ns: Unix time; 0 for no end.
        previous: `Epoch.link` of the producer's last epoch on this topic, zeros for none.
        max_records: at most 2^32.
        max_bytes: of plain text, at most 2^42.
        avoid: short ids that another epoch already has where this one will be looked up by its
            own; with four bytes two of 9,300 epochs are alike with a chance of 1 %.
    """

    producer: bytes
    topic: str
    not_before_ns: int
    not_after_ns: int
    previous: bytes = bytes(LINK_BYTES)
    max_records: int = 1 << 32
    max_bytes: int = 1 << 36
    avoid: Collection[bytes] = ()


class Epoch(msgspec.Struct, frozen=True):
    """A packet that was read; nothing of it is verified.

    Attributes:
        signer: fingerprint of the key that signed; zeros in an unsigned packet.
        recipients: fingerprint and wrapped data key of each, in the packet's order.
        signed_part: what the signature covers.
        digest: SHA-384 of `signed_part`; names this very packet.
        header_digest: SHA-384 of the immutable part.
    """

    suite: Suite
    epoch_id: bytes
    producer: bytes
    topic: str
    not_before_ns: int
    not_after_ns: int
    previous: bytes
    signer: bytes
    recipients: tuple[tuple[bytes, bytes], ...]
    commitment: bytes
    signature: bytes
    signed_part: bytes
    digest: bytes
    header_digest: bytes

    @property
    def short_id(self) -> bytes:
        """What stands in each of its records."""
        return self.epoch_id[:SHORT_ID_BYTES]

    @property
    def signed(self) -> bool:
        """Whether it carries a signature."""
        return self.signer != NO_SIGNER

    @property
    def link(self) -> bytes:
        """What the next epoch names as its `previous`: it outlives rewrapping, as `digest` cannot.

        32 bytes of SHA-384 over the digest of the immutable part and the commitment.
        """
        return hashlib.sha384(self.header_digest + self.commitment).digest()[:LINK_BYTES]


def begin_epoch(
    terms: EpochTerms, recipients: Sequence[EncryptionKey], sign: Signer | None
) -> tuple[bytes, RecordWriter]:
    """Draw a data key and give its packet and its only writer.

    The key itself is not kept; it is never written anywhere but wrapped, in the packet. There is
    no way to a second writer: who starts again begins another epoch.

    Args:
        terms: what it is for.
        recipients: who can open it, 1 to 64 keys of one suite.
        sign: who signs; None for a packet that only opens where unsigned ones are allowed.

    Raises:
        InputError: the terms or the recipients are out of their bounds.
    """
    _check_terms(terms)
    suite = _suite_of(recipients)
    epoch_id = _drawn_id(terms.avoid)
    immutable = _immutable(terms, suite, epoch_id, signed=sign is not None)
    header_digest = hashlib.sha384(immutable).digest()
    data_key = secrets.token_bytes(DATA_KEY_BYTES)
    keys = derive_record_keys(suite, epoch_id, header_digest, data_key)
    packet = _packet(immutable, recipients, data_key, keys.commitment, sign)
    return packet, RecordWriter(keys, terms.max_records, terms.max_bytes)


def parse_epoch(packet: bytes) -> Epoch:
    """Read a packet; every field has one form, so no two packets read alike.

    Raises:
        DeniedError: it is none.
    """
    reader = _Cursor(packet)
    suite, signed = _read_start(reader)
    epoch_id, producer = reader.take(ID_BYTES), reader.take(ID_BYTES)
    not_before_ns, not_after_ns = reader.number(8), reader.number(8)
    previous = reader.take(LINK_BYTES)
    topic = _text(reader.take(reader.number(1)))
    immutable = packet[: reader.at]
    signer = reader.take(KID_BYTES)
    recipients = _read_recipients(reader, suite)
    commitment = reader.take(COMMITMENT_BYTES)
    signed_part = packet[: reader.at]
    signature = reader.take(ML_DSA_87.signature_bytes if signed else 0)
    if (
        reader.at != len(packet)
        or (signer != NO_SIGNER) != signed
        or not _ordered(not_before_ns, not_after_ns)
    ):
        raise refused()
    return Epoch(
        suite,
        epoch_id,
        producer,
        topic,
        not_before_ns,
        not_after_ns,
        previous,
        signer,
        recipients,
        commitment,
        signature,
        signed_part,
        hashlib.sha384(signed_part).digest(),
        hashlib.sha384(immutable).digest(),
    )


def open_epoch(  # noqa: PLR0913 - each says what the caller trusts, and none has a safe default
    packet: bytes,
    *,
    topic: str,
    unwrap: Unwrap,
    verify: Verify | None,
    allowed: Collection[Suite] = tuple(SUITES.values()),
    kids: Collection[bytes] | None = None,
    producer: bytes | None = None,
    unsigned_ok: bool = False,
) -> RecordReader:
    """Open a packet: topic and suite, signature, data key and commitment, in this order.

    Args:
        packet: as `begin_epoch` gave it.
        topic: the one that it came by; another's packet is refused.
        unwrap: opens (kid, wrapped key, info), or raises a `CronosError`.
        verify: verifies (kid, message, context, signature), or raises a `CronosError`; it says
            too whether this signer may write here. None refuses every signed packet.
        allowed: suites that are accepted; there is no other negotiation.
        kids: fingerprints of our keys; None tries every recipient in turn.
        producer: who must have written it; None for whoever `verify` accepts.
        unsigned_ok: accept a packet that nobody signed. A signed one whose signature was removed
            does not become such a packet: its keys say that it was signed.

    Raises:
        DeniedError: it does not open, for whatever reason.
    """
    epoch = parse_epoch(packet)
    if epoch.topic != topic or epoch.suite not in allowed:
        raise refused()
    if producer is not None and epoch.producer != producer:
        raise refused()
    _check_signature(epoch, verify, unsigned_ok=unsigned_ok)
    return RecordReader(_unwrapped(epoch, unwrap, kids)[1])


def rewrap_epoch(
    packet: bytes,
    *,
    unwrap: Unwrap,
    verify: Verify | None,
    recipients: Sequence[EncryptionKey],
    sign: Signer | None,
    kids: Collection[bytes] | None = None,
) -> bytes:
    """Give the packet of the same epoch for other recipients, signed anew.

    Records that were sealed in it open with either packet. An epoch stays signed or unsigned,
    and of its suite: change those by beginning another.

    Raises:
        DeniedError: the packet does not open; `sign` and `verify` are None unless it is signed.
        InputError: the recipients are out of their bounds, or of another suite.
    """
    epoch = parse_epoch(packet)
    if epoch.signed != (sign is not None):
        raise refused()
    _check_signature(epoch, verify, unsigned_ok=sign is None)
    data_key, keys = _unwrapped(epoch, unwrap, kids)
    if _suite_of(recipients) != epoch.suite:
        raise _bad("An epoch cannot move to another suite.", "Begin another epoch.")
    immutable = packet[: _TOPIC_AT + packet[_TOPIC_AT - 1]]
    return _packet(immutable, recipients, data_key, keys.commitment, sign)


def require_valid(epoch: Epoch, now_wall_ns: int, skew_ns: int = 0) -> None:
    """Return when `epoch` is within its time, give or take `skew_ns`.

    Raises:
        DeniedError: it is not. Its times are no secret, so this has a code of its own.
    """
    early = now_wall_ns + skew_ns < epoch.not_before_ns
    late = epoch.not_after_ns and now_wall_ns - skew_ns > epoch.not_after_ns
    if early or late:
        raise DeniedError(
            "crypto.epoch_out_of_time",
            f"The epoch {epoch.short_id.hex()} is {'not valid yet' if early else 'over'}.",
            "Compare the clocks of both ends; ask the producer for its present epoch.",
        )


def require_next(epoch: Epoch, before: Epoch | None) -> None:
    """Return when `epoch` is the one that its producer began after `before`.

    Raises:
        DeniedError: one is missing between them, or they are of two producers or topics. The
            links are no secret, so this has a code of its own.
    """
    if before is None:
        if epoch.previous == bytes(LINK_BYTES):
            return
    elif (epoch.previous, epoch.producer, epoch.topic) == (
        before.link,
        before.producer,
        before.topic,
    ):
        return
    raise DeniedError(
        "crypto.epoch_missing",
        f"The epoch {epoch.short_id.hex()} does not follow the last one of its producer.",
        "Fetch the epochs between; if there are none, the producer lost its state.",
    )


class _Cursor:
    """Takes bytes off a packet from its start, and refuses where they end."""

    def __init__(self, packet: bytes) -> None:
        self.packet = packet
        self.at = 0

    def take(self, count: int) -> bytes:
        end = self.at + count
        if end > len(self.packet):
            raise refused()
        taken = self.packet[self.at : end]
        self.at = end
        return taken

    def number(self, count: int) -> int:
        return int.from_bytes(self.take(count), "big")


def _read_start(reader: _Cursor) -> tuple[Suite, bool]:
    if reader.take(len(MAGIC)) != MAGIC or reader.number(1) != VERSION:
        raise refused()
    suite = SUITES.get(reader.number(1))
    signed = reader.number(1)
    if suite is None or signed > 1:
        raise refused()
    return suite, signed == 1


def _read_recipients(reader: _Cursor, suite: Suite) -> tuple[tuple[bytes, bytes], ...]:
    count = reader.number(1)
    if not 1 <= count <= MAX_RECIPIENTS:
        raise refused()
    length = DATA_KEY_BYTES + suite.overhead
    read = tuple((reader.take(KID_BYTES), reader.take(length)) for _ in range(count))
    if len({kid for kid, _ in read}) != count:
        raise refused()
    return read


def _text(data: bytes) -> str:
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise refused() from None


def _ordered(not_before_ns: int, not_after_ns: int) -> bool:
    return not_after_ns == 0 or not_before_ns < not_after_ns


def _check_signature(epoch: Epoch, verify: Verify | None, *, unsigned_ok: bool) -> None:
    if not epoch.signed:
        if unsigned_ok:
            return
        raise refused()
    if verify is None:
        raise refused()
    try:
        verify(epoch.signer, epoch.signed_part, SIGN_CONTEXT, epoch.signature)
    except (DeniedError, InputError):
        raise refused() from None


def _unwrapped(
    epoch: Epoch, unwrap: Unwrap, kids: Collection[bytes] | None
) -> tuple[bytes, RecordKeys]:
    info = WRAP_LABEL + epoch.header_digest
    for kid, wrapped in epoch.recipients:
        if kids is not None and kid not in kids:
            continue
        try:
            data_key = unwrap(kid, wrapped, info)
        except (DeniedError, InputError):
            continue
        keys = derive_record_keys(epoch.suite, epoch.epoch_id, epoch.header_digest, data_key)
        if hmac.compare_digest(keys.commitment, epoch.commitment):
            return data_key, keys
        break
    raise refused()


def _packet(
    immutable: bytes,
    recipients: Sequence[EncryptionKey],
    data_key: bytes,
    commitment: bytes,
    sign: Signer | None,
) -> bytes:
    info = WRAP_LABEL + hashlib.sha384(immutable).digest()
    signer = NO_SIGNER if sign is None else sign.kid
    parts = [immutable, signer, bytes((len(recipients),))]
    for key in recipients:
        parts += [key.kid, key.seal(data_key, info)]
    signed_part = b"".join([*parts, commitment])
    if sign is None:
        return signed_part
    signature = sign.sign(signed_part, SIGN_CONTEXT)
    if len(signature) != ML_DSA_87.signature_bytes or len(signer) != KID_BYTES or not any(signer):
        raise _bad("Epochs are signed with ML-DSA-87.", "Sign with a key of that scheme.")
    return signed_part + signature


def _immutable(terms: EpochTerms, suite: Suite, epoch_id: bytes, *, signed: bool) -> bytes:
    topic = terms.topic.encode()
    return b"".join(
        (
            MAGIC,
            bytes((VERSION, suite.number, signed)),
            epoch_id,
            terms.producer,
            terms.not_before_ns.to_bytes(8, "big"),
            terms.not_after_ns.to_bytes(8, "big"),
            terms.previous,
            bytes((len(topic),)),
            topic,
        )
    )


def _drawn_id(avoid: Collection[bytes]) -> bytes:
    for _ in range(1000):
        drawn = secrets.token_bytes(ID_BYTES)
        if drawn[:SHORT_ID_BYTES] not in avoid:
            return drawn
    raise _bad("Nearly all short ids are in use.", "Remove epochs that nothing needs any more.")


def _suite_of(recipients: Sequence[EncryptionKey]) -> Suite:
    if not 1 <= len(recipients) <= MAX_RECIPIENTS:
        raise _bad(
            f"An epoch has 1 to {MAX_RECIPIENTS} recipients, not {len(recipients)}.",
            "Begin several epochs, or give the recipients a key in common.",
        )
    if len({key.kid for key in recipients}) != len(recipients):
        raise _bad("A recipient is named twice.", "Name each once.")
    suites = {key.suite for key in recipients}
    if len(suites) != 1:
        raise _bad("The recipients' keys are of several suites.", "Begin one epoch for each.")
    return suites.pop()


def _check_terms(terms: EpochTerms) -> None:
    times = (terms.not_before_ns, terms.not_after_ns)
    checks = (
        (len(terms.producer) == ID_BYTES, "A producer is 16 bytes."),
        (len(terms.previous) == LINK_BYTES, "A link is 32 bytes."),
        (_topic_fits(terms.topic), f"A topic is text of at most {MAX_TOPIC_BYTES} bytes."),
        (all(0 <= time <= _MAX_TIME for time in times), "A time is between 1970 and 2554."),
        (_ordered(*times), "An epoch ends after it begins."),
        (1 <= terms.max_records <= HIGHEST_MAX_RECORDS, "It has 1 to 2^32 records."),
        (1 <= terms.max_bytes <= HIGHEST_MAX_BYTES, "It has 1 to 2^42 bytes."),
    )
    for holds, rule in checks:
        if not holds:
            raise _bad(f"These terms are not those of an epoch. {rule}", "Correct them.")


def _topic_fits(topic: str) -> bool:
    try:
        return len(topic.encode()) <= MAX_TOPIC_BYTES
    except UnicodeEncodeError:
        return False


def _bad(sentence: str, remedy: str) -> InputError:
    return InputError("crypto.bad_epoch", sentence, remedy)
