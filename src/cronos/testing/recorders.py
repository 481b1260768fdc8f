"""Recorders: they stand before the real thing, let everything through and remember it."""

from collections.abc import Awaitable, Callable, Sequence

from cronos.ports import Executor, Ledger, Linked, Mesh
from cronos.types import Action, Checkpoint, Lane, Outcome, Plan


class ExecutorRecorder:
    """Remembers what was asked of an executor.

    Attributes:
        calls: ``(method, action ids)``, in order.
    """

    def __init__(self, real: Executor) -> None:
        self._real = real
        self.manifest = real.manifest
        self.calls: list[tuple[str, tuple[str, ...]]] = []

    def plan(self, actions: Sequence[Action]) -> Sequence[Plan | Outcome]:
        """Pass on."""
        self.calls.append(("plan", tuple(action.action_id for action in actions)))
        return self._real.plan(actions)

    def apply(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """Pass on."""
        self._note("apply", plans)
        return self._real.apply(plans)

    def verify(self, plans: Sequence[Plan]) -> Sequence[bool]:
        """Pass on."""
        self._note("verify", plans)
        return self._real.verify(plans)

    def renew(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """Pass on."""
        self._note("renew", plans)
        return self._real.renew(plans)

    def undo(self, plans: Sequence[Plan]) -> Sequence[Outcome]:
        """Pass on."""
        self._note("undo", plans)
        return self._real.undo(plans)

    def observe(self) -> frozenset[str]:
        """Pass on."""
        self.calls.append(("observe", ()))
        return self._real.observe()

    def _note(self, method: str, plans: Sequence[Plan]) -> None:
        self.calls.append((method, tuple(plan.action.action_id for plan in plans)))


class MeshRecorder:
    """Remembers what a node sent and received.

    Attributes:
        sent: ``(peer, lane, bytes)``, in order.
        received: ``(sender, lane, bytes)``, in order.
        links: ``(peer, up)``, in order.
    """

    def __init__(self, real: Mesh) -> None:
        self._real = real
        self.sent: list[tuple[str, Lane, bytes]] = []
        self.received: list[tuple[str, Lane, bytes]] = []
        self.links: list[tuple[str, bool]] = []

    async def start(
        self, receive: Callable[[str, Lane, bytes], Awaitable[None]], linked: Linked
    ) -> None:
        """Pass on, and listen."""

        async def remember(sender: str, lane: Lane, data: bytes) -> None:
            self.received.append((sender, lane, data))
            await receive(sender, lane, data)

        def note(peer: str, up: bool) -> None:
            self.links.append((peer, up))
            linked(peer, up)

        await self._real.start(remember, note)

    def connect(self, peer: str, address: str) -> None:
        """Pass on."""
        self._real.connect(peer, address)

    def forget(self, peer: str) -> None:
        """Pass on."""
        self._real.forget(peer)

    async def send(self, peer: str, lane: Lane, data: bytes) -> None:
        """Pass on; what could not be sent is not remembered."""
        await self._real.send(peer, lane, data)
        self.sent.append((peer, lane, data))

    def peers(self) -> tuple[str, ...]:
        """Pass on."""
        return self._real.peers()

    async def stop(self) -> None:
        """Pass on."""
        await self._real.stop()


class LedgerRecorder:
    """Remembers what was appended to a ledger.

    Attributes:
        appended: one entry for each transaction.
    """

    def __init__(self, real: Ledger) -> None:
        self._real = real
        self.appended: list[tuple[bytes, ...]] = []

    def append(self, records: Sequence[bytes]) -> int:
        """Pass on; what was not stored is not remembered."""
        first = self._real.append(records)
        self.appended.append(tuple(records))
        return first

    def read(self, first: int, count: int) -> Sequence[bytes]:
        """Pass on."""
        return self._real.read(first, count)

    def checkpoint(self) -> Checkpoint:
        """Pass on."""
        return self._real.checkpoint()

    def verify(self) -> Checkpoint:
        """Pass on."""
        return self._real.verify()

    def close(self) -> None:
        """Pass on."""
        self._real.close()
