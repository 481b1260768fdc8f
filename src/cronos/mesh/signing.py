"""Signs what was posted, behind its sending: in batches that are gathered for a few milliseconds.

A bulletin hurries; receipts alone wait longer, for at 4 ms each four nodes would spend a core on
signatures. After a batch of many the next one is given time to grow. What could not be signed is
tried again at the next `kick`.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Final

from cronos.errors import CronosError
from cronos.mesh import wire
from cronos.mesh.batches import Batch, Seals, leaf_of
from cronos.mesh.outbox import Outbox
from cronos.ports import Tasks

_GATHER_S: Final = 0.004
_IDLE_GATHER_S: Final = 0.1
_MANY: Final = 16
_GROW_S: Final = 0.1


class Signing:
    """The signatures of what an outbox holds.

    Args:
        seals: signs; None where the federation does not.
        outbox: holds the messages.
        tasks: run it.
        signed: told after each batch.
        failed: told why one was not signed.
    """

    def __init__(
        self,
        seals: Seals | None,
        outbox: Outbox,
        tasks: Tasks,
        signed: Callable[[], None],
        failed: Callable[[CronosError], None],
    ) -> None:
        self._seals = seals
        self._outbox = outbox
        self._tasks = tasks
        self._signed = signed
        self._failed = failed
        self._waiting: deque[int] = deque()
        self._proofs: dict[int, tuple[Batch, int]] = {}
        self._hurry = asyncio.Event()
        self._running = False
        self._stopped = False

    def add(self, positions: Iterable[int], *, hurry: bool) -> None:
        """Let messages wait for their signature; `kick` follows."""
        if self._seals is None:
            return
        self._waiting.extend(positions)
        if hurry:
            self._hurry.set()

    def kick(self) -> None:
        """Sign what waits, unless that is under way."""
        if self._seals is not None and self._waiting and not (self._running or self._stopped):
            self._running = True
            self._tasks.spawn(self._run(self._seals), "mesh.sign")

    def proof(self, position: int) -> tuple[Batch, int] | None:
        """Give the batch that a message was signed in, and its place there."""
        return self._proofs.get(position)

    def prune(self) -> None:
        """Forget the proofs of what the outbox holds no more, once they are the greater part."""
        if len(self._proofs) > 2 * self._outbox.size[0] + wire.MAX_LEAVES:
            for position in [one for one in self._proofs if self._outbox.find(one) is None]:
                del self._proofs[position]

    def stop(self) -> None:
        """Sign no more."""
        self._stopped = True
        self._hurry.set()

    async def _run(self, seals: Seals) -> None:
        try:
            while self._waiting and not self._stopped:
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._hurry.wait(), _IDLE_GATHER_S)
                self._hurry.clear()
                await asyncio.sleep(_GATHER_S)
                if await self._batch(seals) >= _MANY:
                    await asyncio.sleep(_GROW_S)
        except CronosError as error:
            self._failed(error)
        finally:
            self._running = False

    async def _batch(self, seals: Seals) -> int:
        """Sign the longest that wait; give how many they were."""
        waiting = [self._waiting[n] for n in range(min(len(self._waiting), wire.MAX_LEAVES))]
        posted = [one for one in map(self._outbox.find, waiting) if one is not None]
        if posted:
            batch = await seals.sign([leaf_of(p.incarnation, p.of, p.data) for p in posted])
            for index, one in enumerate(posted):
                self._proofs[one.position] = (batch, index)
        for _ in waiting:
            self._waiting.popleft()
        self._signed()
        return len(waiting)
