"""A ledger, a sealer, keys and a root key that live in memory. All but the ledger are doubles.

A double keeps a port's contract, and protects nothing: what these "seal" stays readable, and
whoever reads this file knows the keys.
"""

import hashlib
import hmac
import struct
from collections.abc import Sequence
from typing import Final

import msgspec

from cronos.errors import CronosError, DeniedError, InputError
from cronos.ports import Clock, Sealer
from cronos.types import MAX_FRAME_BYTES, Checkpoint, KeyInfo, KeyState, Manifest

_TAG_BYTES: Final = 32
_SUBJECT: Final = struct.Struct(">HI")


class MemorySealer:
    """A double: appends an HMAC tag, so changes and foreign contexts show. It hides nothing.

    Stored: length of the subject u16, how often it was shredded before u32, subject, plain, tag.
    """

    sealing: str = "double (tagged, readable)"
    seal_version: int = 255

    def __init__(self, key: bytes = b"a test's key") -> None:
        self._key = key
        self._sealed_for: dict[str, bool] = {}
        self._shredded: dict[str, int] = {}

    def seal(self, plain: bytes, context: bytes, subject: str = "") -> bytes:
        """Give `plain` and its tag."""
        name = subject.encode()
        if subject:
            self._sealed_for[subject] = True
        header = _SUBJECT.pack(len(name), self._shredded.get(subject, 0)) + name
        return header + plain + self._tag(header + plain, context)

    def seal_all(self, items: Sequence[tuple[bytes, bytes, str]]) -> list[bytes]:
        """Give each of many and its tag."""
        return [self.seal(*one) for one in items]

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Give the plain bytes.

        Raises:
            DeniedError: the tag is another key's or context's, or something was changed; or the
                subject was shredded.
        """
        body, tag = sealed[:-_TAG_BYTES], sealed[-_TAG_BYTES:]
        if not hmac.compare_digest(tag, self._tag(body, context)):
            raise _refused()
        length, before = _SUBJECT.unpack_from(body)
        start = _SUBJECT.size + length
        subject = body[_SUBJECT.size : start].decode()
        if before < self._shredded.get(subject, 0):
            raise DeniedError(
                "crypto.shredded",
                "The subject of these bytes was shredded.",
                "There is no way back, which is its point.",
            )
        return body[start:]

    def shred(self, subject: str) -> bool:
        """Refuse from now on what was sealed for a subject; it stays readable, being a double."""
        if not self._sealed_for.pop(subject, False):
            return False
        self._shredded[subject] = self._shredded.get(subject, 0) + 1
        return True

    def _tag(self, plain: bytes, context: bytes) -> bytes:
        framed = len(context).to_bytes(8, "big") + context + plain
        return hmac.digest(self._key, framed, "sha256")


class MemoryKeyProvider:
    """A double: "keys" are hashes of their ids, "signatures" are HMAC tags anyone can make.

    Args:
        names: what keys there are, each at its first version, active. Every one both wraps and
            signs, which no real key does.
    """

    def __init__(self, *names: str) -> None:
        self._keys = {f"{name}.1": _key_info(name, 1) for name in names}

    def wrap(self, key_id: str, data_key: bytes, context: bytes) -> bytes:
        """Tag a data key; it stays readable."""
        if len(data_key) > 64:
            raise InputError("testing.long_data_key", "A data key is too long.", "Shorten it.")
        return MemorySealer(self._active(key_id).public).seal(data_key, context)

    def unwrap(self, key_id: str, wrapped: bytes, context: bytes) -> bytes:
        """Give the data key back.

        Raises:
            DeniedError: another key, another context, or changed bytes.
        """
        known = self._find(key_id)
        if known is None:
            raise _refused()
        return MemorySealer(known.public).open(wrapped, context)

    def sign(self, key_id: str, message: bytes, context: bytes) -> bytes:
        """Tag a message."""
        public = self._active(key_id).public
        return MemorySealer(public).seal(message, b"sign" + context)[-_TAG_BYTES:]

    def public(self, key_id: str) -> bytes:
        """Give the hash of the key's id."""
        return self._known(key_id).public

    def rotate(self, key_id: str) -> str:
        """Make a successor; the old key still unwraps."""
        old = self._active(key_id)
        name, _, version = old.key_id.rpartition(".")
        new = _key_info(name, int(version) + 1)
        self._keys[old.key_id] = msgspec.structs.replace(old, state=KeyState.DECRYPT_ONLY)
        self._keys[new.key_id] = new
        return new.key_id

    def listed(self) -> Sequence[KeyInfo]:
        """Give all keys, sorted by name and version."""
        return [self._keys[key_id] for key_id in sorted(self._keys, key=_by_version)]

    def _find(self, key_id: str) -> KeyInfo | None:
        for known in self._keys.values():
            name = known.key_id.rpartition(".")[0]
            named = name == key_id and known.state is KeyState.ACTIVE
            if named or key_id in (known.key_id, known.kid.hex()):
                return known
        return None

    def _known(self, key_id: str) -> KeyInfo:
        known = self._find(key_id)
        if known is None:
            raise InputError(
                "testing.no_key",
                f"There is no key {key_id!r}.",
                f"Name one of {sorted(self._keys)}.",
            )
        return known

    def _active(self, key_id: str) -> KeyInfo:
        known = self._known(key_id)
        if known.state is not KeyState.ACTIVE:
            raise DeniedError(
                "testing.not_active",
                f"The key {known.key_id} is {known.state}.",
                "Use its successor.",
            )
        return known

    @staticmethod
    def signed(public: bytes, message: bytes, context: bytes, signature: bytes) -> bool:
        """Say whether the holder of `public` (here: anyone) made `signature`."""
        made = MemorySealer(public).seal(message, b"sign" + context)[-_TAG_BYTES:]
        return hmac.compare_digest(made, signature)


