"""Copies of this node's own ledger at k peers: which records outlive its whole directory.

A record is *acknowledged* when it is on this node's disk, and *replicated* when k peers have said
that they hold it, and what opening it needs besides the keys. Both are positions: what holds for
one holds for all before it.

The peers are those that `ranked` puts first among the ones that are linked (who has the role for
it, and is not busy), and of equals those of the highest rendezvous weight, so that the same ones
keep it as long as they are there; one that is gone, full or in the wrong is replaced by the next.
Each says how far its copy goes, and gets what follows; what it has and this ledger has not (a
ledger that was rolled back, or begun anew) is put aside there and reported.
"""

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Sequence
from typing import Final, Protocol

import msgspec

from cronos.errors import CronosError, InputError, UnreachableError
from cronos.mesh import wire
from cronos.mesh.keeper import MAX_ROWS_BYTES, Extent, Keeper, Report
from cronos.ports import Clock, Mesh, Tasks
from cronos.types import Lane

_NS: Final = 1_000_000_000
_STEP_S: Final = 0.02
_GATHER_S: Final = 0.25
# So many rows at once are a flood: they are copied half a second after it began.
_FLOOD_ROWS: Final = 64
_FLOOD_NS: Final = _NS // 2
_IDLE_NS: Final = _NS // 4
_WINDOW_ROWS: Final = 16_384
_SILENCE_NS: Final = 10 * _NS
_REFUSED_NS: Final = 60 * _NS
_REPORT_NS: Final = 60 * _NS
# So often in a row a peer may be silent or in the wrong before the next keeps the copy.
_PATIENCE: Final = 3
_MOST_REFUSED: Final = 6
_GIVEN: Final = 64


class Own(Protocol):
    """This node's own ledger, read beside its writer; its calls block."""

    def extent(self) -> Extent:
        """Say how far it goes."""
        ...

    def chain_at(self, position: int) -> bytes:
        """Give the chain's hash behind a position; empty where there is none."""
        ...

    def rows(self, first: int, max_rows: int, max_bytes: int) -> tuple[list[bytes], bytes]:
        """Give stored records from a position on, and the chain's hash behind the last."""
        ...

    def files(self) -> dict[str, bytes]:
        """Give what opening the records needs besides the keys."""
        ...

    def stamp(self) -> object:
        """Give what changes whenever `files` does."""
        ...

    def marker(self) -> object:
        """Give what changes whenever anything does; blocks for microseconds only."""
        ...


class Positions(msgspec.Struct, frozen=True):
    """Up to where this node's records are durable here, and held by k peers as well."""

    acknowledged: int = 0
    replicated: int = 0


class _Copying:
    """One peer that keeps a copy, as far as this process knows."""

    def __init__(self, now_ns: int) -> None:
        self.wake = asyncio.Event()
        self.standing: wire.Standing | None = None
        self.fresh = False
        self.sent = 0
        self.heard_ns = now_ns
        self.up = True
        self.best = 0
        self.strikes = 0
        self.given: deque[tuple[str, bytes]] = deque(maxlen=_GIVEN)


