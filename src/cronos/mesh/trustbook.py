"""What each peer's word was worth when it last changed: kept over restarts of the whole node.

The kernel decides it and says so; here it is written down, sealed, and said again to the kernel
that comes next, before that hears any peer. A peer that lied is no better for a restart of the one
it lied to. A book that is lost or damaged is reported and begun anew: what goes with it is caution.
"""

import asyncio
from pathlib import Path
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from cronos.crypto.durable import private_folder, read_bounded, sync_folder, write_synced
from cronos.errors import CronosError, DeniedError
from cronos.link.upkeep import Report
from cronos.ports import Sealer, Tasks
from cronos.types import Reproach

MAX_PEERS: Final = 4_096
_MAX_BYTES: Final = 1 << 20
_CONTEXT: Final = b"cronos-mesh-trust-v1/"
_Name = Annotated[str, Meta(min_length=1, max_length=63)]
_Worth = Annotated[float, Meta(ge=0.0, le=1.0)]
_BOOK: Final = msgspec.msgpack.Decoder(dict[_Name, _Worth])


class TrustBook:
    """The book of one node.

    Args:
        instance: whose it is.
        path: its file; the folder above is made with mode 0700.
        sealer: seals it; asked in threads.
        tasks: writes it beside.
        report: told when it cannot be read or written.
    """

    def __init__(
        self, instance: str, path: Path, sealer: Sealer, tasks: Tasks, report: Report
    ) -> None:
        self._context = _CONTEXT + instance.encode()
        self._path = path
        self._sealer = sealer
        self._tasks = tasks
        self._report = report
        self._worth: dict[str, float] = {}
        self._changed = self._due = False
        self._writing = asyncio.Lock()

    async def open(self) -> tuple[Reproach, ...]:
        """Read it, and give what the kernel is told: no reason with it, for nothing is new."""
        try:
            self._worth = await asyncio.to_thread(self._read)
        except CronosError as error:
            self._report("error", error.code, detail=error.sentence)
        return tuple(Reproach(peer, "", worth) for peer, worth in self._worth.items())

    def keep(self, said: Reproach) -> None:
        """Write down what a peer's word is worth now; the disk is not waited for."""
        self._worth.pop(said.peer, None)
        self._worth[said.peer] = min(max(said.trust, 0.0), 1.0)
        while len(self._worth) > MAX_PEERS:
            del self._worth[next(iter(self._worth))]
        self._changed = True
        if not self._due:
            self._due = True
            self._tasks.spawn(self.flush(), "mesh.trust")

    async def flush(self) -> None:
        """Write what has changed; more than once is harmless."""
        async with self._writing:
            self._due = False
            if not self._changed:
                return
            self._changed = False
            try:
                await asyncio.to_thread(self._write, dict(self._worth))
            except CronosError as error:
                # With the next change, and at the end, it is tried again; until then a restart
                # forgets this one.
                self._changed = True
                self._report("error", error.code, detail=error.sentence)

    def _read(self) -> dict[str, float]:
        stored = read_bounded(self._path, _MAX_BYTES)
        if stored is None:
            return {}
        try:
            return _BOOK.decode(self._sealer.open(stored, self._context))
        except (msgspec.DecodeError, ValueError, RecursionError):
            raise _unusable(self._path, "it holds something else") from None

    def _write(self, worth: dict[str, float]) -> None:
        sealed = self._sealer.seal(msgspec.msgpack.encode(worth), self._context)
        new = self._path.with_name(self._path.name + ".new")
        private_folder(self._path.parent)
        try:
            write_synced(new, sealed)
            new.replace(self._path)
            sync_folder(self._path.parent)
        except OSError as error:
            raise _unusable(self._path, error.strerror or "no reason given") from error


def _unusable(path: Path, why: str) -> DeniedError:
    return DeniedError(
        "mesh.trust_unwritten",
        f"What peers' words are worth cannot be kept in {path}: {why}.",
        "Make room, or move the file away; peers then begin with the trust under [mesh].",
    )
