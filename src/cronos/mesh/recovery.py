"""Getting a node's ledger back from its peers, after its whole directory was lost.

What comes back is what was *replicated*: sealed records, their chain, the epoch packets and the
keys of subjects that open them. All of that is sealed for the node's `state` key, which no peer
has and none can give back: the keystore has to be there already, from a backup or on its token.
Then every record is opened before the copy becomes the ledger, and nobody can forge that. Without
the keystore the chain can be verified and nothing more: the copy is evidence, to be put elsewhere.

A peer may give less than it has, or nothing. So all that are linked are asked, the longest copy is
taken, and of two that contradict each other both are named.
"""

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec

from cronos.errors import CronosError, UnreachableError
from cronos.mesh import wire
from cronos.mesh.keeper import Copy, Keeper, Report
from cronos.mesh.replica import Own, Replica
from cronos.ports import Clock, Mesh, Tasks
from cronos.types import Lane

_ANSWER_S: Final = 10.0
# Of what a peer has said to this node's earlier life so much may come before its first records.
_EARLIER: Final = 8


class Recovered(msgspec.Struct, frozen=True):
    """What came back, from whom, and what each peer said that it keeps."""

    peer: str
    size: int
    head: bytes
    kept: dict[str, int]
    contradicts: tuple[str, ...] = ()


class Around(NamedTuple):
    """What a recovery that runs by itself stands on.

    Attributes:
        me: this node.
        mesh: not started.
        own: this node's ledger, which is empty.
        place: gives a copy; of `me` the one to fill.
        clock: the time.
        tasks: run beside.
        report: takes what is wrong.
        avoid: peers that are not asked.
    """

    me: str
    mesh: Mesh
    own: Own
    place: Callable[[str], Copy]
    clock: Clock
    tasks: Tasks
    report: Report
    avoid: frozenset[str] = frozenset()


class Recovery:
    """Asks peers for this node's own ledger; used once, before that ledger is begun.

    Args:
        me: this node, whose ledger it is.
        mesh: carries records.
        replica: passes on what peers answer.
        progress: told how many records of how many have come.
        avoid: peers that are not asked: what they gave before was not this ledger.
    """

    def __init__(
        self,
        me: str,
        mesh: Mesh,
        replica: Replica,
        progress: Callable[[int, int], None] = lambda _done, _total: None,
        avoid: frozenset[str] = frozenset(),
    ) -> None:
        self._avoid = avoid
        self._me = me
        self._mesh = mesh
        self._replica = replica
        self._progress = progress
        self._answers: dict[str, asyncio.Queue[wire.Message]] = {}

    async def run(self, copy: Copy, patience_s: float, expect: int = 1) -> Recovered | None:
        """Fill an empty copy with the longest that a peer gives; None where nobody keeps any.

        It is neither verified nor the ledger yet.

        Args:
            copy: empty.
            patience_s: how long peers may take to say what they keep.
            expect: how many there are; with the answers of so many nobody waits longer.

        Raises:
            UnreachableError: those that keep one stopped giving; it may be tried again.
            CronosError: the copy cannot be written.
        """
        self._replica.asking(self._hear)
        try:
            kept = await self._survey(patience_s, expect)
            failed: CronosError | None = None
            for peer in sorted(kept, key=lambda one: kept[one].size, reverse=True):
                try:
                    await self._pull(peer, kept[peer], copy)
                except CronosError as error:
                    # Who claims the most is asked first: a liar must not be asked alone.
                    failed = error
                    continue
                return await asyncio.to_thread(_recovered, peer, kept, copy)
            if failed is not None:
                raise failed
            return None
        finally:
            self._replica.asking(None)

    def _hear(self, peer: str, message: wire.Message) -> bool:
        queue = self._answers.get(peer)
        if queue is None or not isinstance(message, wire.Standing | wire.Rows | wire.Piece):
            return False
        if not queue.full():
            queue.put_nowait(message)
        return True

    async def _survey(self, patience_s: float, expect: int) -> dict[str, wire.Standing]:
        """Ask all who are linked, now or within that time, what they keep."""
        kept: dict[str, wire.Standing] = {}
        asked: set[str] = set()
        deadline = asyncio.get_running_loop().time() + patience_s
        while (left := deadline - asyncio.get_running_loop().time()) > 0:
            for peer in set(self._mesh.peers()) - asked - self._avoid:
                asked.add(peer)
                self._answers[peer] = asyncio.Queue(2)
                await self._mesh.send(peer, Lane.RECORDS, wire.pack(wire.Offer(None)))
            for peer in asked - kept.keys():
                if not self._answers[peer].empty():
                    answer = self._answers[peer].get_nowait()
                    if isinstance(answer, wire.Standing):
                        kept[peer] = answer
            if len(kept) >= expect and kept.keys() == asked:
                break
            await asyncio.sleep(min(0.02, left))
        return {
            peer: one
            for peer, one in kept.items()
            if one.size and one.origin is not None and one.origin.instance == self._me
        }

    async def _pull(self, peer: str, standing: wire.Standing, copy: Copy) -> None:
        if standing.origin is None:
            return
        await asyncio.to_thread(copy.begin, msgspec.structs.astuple(standing.origin))
        first = 1
        # What a peer said first may be older than the question: it said it to this node's earlier
        # life. So its copy ends where it gives no more, and not where it said.
        while isinstance(given := await self._rows(peer, first), wire.Rows):
            last = await asyncio.to_thread(copy.append, given.first, given.stored, given.head)
            first = last + 1
            self._progress(last, max(last, standing.size))
        if first <= standing.size:
            raise _stopped(peer, first)
        for name in given.files:
            await asyncio.to_thread(copy.put, name, await self._file(peer, name))

    async def _rows(self, peer: str, first: int) -> wire.Rows | wire.Standing:
        """Ask for records from `first` on; a standing says that there are none."""
        answer = await self._ask(peer, wire.Give(first))
        for _ in range(_EARLIER if first == 1 else 0):
            if not isinstance(answer, wire.Standing) or not answer.size:
                break
            # Still what was said before the first question for records.
            answer = await self._answer(peer, first)
        if isinstance(answer, wire.Standing) and answer.size < first:
            return answer
        if not isinstance(answer, wire.Rows) or answer.first != first:
            raise _stopped(peer, first)
        return answer

    async def _file(self, peer: str, name: str) -> bytes:
        data = bytearray()
        while True:
            piece = await self._ask(peer, wire.Give(len(data), name))
            if not isinstance(piece, wire.Piece) or (piece.name, piece.offset) != (name, len(data)):
                raise _stopped(peer, 0)
            data += piece.data
            if len(data) >= piece.total:
                break
            if not piece.data:
                raise _stopped(peer, 0)
        if hashlib.sha256(data).digest() != piece.digest:
            raise _stopped(peer, 0)
        return bytes(data)

    async def _ask(self, peer: str, message: wire.Give) -> wire.Message:
        """Ask and wait for the answer; what came before it is dropped."""
        queue = self._answers[peer]
        while not queue.empty():
            queue.get_nowait()
        await self._mesh.send(peer, Lane.RECORDS, wire.pack(message))
        return await self._answer(peer, message.first)

    async def _answer(self, peer: str, first: int) -> wire.Message:
        try:
            return await asyncio.wait_for(self._answers[peer].get(), _ANSWER_S)
        except TimeoutError:
            raise _stopped(peer, first) from None


