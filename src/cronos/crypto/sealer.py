"""What keeps bytes at rest: one component, used by every room that stores anything.

The first seal of a process begins an epoch: a data key that is wrapped to the node's `state` key,
announced in a packet that its `identity` key signs. The packet is durable in the `epochs` file of
the folder before the first record leaves; a restart, a fork or a limit begins another epoch, so
that no counter is ever taken up again. What is given out is

* ``01 | suite | short id 4 | seq u64 | ciphertext | tag 16``: a record of the epoch as it is, or
* ``04 | record``, where what the record holds is encrypted once more under the key of a subject
  (`cronos.crypto.subjects`): both keys are needed, and the subject's can be destroyed. Under ``02``
  lies what was sealed so while keys of subjects grew from a binary tree.

A record is bound to its store (the epoch's topic), to the caller's context and to this layout.

Rule: nothing is sealed under an epoch whose packet is not on the disk, and no packet leaves the
file unless its successor, for another key, stands in its place, or no stored record names it.
"""

import re
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from functools import partial
from pathlib import Path
from typing import ClassVar, Final

from cronos.config import Positive, Section
from cronos.crypto.epoch import (
    EpochTerms,
    Signer,
    begin_epoch,
    open_epoch,
    parse_epoch,
    rewrap_epoch,
)
from cronos.crypto.epochfile import EpochFile
from cronos.crypto.keytree import NARROW, WIDE
from cronos.crypto.records import RecordReader, RecordWriter, record_epoch
from cronos.crypto.refusal import refused
from cronos.crypto.signatures import SCHEMES, VerifyingKey
from cronos.crypto.subjects import SubjectKeys
from cronos.crypto.suites import SUITES, EncryptionKey
from cronos.errors import CronosError, DeniedError, InputError
from cronos.ports import Clock, KeyProvider
from cronos.types import Manifest

_PLAIN: Final = b"\x01"
_SUBJECT: Final = b"\x04"
_SUBJECTS: Final = {_SUBJECT: WIDE, b"\x02": NARROW}
_WHOLE: Final = b"\x03"
_CACHED_EPOCHS: Final = 64
_MAX_RECORDS: Final = 1 << 32
_MAX_BYTES: Final = 1 << 36
_SPENT: Final = frozenset({"crypto.epoch_spent", "crypto.forked"})
_FORGET_EVERY: Final = 64
# Where a record may begin: its version, its suite, and the short id that it names. Only the first
# byte is consumed, so that a chance likeness hides no record behind it.
_NAMES: Final = re.compile(
    b"\x01(?=[" + b"".join(b"\\x%02x" % one for one in SUITES) + b"](.{4}))", re.DOTALL
)


class EpochsConfig(Section, frozen=True):
    """How long one data key serves, and which of the node's keys it is wrapped and signed with."""

    epoch_max_s: Positive = 86_400
    state_key: str = "state"
    signing_key: str = "identity"


