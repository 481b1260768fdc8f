"""Records: what the data key of an epoch seals, 30 bytes longer than what they hold.

| offset | bytes | field |
|---|---|---|
| 0 | 1 | version, 1 |
| 1 | 1 | suite |
| 2 | 4 | the first four bytes of the epoch's id |
| 6 | 8 | sequence number, big-endian, from 0 |
| 14 | n | AES-256-GCM ciphertext |
| 14 + n | 16 | tag |

The nonce is the epoch's IV XOR the sequence number (in its last eight bytes). The header is
authenticated, and after it the caller's context: as its length is fixed, no two pairs of header
and context give the same bytes.

**No nonce is used twice.** `_Numbers` alone hands out sequence numbers, each once; nothing sets
them, stores them or takes them back, and a number whose sealing failed is lost. The child of a
fork cannot seal, and a process that starts again begins a new epoch.

Source: NIST SP 800-38D, 8.2.1 (deterministic construction); RFC 8446, 5.3 (the nonce).
"""

import contextlib
import os
import struct
import threading
import weakref
from collections.abc import Iterable, Sequence
from operator import add
from typing import Any, Final, NoReturn, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from cronos.crypto.kdf import expand
from cronos.crypto.refusal import refused
from cronos.crypto.suites import SUITES, Suite
from cronos.errors import CronosError, InputError

VERSION: Final = 1
SHORT_ID_BYTES: Final = 4
HEADER_BYTES: Final = 14
TAG_BYTES: Final = 16
RECORD_OVERHEAD: Final = HEADER_BYTES + TAG_BYTES
DATA_KEY_BYTES: Final = 32
COMMITMENT_BYTES: Final = 32
# Above either an adversary's advantage grows past 2^-52 (blocks^2 / 2^129).
HIGHEST_MAX_RECORDS: Final = 1 << 32
HIGHEST_MAX_BYTES: Final = 1 << 42
_KEY_BYTES: Final = 32
_IV_BYTES: Final = 12
# Numbers are made ready by the block: a block shares all but the last byte of nonce and header.
_BLOCK: Final = 256
_BYTES: Final = tuple(bytes((value,)) for value in range(_BLOCK))
_EACH_NONCE: Final = struct.Struct(f"{_IV_BYTES}s" * _BLOCK).unpack
_EACH_HEADER: Final = struct.Struct(f"{HEADER_BYTES}s" * _BLOCK).unpack

Readable = bytes | bytearray | memoryview
Writable = bytearray | memoryview


class RecordKeys:
    """What seals the records of one epoch, all of it derived from its data key.

    No struct: those can be encoded, and show their fields.

    Attributes:
        prefix: version, suite and short id: the first six bytes of every record.
        commitment: fixes key and IV without telling them; AES-GCM by itself does not, for one
            ciphertext can be made that opens under two keys.
    """

    __slots__ = ("commitment", "iv", "key", "prefix")

    def __init__(self, prefix: bytes, key: bytes, iv: bytes, commitment: bytes) -> None:
        self.prefix = prefix
        self.key = key
        self.iv = iv
        self.commitment = commitment

    def __repr__(self) -> str:
        """Show the short id alone."""
        return f"RecordKeys({self.prefix[2:].hex()})"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        """Refuse: a copy of a writer's keys would count from the start again."""
        raise _not_copied(self)


def derive_record_keys(
    suite: Suite, epoch_id: bytes, header_digest: bytes, data_key: bytes
) -> RecordKeys:
    """Derive the keys of an epoch's records.

    Args:
        suite: of the epoch; part of the label, so that another suite gives other keys.
        epoch_id: its first four bytes go into every record.
        header_digest: SHA-384 of the immutable part of the epoch's packet.
        data_key: 32 bytes, uniform. One of another length is refused, for HMAC pads with zeros,
            so that a shorter key would commit to the same as a longer one.

    Raises:
        DeniedError: `data_key` is not 32 bytes.
    """
    if len(data_key) != DATA_KEY_BYTES:
        raise refused()
    length = _KEY_BYTES + _IV_BYTES + COMMITMENT_BYTES
    made = expand(data_key, f"epoch records {suite.name}", header_digest, length=length)
    return RecordKeys(
        bytes((VERSION, suite.number)) + epoch_id[:SHORT_ID_BYTES],
        made[:_KEY_BYTES],
        made[_KEY_BYTES : _KEY_BYTES + _IV_BYTES],
        made[_KEY_BYTES + _IV_BYTES :],
    )


