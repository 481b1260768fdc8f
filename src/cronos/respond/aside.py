"""Enforcement points that wait for others, each kept aside so that it delays nobody else.

Each has an enforcer of its own, with its own lease book, in a thread of its own (a *lane*):
nothing but orders and finished answers passes between it and the others, and the budget, which
all share. A workload's slow hook never holds up the block of the next address, nor a cluster that
does not answer the lock of an account.

Which points these are, their executors say by a class attribute that is true: `foreign` for one
that speaks to another system, and runs in a process of its own too; `waits` for one that does
not.
"""

import contextlib
import queue
import select
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, Generic, TypeVar

from cronos.ports import Clock, Executor
from cronos.respond.enforcer import Enforcer
from cronos.types import WORKFLOW_POINT, Action, Lease, Order, Outcomes

_FOLDER: Final = "aside"
_MAX_ORDERS: Final = 256
_S_NS: Final = 1_000_000_000
_MS_NS: Final = 1_000_000
# How soon the file of the kill switch is seen where nothing else happens.
_LOOK_S: Final = 0.1

CallerT = TypeVar("CallerT")


class Aside(Generic[CallerT]):
    """Carries orders out in a thread; `woken` becomes readable when there is something to take.

    All methods are for the serving thread; the enforcer is this thread's alone once it began.

    Args:
        enforcer: of this lane.
        clock: the time.
        lost: hears once, in the thread, which effects no lease holds; None where the book tells.
    """

    def __init__(
        self,
        enforcer: Enforcer,
        clock: Clock,
        lost: Callable[[Sequence[str]], None] | None = None,
    ) -> None:
        self._enforcer = enforcer
        self._clock = clock
        self._lost = lost
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

    def stop(self) -> None:
        """Let the order under way be the last, without waiting for it."""
        self._stopping.set()

    def close(self) -> None:
        """Let the order under way end, drop the others unanswered, and end the thread."""
        self.stop()
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
                    self._look_once()
                    reconcile_ns = self._reconcile_next()
        except BaseException as error:  # noqa: BLE001 - raised again where it ends the process
            self._fault = error
            self._wake()

    def _look_once(self) -> None:
        """Look what is there that no lease holds: not at the start, where orders would wait."""
        lost, self._lost = self._lost, None
        if lost is not None:
            with contextlib.suppress(OSError):  # the log may lie on a full disk
                lost(self._enforcer.unaccounted())

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


class Lanes(Generic[CallerT]):
    """One `Aside` for each enforcement point, behind one face; none waits for another.

    All methods are for the serving thread. It closes what it was given.
    """

    def __init__(self, lanes: Mapping[str, Aside[CallerT]]) -> None:
        self._lanes = dict(lanes)
        self.points = frozenset(self._lanes)
        self.woken = select.epoll()
        for lane in self._lanes.values():
            self.woken.register(lane.woken.fileno(), select.EPOLLIN)

    def submit(self, caller: CallerT, order: Order) -> list[Action]:
        """Queue the parts of an order, each answered alone; give what had no room."""
        parts: dict[str, list[Action]] = {}
        for action in order.actions:
            parts.setdefault(action.enforcement_point, []).append(action)
        full: list[Action] = []
        for point, actions in parts.items():
            part = Order(order.order_id, order.operation, tuple(actions))
            if not self._lanes[point].submit(caller, part):
                full += actions
        return full

    def take(self) -> list[tuple[CallerT | None, Outcomes]]:
        """Give what was finished in any lane; see `Aside.take`."""
        return [taken for lane in self._lanes.values() for taken in lane.take()]

    def heed(self) -> None:
        """Have every lane look at the kill switch; see `Aside.heed`."""
        for lane in self._lanes.values():
            lane.heed()

    def settled(self) -> bool:
        """Say whether every lane has looked at it since; see `Aside.settled`."""
        return all(lane.settled() for lane in self._lanes.values())

    def held(self) -> tuple[Lease, ...]:
        """Give the leases of all lanes; see `Aside.held`."""
        return tuple(lease for lane in self._lanes.values() for lease in lane.held())

    def idle(self) -> bool:
        """Say whether no lane holds, undoes or awaits anything."""
        return all(lane.idle() for lane in self._lanes.values())

    def close(self) -> None:
        """Let what is under way end, in all lanes at once, and end their threads."""
        for lane in self._lanes.values():
            lane.stop()
        for lane in self._lanes.values():
            lane.close()
        self.woken.close()


def waits(executor: Executor) -> bool:
    """Say whether an executor needs a lane of its own: its class says `foreign` or `waits`."""
    return any(bool(getattr(executor, said, False)) for said in ("foreign", "waits"))


def book_folder(folder: Path, point: str) -> Path:
    """Give the folder of a point's own lease book; that of workloads came before the others."""
    return folder / (_FOLDER if point == WORKFLOW_POINT else f"{_FOLDER}-{point}")


def points_with_books(folder: Path, points: Iterable[str]) -> list[str]:
    """Name the points that need a lane: `points`, and those that have left a book behind."""
    left = [path.name for path in folder.glob(f"{_FOLDER}*") if path.is_dir()]
    named = (name.removeprefix(_FOLDER).removeprefix("-") or WORKFLOW_POINT for name in left)
    return sorted({*points, *named})
