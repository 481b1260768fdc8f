"""Hashes that run beside what is hashed, on other cores where there are any.

SHA-512 is slower than AES-GCM and than most disks: done in between, it would take most of the time
of signing a file. `hashlib` lets go of the interpreter's lock while it works.
"""

import hashlib
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Final, Self

from cronos.crypto.chunks import Octets

# Where there are two cores, too: there, sealing 1 GiB took 3.9 s with two and 3.0 s with four.
_THREADS: Final = 4


class RunningHash:
    """SHA-512 of pieces, in the order in which they are given; at most two are held.

    Enter it; its thread ends with the block.
    """

    def __init__(self, start: bytes = b"") -> None:
        self._hash = hashlib.sha512(start)
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="running-hash")
        self._last: Future[None] | None = None

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def update(self, piece: Octets) -> None:
        """Hash a copy of `piece`, which may be overwritten at once."""
        copy = bytes(piece)
        self._settle()
        self._last = self._pool.submit(self._hash.update, copy)

    def digest(self) -> bytes:
        """Give the 64 bytes for all pieces so far."""
        self._settle()
        return self._hash.digest()

    def _settle(self) -> None:
        if self._last is not None:
            self._last.result()

    def __exit__(self, *_: object) -> None:
        """End the thread."""
        self._pool.shutdown()


class PieceHash:
    """SHA-512 over the SHA-512 of each piece, in their order; the pieces are hashed at once.

    A tree of two levels, told apart by a byte before what each hashes: SHA-512(1, then for each
    piece SHA-512(0, piece)). Who finds two lists of pieces with one hash has found a collision of
    SHA-512. It fixes where each piece ends, unlike a hash of their bytes in a row. At most one
    piece for each thread is held.

    Enter it; its threads end with the block.

    Args:
        first: the first piece.
    """

    def __init__(self, first: bytes) -> None:
        self._root = hashlib.sha512(b"\1" + _leaf(first))
        self._pool = ThreadPoolExecutor(_THREADS, thread_name_prefix="piece-hash")
        self._ahead: deque[Future[bytes]] = deque()

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def update(self, piece: Octets) -> None:
        """Hash a copy of `piece`, which may be overwritten at once."""
        if len(self._ahead) == _THREADS:
            self._settle()
        self._ahead.append(self._pool.submit(_leaf, bytes(piece)))

    def digest(self) -> bytes:
        """Give the 64 bytes for all pieces so far."""
        while self._ahead:
            self._settle()
        return self._root.digest()

    def _settle(self) -> None:
        self._root.update(self._ahead.popleft().result())

    def __exit__(self, *_: object) -> None:
        """End the threads."""
        self._pool.shutdown()


def _leaf(piece: bytes) -> bytes:
    found = hashlib.sha512(b"\0")
    found.update(piece)
    return found.digest()