class _Seal(Protocol):
    def __call__(self, plain: Readable, context: bytes = b"") -> bytes: ...


class _Open(Protocol):
    def __call__(self, record: bytes, context: bytes = b"") -> bytes: ...


class _SealMany(Protocol):
    def __call__(self, plains: Sequence[bytes], contexts: Sequence[bytes] = ()) -> list[bytes]: ...


class _SealInto(Protocol):
    def __call__(self, plain: Readable, context: bytes, out: Writable) -> int: ...


class RecordWriter:
    """Seals the records of one epoch, from number 0; safe to share between threads.

    What seals are closures, not methods: a record takes less than a microsecond, and looking up
    attributes would be a tenth of it. Each raises a `CronosError`: with the code
    ``crypto.epoch_spent`` once the epoch has sealed all that its key may (or has no room left for
    as many at once), ``crypto.forked`` in the child of a fork. Then begin a new epoch.

    Attributes:
        short_id: what stands in its records.
        seal: give the record of a plain text in a context.
        seal_many: give the records of many, in their order; `contexts` is empty or one for each.
        seal_into: write the record to the start of `out`, which shares no memory with `plain`,
            and give its length; saves copies from 16 KiB on.
    """

    __slots__ = ("__weakref__", "_numbers", "seal", "seal_into", "seal_many", "short_id")

    def __init__(self, keys: RecordKeys, max_records: int, max_bytes: int) -> None:
        self.short_id = keys.prefix[2:]
        self._numbers = _Numbers(keys, max_records)
        self.seal: _Seal
        self.seal_many: _SealMany
        self.seal_into: _SealInto
        self.seal, self.seal_many, self.seal_into = _sealing(keys, self._numbers, max_bytes)
        _alive.add(self._numbers)

    @property
    def sealed(self) -> int:
        """How many numbers are used, those of failed sealings too."""
        return self._numbers.used

    def __repr__(self) -> str:
        """Show the short id alone."""
        return f"RecordWriter({self.short_id.hex()})"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        """Refuse: a copy would use the same numbers again."""
        raise _not_copied(self)


class RecordReader:
    """Opens the records of one epoch; says nothing about replays, which `ReplayWindow` knows.

    Attributes:
        short_id: what stands in its records.
        open: give the plain text of a record that was sealed in `context`; a closure, as in
            `RecordWriter`. It raises `DeniedError` for another epoch, another context, and
            changed, cut or extended bytes.
    """

    __slots__ = ("_decrypt_into", "_nonces", "open", "short_id")

    def __init__(self, keys: RecordKeys) -> None:
        cipher = AESGCM(keys.key)
        self.short_id = keys.prefix[2:]
        self._nonces = _Nonces(keys)
        self._decrypt_into = cipher.decrypt_into
        self.open: _Open = _opening(cipher, self._nonces)

    def open_into(self, record: Readable, context: bytes, out: Writable) -> int:
        """Write the plain text to the start of `out` and give its length.

        `out` holds at least 30 bytes less than the record; it is not to be read after a refusal.

        Raises:
            DeniedError: as `open`.
        """
        header = bytes(record[:HEADER_BYTES])
        start = self._nonces.start_of(header, len(record))
        nonce = start[1] + self._nonces.ends[header[-1]]
        size = len(record) - RECORD_OVERHEAD
        _require_room(out, size)
        sealed, target = memoryview(record)[HEADER_BYTES:], memoryview(out)[:size]
        try:
            return self._decrypt_into(nonce, sealed, header + context, target)
        except (InvalidTag, ValueError, OverflowError):
            raise refused() from None

    def __repr__(self) -> str:
        """Show the short id alone."""
        return f"RecordReader({self.short_id.hex()})"

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        """Refuse: keys do not travel in pickles."""
        raise _not_copied(self)


def record_epoch(record: bytes) -> bytes:
    """Give the short id of the epoch that a record says it belongs to; nothing is verified.

    Raises:
        DeniedError: it cannot be a record.
    """
    if len(record) < RECORD_OVERHEAD or record[0] != VERSION or record[1] not in SUITES:
        raise refused()
    return bytes(record[2:6])