class Replica:
    """Has this node's ledger kept by peers.

    Args:
        me: this node.
        mesh: carries records, on the receiver's credits.
        own: this node's ledger.
        keeper: keeps what peers give; gets what is for it.
        clock: notices silence.
        tasks: run beside.
        copies: how many peers hold each record.
        report: takes what is wrong.

    Attributes:
        ranked: puts peers into the order in which they are chosen; equals stay in theirs.
    """

    def __init__(  # noqa: PLR0913, PLR0917 - its ports, each another one
        self,
        me: str,
        mesh: Mesh,
        own: Own,
        keeper: Keeper,
        clock: Clock,
        tasks: Tasks,
        copies: int = 1,
        report: Report = lambda _peer, _code, _sentence: None,
    ) -> None:
        self.ranked: Callable[[Sequence[str]], Sequence[str]] = list
        self._me = me
        self._mesh = mesh
        self._own = own
        self._keeper = keeper
        self._clock = clock
        self._tasks = tasks
        self._copies = copies
        self._report = report
        self._linked: set[str] = set()
        self._refused: dict[str, int] = {}
        self._times: dict[str, int] = {}
        self._reported: dict[tuple[str, str], int] = {}
        self._peers: dict[str, _Copying] = {}
        self._held: dict[str, int] = {}
        self._extent: Extent | None = None
        self._due = 0
        self._flood_ns: int | None = None
        self._stamp: object = None
        self._marker: object = None
        self._looked_ns = -_IDLE_NS
        self._files: dict[str, bytes] = {}
        self._digests: dict[str, bytes] = {}
        self._looking = asyncio.Lock()
        self._stopped = False
        self._asked: Callable[[str, wire.Message], bool] | None = None

    async def start(self) -> None:
        """Begin to watch the ledger and to copy what it holds."""
        self._tasks.spawn(self._run(), "mesh.replica")

    async def stop(self) -> None:
        """End; copies are released."""
        self._stopped = True
        for one in self._peers.values():
            one.up = False
            one.wake.set()
        self._keeper.close()

    async def _run(self) -> None:
        while not self._stopped:
            # What follows at once is gathered: threats and receipts go before copies.
            grown = await self.look()
            await asyncio.sleep(_GATHER_S if grown else _STEP_S)

    def positions(self) -> Positions:
        """Say up to where records are acknowledged, and replicated."""
        size = 0 if self._extent is None else self._extent.size
        held = sorted((min(one, size) for one in self._held.values()), reverse=True)
        return Positions(size, held[self._copies - 1] if len(held) >= self._copies else 0)

    def holders(self) -> dict[str, int]:
        """Say how far each peer's copy goes, where it agrees with this ledger."""
        return dict(self._held)

    def linked(self, peer: str, up: bool) -> None:
        """Take word of a link that stands, or broke."""
        if up:
            self._linked.add(peer)
        else:
            self._linked.discard(peer)
            self._end(peer)
        self._choose()

    def asking(self, listener: Callable[[str, wire.Message], bool] | None) -> None:
        """Let a recovery hear first what peers say; it answers whether that was for it."""
        self._asked = listener

    async def receive(self, peer: str, lane: Lane, data: bytes) -> None:
        """Take a frame of the records' lane; never raises for what is in it."""
        del lane
        try:
            message = wire.unpack(data)
        except InputError as error:
            self._say(peer, error.code, error.sentence)
            return
        if self._asked is not None and self._asked(peer, message):
            return
        if isinstance(message, wire.Standing):
            self._stands(peer, message)
        else:
            await self._keeper.receive(peer, message)

    async def look(self) -> bool:
        """See whether the ledger has grown, and copy what is new; many times a second."""
        now_ns, marker = self._clock.now().boot_ns, self._own.marker()
        if marker == self._marker and now_ns - self._looked_ns < _IDLE_NS:
            return False
        self._marker, self._looked_ns = marker, now_ns
        async with self._looking:
            try:
                extent = await asyncio.to_thread(self._own.extent)
                stamp = self._own.stamp()
                if stamp != self._stamp:
                    self._files = await asyncio.to_thread(self._own.files)
                    self._digests = {
                        name: hashlib.sha256(data).digest() for name, data in self._files.items()
                    }
                    self._stamp = stamp
            except CronosError as error:
                self._say("", error.code, error.sentence)
                return False
            grown, self._extent = extent != self._extent, extent
        if self._may_copy(extent.size, now_ns):
            self._due, self._flood_ns = extent.size, None
            self._choose()
            for one in self._peers.values():
                one.wake.set()
        return grown

    def _may_copy(self, size: int, now_ns: int) -> bool:
        """Say whether to copy now; in a flood threats and receipts go first, for a while."""
        if self._flood_ns is None:
            if not self._due or size - self._due < _FLOOD_ROWS:
                return True
            self._flood_ns = now_ns
        return now_ns - self._flood_ns >= _FLOOD_NS

    # --- who keeps it --------------------------------------------------------------------------

    def _choose(self) -> None:
        """Copy to the k linked peers that are ranked first and have not refused lately."""
        if self._extent is None or self._extent.origin is None or self._stopped:
            return
        now_ns = self._clock.now().boot_ns
        able = [one for one in self._linked if self._refused.get(one, 0) <= now_ns]
        weighed = sorted(able, key=self._weight, reverse=True)
        chosen = self.ranked(weighed)[: self._copies]
        for peer in [one for one in self._peers if one not in chosen]:
            self._end(peer)
        for peer in chosen:
            if peer not in self._peers:
                copying = self._peers[peer] = _Copying(now_ns)
                self._tasks.spawn(self._copy(peer, copying), f"mesh.replica.{peer}")

    def _weight(self, peer: str) -> bytes:
        return hashlib.sha256(f"{self._me}\0{peer}".encode()).digest()

    def _end(self, peer: str) -> None:
        copying = self._peers.pop(peer, None)
        if copying is not None:
            copying.up = False
            copying.wake.set()

    def _refuse(self, peer: str, why: str) -> None:
        times = self._times.get(peer, 0)
        self._times[peer] = min(times + 1, _MOST_REFUSED)
        self._refused[peer] = self._clock.now().boot_ns + (_REFUSED_NS << times)
        self._say(peer, "mesh.copy_refused", f"{peer} keeps no more of this ledger: {why}")
        self._end(peer)
        self._choose()

    # --- copying -------------------------------------------------------------------------------

    def _stands(self, peer: str, standing: wire.Standing) -> None:
        copying = self._peers.get(peer)
        if copying is None:
            return
        if standing.why:
            self._refuse(peer, standing.why)
            return
        copying.standing, copying.fresh = standing, True
        copying.heard_ns = self._clock.now().boot_ns
        copying.wake.set()

    async def _copy(self, peer: str, copying: _Copying) -> None:
        try:
            await self._offer(peer, anew=False)
            while copying.up:
                if not await self._step(peer, copying):
                    await copying.wake.wait()
                    copying.wake.clear()
        except UnreachableError:
            pass
        except CronosError as error:
            self._say(peer, error.code, error.sentence)
        finally:
            if self._peers.get(peer) is copying:
                del self._peers[peer]

    async def _step(self, peer: str, copying: _Copying) -> bool:
        """Do the next thing for a peer; False when there is nothing to do now."""
        standing = copying.standing
        silent = self._is_silent(copying)
        if copying.strikes >= _PATIENCE:
            self._refuse(peer, "it does not keep, or does not answer for, what it was given.")
            return False
        if standing is None:
            if silent:
                await self._offer(peer, anew=False)
            return False
        if copying.fresh:
            copying.fresh = False
            if not await self._agree(peer, copying, standing):
                copying.strikes += 1
                copying.standing = None
                await self._offer(peer, anew=True)
                return True
        if silent:
            copying.sent = standing.size
        missing = [name for name, one in self._digests.items() if standing.files.get(name) != one]
        if missing:
            await self._complete(peer, copying, standing, missing[0])
            return True
        return await self._send_rows(peer, copying, standing)

    def _is_silent(self, copying: _Copying) -> bool:
        """Say whether nothing came for long; where an answer is due that counts against a peer."""
        now_ns, standing = self._clock.now().boot_ns, copying.standing
        if now_ns - copying.heard_ns <= _SILENCE_NS:
            return False
        copying.heard_ns = now_ns
        copying.strikes += standing is None or copying.sent > standing.size
        return True

    async def _complete(
        self, peer: str, copying: _Copying, standing: wire.Standing, name: str
    ) -> None:
        """Give a file that a peer lacks, or has as it was before."""
        copying.standing = None
        # One that it was given before is on its way to the newest; another one is none of ours.
        before = [digest for one, digest in copying.given if one == name]
        copying.strikes += bool(before) and standing.files.get(name) not in before
        copying.given.append((name, self._digests[name]))
        await self._send_file(peer, name)

    async def _agree(self, peer: str, copying: _Copying, standing: wire.Standing) -> bool:
        """See whether a copy is the beginning of this ledger; count what it holds."""
        extent = self._extent
        if extent is None or extent.origin is None or standing.origin is None:
            return False
        same = wire.Origin(*extent.origin) == standing.origin
        there = await asyncio.to_thread(self._own.chain_at, standing.size) if same else b""
        if there != standing.head:
            self._held.pop(peer, None)
            self._say(
                peer,
                "mesh.copy_forked",
                f"The copy at {peer} goes to record {standing.size} and is not of this ledger.",
            )
            return False
        copying.sent = max(copying.sent, standing.size)
        if standing.files == self._digests:
            self._held[peer] = standing.size
            if standing.size > copying.best or standing.size == extent.size:
                copying.best, copying.strikes = standing.size, 0
        return True

    async def _offer(self, peer: str, *, anew: bool) -> None:
        extent = self._extent
        if extent is not None and extent.origin is not None:
            offer = wire.Offer(wire.Origin(*extent.origin), anew)
            await self._mesh.send(peer, Lane.RECORDS, wire.pack(offer))

    async def _send_file(self, peer: str, name: str) -> None:
        data, digest = self._files[name], self._digests[name]
        for offset in range(0, len(data), wire.MAX_PIECE_BYTES):
            part = data[offset : offset + wire.MAX_PIECE_BYTES]
            piece = wire.Piece(name, digest, len(data), offset, part)
            await self._mesh.send(peer, Lane.RECORDS, wire.pack(piece))

    async def _send_rows(self, peer: str, copying: _Copying, standing: wire.Standing) -> bool:
        size = self._due
        if copying.sent >= size or copying.sent - standing.size >= _WINDOW_ROWS:
            return False
        first = copying.sent + 1
        stored, head = await asyncio.to_thread(self._own.rows, first, wire.MAX_ROWS, MAX_ROWS_BYTES)
        if not stored:
            return False
        await self._mesh.send(peer, Lane.RECORDS, wire.pack(wire.Rows(first, tuple(stored), head)))
        copying.sent = first + len(stored) - 1
        return True

    def _say(self, peer: str, code: str, sentence: str) -> None:
        """Report, at most once a minute for each peer and code."""
        now_ns = self._clock.now().boot_ns
        last_ns = self._reported.get((peer, code))
        if last_ns is None or now_ns - last_ns >= _REPORT_NS:
            self._reported[peer, code] = now_ns
            self._report(peer, code, sentence)