class EpochSealer:
    """Seals and opens for one store.

    Any number of processes may open while one seals. Used by one thread at a time or by many.

    Args:
        config: how long an epoch lasts.
        folder: where the store's epoch packets and subject keys lie; made when first needed.
        keys: what holds the `state` and `identity` keys.
        clock: ends epochs.
        store: names what is sealed (``ledger``); nothing sealed for another store opens here.
        stored: gives what the store holds, in pieces none of which cuts a record's start in two.
            Packets of epochs that it names nowhere are dropped now and then. Without it all stay.
            Whoever gives it seals the first record only once no other process writes to the store.
    """

    manifest: ClassVar[Manifest] = Manifest(
        "epochs",
        "Seals bytes at rest with AES-256-GCM under signed epochs of post-quantum wrapped keys.",
        capabilities=("seal", "shred", "rewrap"),
    )
    config_type: ClassVar[type[Section]] = EpochsConfig
    sealing: str = "AES-256-GCM"
    seal_version: int = 1

    def __init__(
        self,
        config: EpochsConfig,
        folder: Path,
        keys: KeyProvider,
        clock: Clock,
        store: str,
        stored: Callable[[], Iterable[bytes]] | None = None,
    ) -> None:
        self._config = config
        self._stored = stored
        self._keys = keys
        self._clock = clock
        self._topic = f"state/{store}"
        self._file = EpochFile(folder)
        self._lock = threading.RLock()
        self._writer: RecordWriter | None = None
        self._until_ns = 0
        self._readers: OrderedDict[bytes, RecordReader] = OrderedDict()
        self._subjects = SubjectKeys(folder, self._seal_whole, self._open_whole, self._file.writing)

    def __repr__(self) -> str:
        """Name the store; never a key."""
        return f"EpochSealer({self._topic!r})"

    def seal(self, plain: bytes, context: bytes, subject: str = "") -> bytes:
        """Give bytes to store; with a `subject`, bytes that `shred` can make unreadable.

        Raises:
            UnreachableError: a new epoch is due and the key agent does not answer.
            DeniedError: a new epoch is due and its packet cannot be stored.
        """
        if not subject:
            return self._seal(plain, _PLAIN + context)
        with self._lock:
            inner = self._subjects.seal(plain, context, subject)
        return _SUBJECT + self._seal(inner, _SUBJECT + context)

    def seal_all(self, items: Sequence[tuple[bytes, bytes, str]]) -> list[bytes]:
        """Give bytes to store for each; what one call costs by itself is paid once.

        Raises:
            CronosError: as `seal`; nothing of it is to be stored.
        """
        if not items:
            return []
        named = [one for one in items if one[2]]
        with self._lock:
            inner = iter(self._subjects.seal_all(named))
        plains = [next(inner) if subject else plain for plain, _, subject in items]
        contexts = [(_SUBJECT if subject else _PLAIN) + context for _, context, subject in items]
        sealed = self._seal_many(plains, contexts)
        return [_SUBJECT + r if one[2] else r for r, one in zip(sealed, items, strict=True)]

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Give the plain bytes.

        Raises:
            DeniedError: refused; ``crypto.shredded``; or a sentence on what is missing.
            UnreachableError: the key agent does not answer.
        """
        layout = sealed[:1]
        if layout == _PLAIN:
            return self._reader(sealed).open(sealed, _PLAIN + context)
        bits = _SUBJECTS.get(layout)
        if bits is None:
            raise refused()
        record = sealed[1:]
        inner = self._reader(record).open(record, layout + context)
        with self._lock:
            return self._subjects.open(inner, context, bits)

    def shred(self, subject: str) -> bool:
        """Destroy a subject's key for good; False when nothing was sealed for it.

        Raises:
            DeniedError: it stands still (a full disk).
        """
        with self._lock:
            return self._subjects.shred(subject)

    def rewrap(self) -> int:
        """Wrap every data key to the `state` key that is active now; give how many were not.

        Records stay as they are. The old key may be destroyed afterwards.

        Raises:
            CronosError: nothing was changed.
        """
        with self._lock:
            recipient = self._recipient()
            with self._file.writing():
                stale = self._renew(recipient)
            self._reseal(recipient)
        return stale

    # --- sealing -------------------------------------------------------------------------------

    def _seal(self, plain: bytes, context: bytes) -> bytes:
        writer = self._writer
        if writer is not None and self._clock.now().boot_ns < self._until_ns:
            try:
                return writer.seal(plain, context)
            except CronosError as error:
                if error.code not in _SPENT:
                    raise
        return self._next(writer).seal(plain, context)

    def _seal_many(self, plains: list[bytes], contexts: list[bytes]) -> list[bytes]:
        writer = self._writer
        if writer is not None and self._clock.now().boot_ns < self._until_ns:
            try:
                return writer.seal_many(plains, contexts)
            except CronosError as error:
                if error.code not in _SPENT:
                    raise
        return self._next(writer).seal_many(plains, contexts)

    def _next(self, spent: RecordWriter | None) -> RecordWriter:
        """Begin an epoch, unless another thread has just done so."""
        with self._lock:
            if self._writer is None or self._writer is spent:
                writer = self._begin()
                lasts_ns = self._config.epoch_max_s * 1_000_000_000
                # Before the writer, or another thread would take the new one for one that is over.
                self._until_ns = self._clock.now().boot_ns + lasts_ns
                self._writer = writer
            return self._writer

    def _begin(self) -> RecordWriter:
        with self._file.writing():
            recipient = self._recipient()
            self._forget()
            self._renew(recipient)
            packets = self._file.packets()
            previous = parse_epoch(packets[-1]).link if packets else bytes(32)
            # Records name their epoch by four bytes, which must be its own in this folder.
            packet, writer = self._new_epoch(
                self._topic, recipient, previous, self._file.short_ids()
            )
            self._file.append(writer.short_id, packet)
        self._reseal(recipient)
        return writer

    def _new_epoch(
        self,
        topic: str,
        recipient: EncryptionKey,
        previous: bytes = bytes(32),
        avoid: Collection[bytes] = (),
    ) -> tuple[bytes, RecordWriter]:
        signer = self._signer()
        begins_ns = self._clock.now().wall_ns
        ends_ns = begins_ns + self._config.epoch_max_s * 1_000_000_000
        terms = EpochTerms(
            signer.kid, topic, begins_ns, ends_ns, previous, _MAX_RECORDS, _MAX_BYTES, avoid
        )
        return begin_epoch(terms, [recipient], signer)

    def _recipient(self) -> EncryptionKey:
        public = self._keys.public(self._config.state_key)
        for suite in SUITES.values():
            if suite.public_bytes == len(public):
                return EncryptionKey(suite, public)
        raise _wrong_kind(self._config.state_key, "suite")

    def _signer(self) -> Signer:
        name = self._config.signing_key
        key = _verifying(self._keys.public(name))
        if key is None:
            raise _wrong_kind(name, "signing")
        return Signer(key.kid, partial(self._keys.sign, name))

    # --- opening -------------------------------------------------------------------------------

    def _reader(self, record: bytes) -> RecordReader:
        short_id = record_epoch(record)
        reader = self._readers.get(short_id)
        if reader is not None:
            return reader
        with self._lock:
            packet = self._file.find(short_id)
            if packet is None:
                raise self._no_epoch()
            reader = self._open_epoch(packet, self._topic)
            self._readers[short_id] = reader
            if len(self._readers) > _CACHED_EPOCHS:
                self._readers.popitem(last=False)
        return reader

    def _open_epoch(self, packet: bytes, topic: str) -> RecordReader:
        self._require_own_keys(packet)
        return open_epoch(packet, topic=topic, unwrap=self._unwrap, verify=self._verify)

    def _require_own_keys(self, packet: bytes) -> None:
        """Say so where the keystore is another; which keys a packet names is no secret."""
        epoch = parse_epoch(packet)
        for kid in (epoch.signer, *(kid for kid, _ in epoch.recipients)):
            try:
                self._keys.public(kid.hex())
            except InputError:
                raise _other_keystore(self._topic, kid) from None

    def _unwrap(self, kid: bytes, wrapped: bytes, info: bytes) -> bytes:
        return self._keys.unwrap(kid.hex(), wrapped, info)

    def _verify(self, kid: bytes, message: bytes, context: bytes, signature: bytes) -> None:
        key = _verifying(self._keys.public(kid.hex()))
        if key is None or key.kid != kid:
            raise refused()
        key.verify(message, context, signature)

    def _no_epoch(self) -> DeniedError:
        """Say why no packet is there; an unknown one is refused like whatever does not open."""
        if self._file.packets() and not self._file.damaged:
            return refused()
        what = "is damaged" if self._file.damaged else "is missing or empty"
        return DeniedError(
            "crypto.epochs_lost",
            f"The file of epoch packets {self._file.path} {what}; without it nothing opens.",
            "Put `epochs` or `epochs.bak` back from a copy of the same folder.",
        )

    # --- the files of the folder -----------------------------------------------------------------

    def _forget(self) -> None:
        """Drop packets that nothing stored names.

        Only before the first record of this process, when none is on its way to the store; and at
        every 64th packet, so that the file stays within 64 of what is named and a start is quick.
        """
        packets = self._file.packets()
        if self._stored is None or self._writer or not packets or len(packets) % _FORGET_EVERY:
            return
        try:
            named = {name for piece in self._stored() for name in _NAMES.findall(piece)}
        except (CronosError, OSError):
            return  # what cannot be read may name any of them
        by_name = {parse_epoch(packet).short_id: packet for packet in packets}
        kept = {name: packet for name, packet in by_name.items() if name in named}
        if len(kept) < len(packets):
            self._file.replace(kept)

    def _renew(self, recipient: EncryptionKey) -> int:
        """Wrap and sign with the active keys what is not; ids and record keys stay."""
        packets = {parse_epoch(one).short_id: one for one in self._file.packets()}
        signer = self._signer()
        renewed = {
            short_id: self._renewed(packet, recipient, signer)
            for short_id, packet in packets.items()
        }
        stale = sum(packets[short_id] is not renewed[short_id] for short_id in packets)
        if stale or self._file.damaged:
            self._file.replace(renewed)
        return stale

    def _renewed(self, packet: bytes, recipient: EncryptionKey, signer: Signer) -> bytes:
        if _is_fresh(packet, recipient, signer):
            return packet
        self._require_own_keys(packet)
        return rewrap_epoch(
            packet,
            unwrap=self._unwrap,
            verify=self._verify,
            recipients=[recipient],
            sign=signer,
        )

    def _reseal(self, recipient: EncryptionKey) -> None:
        signer = self._signer()
        self._subjects.reseal(lambda packet: _is_fresh(packet, recipient, signer))

    def _seal_whole(self, plain: bytes) -> tuple[bytes, bytes]:
        packet, writer = self._new_epoch(f"{self._topic}/subjects", self._recipient())
        return packet, writer.seal(plain, _WHOLE)

    def _open_whole(self, packet: bytes, record: bytes) -> bytes:
        return self._open_epoch(packet, f"{self._topic}/subjects").open(record, _WHOLE)


def _is_fresh(packet: bytes, recipient: EncryptionKey, signer: Signer) -> bool:
    """Say whether a packet is wrapped to, and signed by, the keys that are active."""
    try:
        epoch = parse_epoch(packet)
    except DeniedError:
        return False
    return epoch.signer == signer.kid and [kid for kid, _ in epoch.recipients] == [recipient.kid]


def _verifying(public: bytes) -> VerifyingKey | None:
    for scheme in SCHEMES.values():
        if scheme.public_bytes == len(public):
            return VerifyingKey(scheme, public)
    return None


def _wrong_kind(name: str, kind: str) -> InputError:
    return InputError(
        "crypto.wrong_key_kind",
        f"The key `{name}` is no {kind} key.",
        "Name one that is, under [plugin.epochs].",
    )


def _other_keystore(topic: str, kid: bytes) -> DeniedError:
    return DeniedError(
        "crypto.other_keystore",
        f"What is sealed here ({topic}) needs the key {kid.hex()}, which this keystore lacks.",
        "Use the keystore that lay beside it, or import its backup with `cronos keys import`.",
    )
