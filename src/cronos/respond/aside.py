"""Enforcement points that wait for foreign systems, kept aside so that they delay nobody else.

They have an enforcer of their own, with its own lease book, in a thread of its own: nothing but
orders and finished answers passes between the two, and the budget, which they share. A workload's
slow hook never holds up the block of the next address.
"""

import contextlib
import queue
import socket
import threading
from collections import deque
from typing import Final, Generic, TypeVar

from cronos.ports import Clock
from cronos.respond.enforcer import Enforcer
from cronos.types import Lease, Order, Outcomes

SLOW_POINTS: Final = frozenset({"workflow"})
_MAX_ORDERS: Final = 256
_S_NS: Final = 1_000_000_000
_MS_NS: Final = 1_000_000
# How soon the file of the kill switch is seen where nothing else happens.
_LOOK_S: Final = 0.1

CallerT = TypeVar("CallerT")


class Aside(Generic[CallerT]):
    """Carries orders out in a thread; `woken` becomes readable when there is something to take.

    All methods are for the serving thread; the enforcer is this thread's alone once it began.
    """

    def __init__(self, enforcer: Enforcer, clock: Clock) -> None:
        self._enforcer = enforcer
        self._clock = clock
        self._orders: queue.Queue[tuple[CallerT, Order] | None] = queue.Queue(_MAX_ORDERS)
        self._done: deque[tuple[CallerT | None, Outcomes]] = deque()
        self._fault: BaseException | None = None
        self._unanswered = 0
        self._calls = 0  # how often the kill switch was thrown, and how often that was heeded
        self._heeded = 0
        # What the thread last said of itself; replaced whole, so reading it needs no lock.
        self._state: tuple[tuple[Lease, ...], bool] = (enforcer.held(), enforcer.idle())
        self._stopping = threading.Event()
        self.woken, self._waker = socket.socketpair()
        self.woken.setblocking(False)
        self._waker.setblocking(False)
        self._thread = threading.Thread(target=self._run, name="aside", daemon=True)
        self._thread.start()

    def submit(self, caller: CallerT, order: Order) -> bool:
        """Queue an order, or say that too many wait."""
        try:
            self._orders.put_nowait((caller, order))
        except queue.Full:
            return False
        self._unanswered += 1
        return True

    def take(self) -> list[tuple[CallerT | None, Outcomes]]:
        """Give what was finished: answers with their caller, and news (None), oldest first.

        Raises:
            BaseException: what ended the thread, so that it ends the process too.
        """
        with contextlib.suppress(BlockingIOError):
            while self.woken.recv(4096):
                pass
        taken: list[tuple[CallerT | None, Outcomes]] = []
        while self._done:
            taken.append(self._done.popleft())
        self._unanswered -= sum(caller is not None for caller, _ in taken)
        if self._fault is not None:
            raise self._fault
        return taken

    def heed(self) -> None:
        """Have the thread look at the kill switch as soon as the order under way ends."""
        self._calls += 1
        with contextlib.suppress(queue.Full):  # full: it does not wait for anything
            self._orders.put_nowait(None)

    def settled(self) -> bool:
        """Say whether it has looked since, so that nothing new happens and all was released."""
        return self._heeded == self._calls

    def held(self) -> tuple[Lease, ...]:
        """Give the leases that were in force when the last order was finished."""
        return self._state[0]

    def idle(self) -> bool:
        """Say whether nothing is held, left to undo or waiting."""
        return not self._unanswered and self._state[1]

    def close(self) -> None:
        """Let the order under way end, drop the others unanswered, and end the thread."""
        self._stopping.set()
        with contextlib.suppress(queue.Full):
            self._orders.put_nowait(None)
        self._thread.join()
        self.woken.close()
        self._waker.close()

    def _run(self) -> None:
        try:
            self._say(None, self._enforcer.recover())
            reconcile_ns = self._reconcile_next()
            while not self._stopping.is_set():
                self._work(reconcile_ns)
                calls = self._calls
                news = self._enforcer.expire()
                late, self._heeded = self._heeded != calls, calls
                self._say(None, news)
                if late:
                    self._wake()
                if self._clock.now().boot_ns >= reconcile_ns:
                    self._say(None, self._enforcer.reconcile())
                    reconcile_ns = self._reconcile_next()
        except BaseException as error:  # noqa: BLE001 - raised again where it ends the process
            self._fault = error
            self._wake()

    def _work(self, until_ns: int) -> None:
        """Wait for an order, or until something is due, and carry it out."""
        due = self._enforcer.next_expiry_ns()
        at = until_ns if due is None else min(due, until_ns)
        try:
            waits_s = min(_LOOK_S, max(0, at - self._clock.now().boot_ns) / _S_NS)
            given = self._orders.get(timeout=waits_s)
        except queue.Empty:
            return
        if given is not None and not self._stopping.is_set():
            caller, order = given
            self._say(caller, self._enforcer.handle(order))

    def _reconcile_next(self) -> int:
        return self._clock.now().boot_ns + self._enforcer.config.reconcile_ms * _MS_NS

    def _say(self, caller: CallerT | None, outcomes: Outcomes) -> None:
        self._state = (self._enforcer.held(), self._enforcer.idle())
        if caller is not None or outcomes.outcomes:
            self._done.append((caller, outcomes))
            self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(BlockingIOError):  # full: it is awake already
            self._waker.send(b"\0")