class MemoryRootKey:
    """A double: a root key that tags what it "wraps", readable for all."""

    manifest: Manifest = Manifest("memory-root", "A double of a root key; it hides nothing.")
    protection: str = "nothing: this is a double"

    def __init__(self, key: bytes = b"a test's root key") -> None:
        self._sealer = MemorySealer(key)

    def wrap(self, secret: bytes, context: bytes) -> bytes:
        """Tag a secret; it stays readable."""
        return self._sealer.seal(secret, context)

    def unwrap(self, wrapped: bytes, context: bytes) -> bytes:
        """Give the secret back; another key, context or byte is refused."""
        return self._sealer.open(wrapped, context)


def _key_info(name: str, version: int) -> KeyInfo:
    key_id = f"{name}.{version}"
    public = hashlib.sha256(key_id.encode()).digest()
    return KeyInfo(key_id, "double", KeyState.ACTIVE, public[:16], public, 0)


def _by_version(key_id: str) -> tuple[str, int]:
    name, _, version = key_id.rpartition(".")
    return name, int(version)


def _refused() -> DeniedError:
    return DeniedError(
        "testing.not_sealed",
        "The bytes were not sealed by this key for this context.",
        "Open them with the key and context that sealed them.",
    )


class MemoryLedger:
    """A chained list; `stored` may be tampered with to see `verify` name the place."""

    def __init__(self, sealer: Sealer, clock: Clock) -> None:
        self._sealer = sealer
        self._clock = clock
        self.stored: list[bytes] = []
        self._heads = [bytes(32)]

    def append(self, records: Sequence[bytes]) -> int:
        """Store canonical bytes; give the position of the first.

        Raises:
            InputError: a record is longer than 1 MiB; nothing was stored.
        """
        first = len(self.stored) + 1
        if any(len(record) > MAX_FRAME_BYTES for record in records):
            raise InputError(
                "testing.record_too_long", "A record is longer than 1 MiB.", "Shorten it."
            )
        for position, record in enumerate(records, first):
            sealed = self._sealer.seal(record, str(position).encode())
            self.stored.append(sealed)
            self._heads.append(self._link(self._heads[-1], sealed))
        return first

    def read(self, first: int, count: int) -> Sequence[bytes]:
        """Give the opened records from position `first`, at most `count`."""
        last = min(len(self.stored), first + max(0, count) - 1)
        return [
            self._sealer.open(self.stored[position - 1], str(position).encode())
            for position in range(first, last + 1)
        ]

    def checkpoint(self) -> Checkpoint:
        """Give size and head."""
        now = self._clock.now().wall_ns
        return Checkpoint(len(self._heads) - 1, self._heads[-1], self._sealer.sealing, now)

    def verify(self) -> Checkpoint:
        """Recompute every hash.

        Raises:
            CronosError: a record was changed, removed or added; names it.
        """
        for position in range(1, max(len(self.stored), len(self._heads) - 1) + 1):
            there = position <= len(self.stored) and position < len(self._heads)
            if not there or self._heads[position] != self._link(
                self._heads[position - 1], self.stored[position - 1]
            ):
                raise CronosError(
                    "testing.ledger_broken",
                    f"The ledger is broken at record {position}.",
                    "Leave `stored` alone.",
                )
        return self.checkpoint()

    def close(self) -> None:
        """Do nothing: memory needs no flush."""

    @staticmethod
    def _link(head: bytes, sealed: bytes) -> bytes:
        return hashlib.sha256(head + sealed).digest()
