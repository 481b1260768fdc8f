"""What this node keeps of its peers' ledgers, and gives back to them alone.

Whoever owns a ledger is who its certificate says: a peer can write to, and read from, the copy
under its own name and no other. What is kept is sealed by its owner; nothing here can read it. A
copy is answered for only when it is on this disk.

Answers leave by a task of their own, the latest of each kind: who takes in never waits for who
sends, or two nodes that copy to each other could wait for each other for ever.
"""

import asyncio
import hashlib
import re
from collections.abc import Callable, Sequence
from typing import Final, Protocol, TypeAlias

import msgspec

from cronos.errors import CronosError, DeniedError, UnreachableError
from cronos.mesh import wire
from cronos.ports import Mesh, Tasks
from cronos.types import Lane

Origin: TypeAlias = tuple[int, str, int, bytes]
Report: TypeAlias = Callable[[str, str, str], None]

MAX_ROWS_BYTES: Final = 512 << 10
_MAX_OWNERS: Final = 1_024
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")


class Extent(Protocol):
    """How far a ledger goes; without an origin there is none."""

    @property
    def origin(self) -> Origin | None:
        """Its genesis."""
        ...

    @property
    def size(self) -> int:
        """How many records."""
        ...

    @property
    def head(self) -> bytes:
        """The chain's hash behind the last."""
        ...


class Copy(Protocol):
    """A copy of one ledger, on this disk; its calls block."""

    def extent(self) -> Extent:
        """Say how far it goes."""
        ...

    def begin(self, origin: Origin) -> None:
        """Begin it; another one is put aside first."""
        ...

    def append(self, first: int, stored: Sequence[bytes], head: bytes) -> int:
        """Take records over; give the position of the last."""
        ...

    def rows(self, first: int, max_rows: int, max_bytes: int) -> tuple[list[bytes], bytes]:
        """Give records from a position on, and the chain's hash behind the last."""
        ...

    def put(self, name: str, data: bytes) -> bool:
        """Keep a file beside it."""
        ...

    def file(self, name: str) -> bytes:
        """Give such a file; empty where there is none."""
        ...

    def digests(self) -> dict[str, bytes]:
        """Give the SHA-256 of each."""
        ...

    def close(self) -> None:
        """Release it."""
        ...


class _Part(msgspec.Struct):
    """A file of which not all pieces have come."""

    digest: bytes
    total: int
    data: bytearray


class _Shelf:
    """One owner's copy, and what is to be answered to it."""

    def __init__(self, copy: Copy) -> None:
        self.copy = copy
        self.busy = asyncio.Lock()
        self.part: dict[str, _Part] = {}
        self.given: tuple[str, bytes, bytes] = ("", b"", b"")
        self.answers: dict[str, wire.Message] = {}
        self.sending = False


