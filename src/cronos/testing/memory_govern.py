"""A ledger, a sealer and keys that live in memory. The sealer and the keys are doubles.

A double keeps a port's contract, and protects nothing: what these "seal" stays readable, and
whoever reads this file knows the keys.
"""

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

from cronos.errors import CronosError, DeniedError, InputError
from cronos.ports import Clock, Sealer
from cronos.types import MAX_FRAME_BYTES, Checkpoint

_TAG_BYTES: Final = 32


class MemorySealer:
    """A double: appends an HMAC tag, so changes and foreign contexts show. It hides nothing."""

    sealing: str = "double (tagged, readable)"
    seal_version: int = 255

    def __init__(self, key: bytes = b"a test's key") -> None:
        self._key = key

    def seal(self, plain: bytes, context: bytes) -> bytes:
        """Give `plain` and its tag."""
        return plain + self._tag(plain, context)

    def open(self, sealed: bytes, context: bytes) -> bytes:
        """Give the plain bytes.

        Raises:
            DeniedError: the tag is another key's or context's, or something was changed.
        """
        plain, tag = sealed[:-_TAG_BYTES], sealed[-_TAG_BYTES:]
        if not hmac.compare_digest(tag, self._tag(plain, context)):
            raise DeniedError(
                "testing.not_sealed",
                "The bytes were not sealed by this key for this context.",
                "Open them with the key and context that sealed them.",
            )
        return plain

    def _tag(self, plain: bytes, context: bytes) -> bytes:
        framed = len(context).to_bytes(8, "big") + context + plain
        return hmac.digest(self._key, framed, "sha256")


class MemoryKeyProvider:
    """A double: "keys" are hashes of their names, "signatures" are HMAC tags anyone can make."""

    def __init__(self, *key_ids: str) -> None:
        self._known = set(key_ids)

    def wrap(self, key_id: str, data_key: bytes, context: bytes) -> bytes:
        """Tag a data key; it stays readable."""
        return MemorySealer(self.public(key_id)).seal(data_key, context)

    def unwrap(self, key_id: str, wrapped: bytes, context: bytes) -> bytes:
        """Give the data key back.

        Raises:
            DeniedError: another key, another context, or changed bytes.
        """
        return MemorySealer(self.public(key_id)).open(wrapped, context)

    def sign(self, key_id: str, message: bytes, context: bytes) -> bytes:
        """Tag a message."""
        return MemorySealer(self.public(key_id)).seal(message, b"sign" + context)[-_TAG_BYTES:]

    def public(self, key_id: str) -> bytes:
        """Give the hash of the key's name.

        Raises:
            InputError: no such key.
        """
        if key_id not in self._known:
            raise InputError(
                "testing.no_key",
                f"There is no key {key_id!r}.",
                f"Name one of {sorted(self._known)}.",
            )
        return hashlib.sha256(key_id.encode()).digest()

    def rotate(self, key_id: str) -> str:
        """Make a successor; the old key stays."""
        self.public(key_id)
        name, _, version = key_id.partition("+")
        successor = f"{name}+{int(version or 0) + 1}"
        self._known.add(successor)
        return successor

    @staticmethod
    def signed(public: bytes, message: bytes, context: bytes, signature: bytes) -> bool:
        """Say whether the holder of `public` (here: anyone) made `signature`."""
        made = MemorySealer(public).seal(message, b"sign" + context)[-_TAG_BYTES:]
        return hmac.compare_digest(made, signature)


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