def record_seq(record: bytes) -> int:
    """Give the sequence number that a record says it has; nothing is verified.

    Raises:
        DeniedError: it cannot be a record.
    """
    record_epoch(record)
    return int.from_bytes(record[6:HEADER_BYTES], "big")


class _Nonces:
    """Makes the nonce of a header: two numbers of one block differ in the last byte alone.

    `ends` holds that byte for each of a block's 256 numbers.
    """

    def __init__(self, keys: RecordKeys) -> None:
        self._prefix = keys.prefix
        self._iv_head = keys.iv[:4]
        self._iv_tail = int.from_bytes(keys.iv[4:-1], "big")
        self.ends = tuple(_BYTES[value ^ keys.iv[-1]] for value in range(_BLOCK))

    def block(self, high: int) -> tuple[bytes, bytes]:
        """Give what all headers and all nonces of the block `high` start with."""
        header = self._prefix + high.to_bytes(7, "big")
        return header, self._iv_head + (self._iv_tail ^ high).to_bytes(7, "big")

    def start_of(self, record: bytes, length: int) -> tuple[bytes, bytes]:
        """Give the block of a record, of which `record` holds the header at least.

        Raises:
            DeniedError: it is too short, or of another epoch.
        """
        if length < RECORD_OVERHEAD or record[: len(self._prefix)] != self._prefix:
            raise refused()
        return self.block(int.from_bytes(record[6 : HEADER_BYTES - 1], "big"))