class Keeper:
    """Keeps copies for peers.

    Args:
        mesh: carries the answers.
        place: gives the copy of an owner, by name.
        tasks: run beside.
        report: takes what is wrong.
    """

    def __init__(
        self, mesh: Mesh, place: Callable[[str], Copy], tasks: Tasks, report: Report
    ) -> None:
        self._mesh = mesh
        self._place = place
        self._tasks = tasks
        self._report = report
        self._shelves: dict[str, _Shelf] = {}

    async def receive(self, owner: str, message: wire.Message) -> None:
        """Take what an owner says of its own ledger; nothing of it raises."""
        try:
            shelf = self._shelf(owner)
            async with shelf.busy:
                await self._act(owner, shelf, message)
        except CronosError as error:
            self._report(owner, error.code, error.sentence)
            why = wire.Standing(None, 0, bytes(32), f"{error.code}: {error.sentence}"[:200])
            if owner in self._shelves:
                self._answer(owner, "standing", why)

    def close(self) -> None:
        """Release every copy."""
        for shelf in self._shelves.values():
            shelf.copy.close()
        self._shelves.clear()

    def _shelf(self, owner: str) -> _Shelf:
        found = self._shelves.get(owner)
        if found is None:
            if len(self._shelves) >= _MAX_OWNERS or not _NAME.fullmatch(owner):
                raise DeniedError(
                    "mesh.no_copy",
                    f"No copy is kept for {owner[:70]!r}.",
                    "Let another node keep it.",
                )
            found = self._shelves[owner] = _Shelf(self._place(owner))
        return found

    async def _act(self, owner: str, shelf: _Shelf, message: wire.Message) -> None:
        copy = shelf.copy
        match message:
            case wire.Offer():
                await asyncio.to_thread(_offered, copy, message)
            case wire.Rows():
                await asyncio.to_thread(copy.append, message.first, message.stored, message.head)
            case wire.Piece():
                if not await self._take_piece(shelf, message):
                    return
            case wire.Give():
                await self._give(owner, shelf, message)
                return
            case _:
                return
        self._answer(owner, "standing", await asyncio.to_thread(_standing, copy))

    async def _take_piece(self, shelf: _Shelf, piece: wire.Piece) -> bool:
        """Put a file together; True when it is whole and kept."""
        part = shelf.part.get(piece.name)
        if piece.offset == 0:
            # One file at a time: what an owner began and did not end makes room for the next.
            part = _Part(piece.digest, piece.total, bytearray())
            shelf.part = {piece.name: part}
        if part is None or (piece.offset, piece.digest) != (len(part.data), part.digest):
            return False
        part.data += piece.data
        if len(part.data) < part.total:
            return False
        shelf.part.clear()
        return await asyncio.to_thread(_put_whole, shelf, piece.name, part)

    async def _give(self, owner: str, shelf: _Shelf, asked: wire.Give) -> None:
        copy = shelf.copy
        if asked.name:
            self._answer(owner, "given", await asyncio.to_thread(_piece, shelf, asked))
            return
        first = max(1, asked.first)
        stored, head = await asyncio.to_thread(copy.rows, first, wire.MAX_ROWS, MAX_ROWS_BYTES)
        if stored:
            self._answer(owner, "given", wire.Rows(first, tuple(stored), head))
        else:
            self._answer(owner, "given", await asyncio.to_thread(_standing, copy))

    def _answer(self, owner: str, kind: str, message: wire.Message) -> None:
        shelf = self._shelves[owner]
        shelf.answers[kind] = message
        if not shelf.sending:
            shelf.sending = True
            self._tasks.spawn(self._send(owner, shelf), "mesh.keeper")

    async def _send(self, owner: str, shelf: _Shelf) -> None:
        try:
            while shelf.answers:
                message = shelf.answers.pop(next(iter(shelf.answers)))
                await self._mesh.send(owner, Lane.RECORDS, wire.pack(message))
        except UnreachableError:
            shelf.answers.clear()  # it will ask again
        finally:
            shelf.sending = False


def _put_whole(shelf: _Shelf, name: str, part: _Part) -> bool:
    """Keep a file all of which has come; blocks, for it may be long."""
    data = bytes(part.data)
    if len(data) != part.total or hashlib.sha256(data).digest() != part.digest:
        return False
    shelf.given = ("", b"", b"")
    shelf.copy.put(name, data)
    return True


def _piece(shelf: _Shelf, asked: wire.Give) -> wire.Piece:
    """Cut the piece that was asked for; the file is read and hashed for the first, not for each."""
    if shelf.given[0] != asked.name or asked.first == 0:
        data = shelf.copy.file(asked.name)
        shelf.given = (asked.name, data, hashlib.sha256(data).digest())
    _, data, digest = shelf.given
    part = data[asked.first : asked.first + wire.MAX_PIECE_BYTES]
    if asked.first + len(part) >= len(data):
        shelf.given = ("", b"", b"")
    return wire.Piece(asked.name, digest, len(data), asked.first, part)


def _offered(copy: Copy, offer: wire.Offer) -> None:
    """Begin a copy where there is none, or where its owner says that it is none of its own."""
    if offer.origin is None:
        return
    origin = msgspec.structs.astuple(offer.origin)
    found = copy.extent()
    if found.origin is None or offer.anew:
        copy.begin(origin)


def _standing(copy: Copy) -> wire.Standing:
    found = copy.extent()
    origin = None if found.origin is None else wire.Origin(*found.origin)
    return wire.Standing(origin, found.size, found.head, "", copy.digests())
