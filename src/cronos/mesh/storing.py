"""One disk for many who wait: batches are stored in a thread, one after the other.

Whatever is noted while a batch is being synced becomes the next one. Who waits is answered when
what it noted is on the disk, or with the error that kept it from there; then everything is written
anew at the next try, which comes with the next who waits, or a second later.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Final

from cronos.errors import CronosError
from cronos.mesh.entries import Stood
from cronos.mesh.outbox import Outbox
from cronos.ports import Clock, Tasks

_RETRY_NS: Final = 1_000_000_000
# What peers told is synced together with what comes a little later; who posts does not wait.
_GATHER_S: Final = 0.01


class Storing:
    """Stores what an outbox has pending.

    Args:
        outbox: open by the first call.
        clock: spaces out tries.
        tasks: run it.
        stored: told each peer whose stream is on the disk further than before, or was asked for.
        failed: told why a batch is not on the disk.
    """

    def __init__(
        self,
        outbox: Outbox,
        clock: Clock,
        tasks: Tasks,
        stored: Callable[[str], None],
        failed: Callable[[CronosError], None],
    ) -> None:
        self._outbox = outbox
        self._clock = clock
        self._tasks = tasks
        self._stored = stored
        self._failed = failed
        self._waiters: list[asyncio.Future[None]] = []
        self._peers: set[str] = set()
        self._durable: dict[str, Stood] = {}
        self._hurry = asyncio.Event()
        self._idle = asyncio.Event()
        self._idle.set()
        self._stopped = False
        self._retry_ns = 0

    def begin(self) -> None:
        """Take what the outbox was opened with for durable."""
        self._durable = {one.peer: one for one in self._outbox.inbox.all_stood()}

    def durable(self, peer: str) -> Stood:
        """Say how far a peer's stream is on the disk."""
        return self._durable.get(peer) or Stood(peer, 0, 0, 0)

    def owe(self, peer: str) -> None:
        """Write down how far a peer's stream is held, and tell when that is done."""
        self._peers.add(peer)
        self._kick()

    async def wait(self) -> None:
        """Return once all that the outbox has pending now is on the disk.

        Raises:
            CronosError: it is not there.
        """
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._hurry.set()
        self._kick()
        await waiter

    def tick(self) -> None:
        """Store what nobody waits for, and try again what failed."""
        due = self._clock.now().boot_ns >= self._retry_ns
        if due and (self._outbox.unwritten or self._peers):
            self._kick()

    def forget(self, peer: str) -> None:
        """Drop what is known of a peer."""
        self._peers.discard(peer)
        self._durable.pop(peer, None)

    async def stop(self) -> None:
        """Store what is pending, and no more after it."""
        self._stopped = True
        self._hurry.set()
        await self._idle.wait()
        if self._outbox.unwritten or self._waiters or self._peers:
            await self._store()

    def _kick(self) -> None:
        if self._idle.is_set() and not self._stopped:
            self._idle.clear()
            self._tasks.spawn(self._run(), "mesh.store")

    async def _run(self) -> None:
        try:
            while self._outbox.unwritten or self._waiters or self._peers:
                if not self._waiters:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(_GATHER_S):
                            await self._hurry.wait()
                self._hurry.clear()
                if not await self._store():
                    break
        finally:
            self._idle.set()

    async def _store(self) -> bool:
        peers, self._peers = self._peers, set()
        stood = [self._outbox.inbox.stood(peer) for peer in peers]
        for one in stood:
            if one != self._durable.get(one.peer):
                self._outbox.note(one)
        waiters, self._waiters = self._waiters, []
        try:
            await asyncio.to_thread(self._outbox.store, self._outbox.take_pending())
        except CronosError as error:
            self._outbox.stale()
            self._peers |= peers
            self._retry_ns = self._clock.now().boot_ns + _RETRY_NS
            self._failed(error)
            _answer(waiters, error)
            return False
        for one in stood:
            self._durable[one.peer] = one
            self._stored(one.peer)
        _answer(waiters, None)
        return True


def _answer(waiters: list[asyncio.Future[None]], error: CronosError | None) -> None:
    for waiter in waiters:
        if waiter.done():
            continue
        if error is None:
            waiter.set_result(None)
        else:
            waiter.set_exception(error)