class _Numbers:
    """Hands out every sequence number once, as the nonce and the header that it makes.

    `ready` holds a block of them, the lowest last: taking one is a single `list.pop`, which no
    two threads can share. Blocks themselves are handed out under a lock. A fork empties `ready`
    in the child, so that sealing there comes by here and is refused; it costs sealing nothing.
    """

    def __init__(self, keys: RecordKeys, limit: int) -> None:
        self.ready: list[tuple[bytes, bytes]] = []
        self._nonces = _Nonces(keys)
        self._limit = limit
        self._next = 0
        self._pid = os.getpid()
        self._forked = False
        self._lock = threading.Lock()

    @property
    def used(self) -> int:
        """How many numbers are handed out."""
        return self._next - len(self.ready)

    def forked(self) -> None:
        """Stop for good: another process has the same numbers."""
        self._forked = True
        self.ready.clear()

    def one(self) -> tuple[bytes, bytes]:
        """Give the next number."""
        try:
            return self.ready.pop()
        except IndexError:
            return self.refill()

    def refill(self) -> tuple[bytes, bytes]:
        """Make a block ready and give its first number."""
        nonces, headers = self._made(*self._reserve(1, _BLOCK))
        block = list(zip(nonces, headers, strict=True))
        block.reverse()
        first = block.pop()
        self.ready.extend(block)
        return first

    def take(self, count: int) -> tuple[list[bytes], list[bytes]]:
        """Give the nonces and headers of `count` numbers: what is ready, blocks, and the rest."""
        nonces: list[bytes] = []
        headers: list[bytes] = []
        with contextlib.suppress(IndexError):
            while len(nonces) < count:
                nonce, header = self.ready.pop()
                nonces.append(nonce)
                headers.append(header)
        whole = (count - len(nonces)) // _BLOCK * _BLOCK
        if whole:
            more_nonces, more_headers = self._made(*self._reserve(whole, whole))
            nonces += more_nonces
            headers += more_headers
        while len(nonces) < count:
            nonce, header = self.one()
            nonces.append(nonce)
            headers.append(header)
        return nonces, headers

    def _reserve(self, least: int, most: int) -> tuple[int, int]:
        # Before the lock: another thread may have held it when the process forked.
        if self._forked or self._pid != os.getpid():
            raise _forked()
        with self._lock:
            start = self._next
            stop = min(start + most, self._limit)
            if stop - start < least:
                raise _spent()
            self._next = stop
        return start, stop

    def _made(self, start: int, stop: int) -> tuple[list[bytes], list[bytes]]:
        """Make the numbers of whole blocks, of which only the epoch's last may be cut."""
        nonces: list[bytes] = []
        headers: list[bytes] = []
        for high in range(start // _BLOCK, -(-stop // _BLOCK)):
            header, nonce = self._nonces.block(high)
            # What all begin with, joined with their ends, is all of them in a row: two calls for
            # 256 numbers, where adding up each would be a tenth of the time of sealing.
            nonces += _EACH_NONCE(nonce + nonce.join(self._nonces.ends))
            headers += _EACH_HEADER(header + header.join(_BYTES))
        return nonces[: stop - start], headers[: stop - start]


def _opening(cipher: AESGCM, nonces: _Nonces) -> _Open:
    """Make the closure of a reader, which keeps the block of the record before."""
    decrypt, ends, start_of = cipher.decrypt, nonces.ends, nonces.start_of
    block = nonces.block(0)

    def open_record(record: bytes, context: bytes = b"") -> bytes:
        nonlocal block
        start, nonce = block
        if not record.startswith(start):
            # One assignment of one tuple: another thread sees the old block or the new one.
            _, nonce = block = start_of(record, len(record))
        header = record[:HEADER_BYTES]
        try:
            return decrypt(
                nonce + ends[record[HEADER_BYTES - 1]],
                record[HEADER_BYTES:],
                header + context if context else header,
            )
        except (InvalidTag, ValueError, IndexError, OverflowError):
            raise refused() from None

    return open_record


def _sealing(
    keys: RecordKeys, numbers: _Numbers, max_bytes: int
) -> tuple[_Seal, _SealMany, _SealInto]:
    """Make the three closures of a writer, which share one count of bytes.

    The count goes down before anything is sealed and is never raised: who asks for too much has
    spent the epoch. Threads may lose each other's bytes from it where there is no GIL; it bounds
    an advantage of 2^-52 and is no promise of a nonce.
    """
    cipher = AESGCM(keys.key)
    encrypt, encrypt_into = cipher.encrypt, cipher.encrypt_into
    pop, refill, take, one = numbers.ready.pop, numbers.refill, numbers.take, numbers.one
    left = max_bytes

    def charge(size: int) -> None:
        nonlocal left
        left -= size
        if left < 0:
            raise _spent()

    def seal(plain: Readable, context: bytes = b"") -> bytes:
        nonlocal left
        size = len(plain)
        left -= size
        if left < 0:
            raise _spent()
        try:
            nonce, header = pop()
        except IndexError:
            nonce, header = refill()
        return header + encrypt(nonce, plain, header + context if context else header)

    def seal_many(plains: Sequence[bytes], contexts: Sequence[bytes] = ()) -> list[bytes]:
        charge(sum(map(len, plains)))
        nonces, headers = take(len(plains))
        associated = _associated(headers, contexts)
        return list(map(add, headers, map(encrypt, nonces, plains, associated)))

    def seal_into(plain: Readable, context: bytes, out: Writable) -> int:
        length = len(plain) + RECORD_OVERHEAD
        _require_room(out, length)
        charge(len(plain))
        nonce, header = one()
        target = memoryview(out)[:length]
        target[:HEADER_BYTES] = header
        return HEADER_BYTES + encrypt_into(nonce, plain, header + context, target[HEADER_BYTES:])

    return seal, seal_many, seal_into


# Weak, so that a writer that is dropped is gone. The hook runs in the child before any of its code.
_alive: Final[weakref.WeakSet[_Numbers]] = weakref.WeakSet()


def _stop_writers() -> None:
    for numbers in list(_alive):
        numbers.forked()


os.register_at_fork(after_in_child=_stop_writers)


def _require_room(out: Writable, size: int) -> None:
    if len(out) < size:
        raise InputError(
            "crypto.no_room",
            f"A buffer of {len(out)} bytes cannot take {size}.",
            "Give a larger buffer.",
        )


def _associated(headers: list[bytes], contexts: Sequence[bytes]) -> Iterable[bytes]:
    if not contexts:
        return headers
    if len(contexts) != len(headers):
        raise InputError(
            "crypto.unpaired",
            f"There are {len(headers)} plain texts and {len(contexts)} contexts.",
            "Give no context at all, or one for each.",
        )
    return map(add, headers, contexts)


def _spent() -> CronosError:
    return CronosError(
        "crypto.epoch_spent",
        "The epoch has sealed all that its key may.",
        "Begin a new epoch.",
    )


def _forked() -> CronosError:
    return CronosError(
        "crypto.forked",
        "This process was forked from the one that began the epoch.",
        "Begin a new epoch in each process.",
    )


def _not_copied(what: object) -> TypeError:
    return TypeError(f"a {type(what).__name__} is not copied and not pickled: its keys stay here")