async def recover(
    around: Around,
    seeds: Sequence[str],
    patience_s: float,
    progress: Callable[[int, int], None],
) -> tuple[Copy, Recovered] | None:
    """Link to the seeds for as long as it takes and fill a copy; see `Recovery`.

    Args:
        around: what it stands on.
        seeds: addresses of peers that may keep one.
        patience_s: how long they may take to be linked and say so.
        progress: told how many records of how many have come.

    Raises:
        CronosError: it cannot begin, or was stopped.
    """
    me, mesh, own, place, clock, tasks, report, avoid = around
    keeper = Keeper(mesh, place, tasks, report)
    replica = Replica(me, mesh, own, keeper, clock, tasks, report=report)

    async def receive(peer: str, lane: Lane, data: bytes) -> None:
        if lane is Lane.RECORDS:  # whoever only recovers is no member, and told nothing
            await replica.receive(peer, lane, data)

    await mesh.start(receive, replica.linked)
    try:
        for address in seeds:
            mesh.connect("", address)
        copy = place(me)
        found = await Recovery(me, mesh, replica, progress, avoid).run(copy, patience_s, len(seeds))
    finally:
        await mesh.stop()
        await replica.stop()
    return None if found is None else (copy, found)


def _recovered(peer: str, kept: dict[str, wire.Standing], copy: Copy) -> Recovered:
    """Say what came, and which other copies are not the beginning of it."""
    extent = copy.extent()
    other = tuple(sorted(one for one in kept if not _agrees(kept[one], kept[peer], copy)))
    sizes = {one: standing.size for one, standing in kept.items()}
    return Recovered(peer, extent.size, extent.head, sizes, other)


def _agrees(standing: wire.Standing, longest: wire.Standing, copy: Copy) -> bool:
    _, head = copy.rows(standing.size, 1, 1)
    return standing.origin == longest.origin and head == standing.head


def _stopped(peer: str, first: int) -> UnreachableError:
    return UnreachableError(
        "mesh.recovery_stopped",
        f"{peer} gave nothing (more) of this node's ledger, from record {first} on.",
        "Try again when it is there, or let another peer give its copy.",
    )
