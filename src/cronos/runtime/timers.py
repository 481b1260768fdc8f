"""Many timers on one of the loop's: an event costs a heap's push, not a timer of the system."""

import asyncio
import heapq
from collections.abc import Callable

from cronos.types import Event


class Timers:
    """Rings for each event once its delay is over, in the order in which they come due.

    Args:
        ring: called with each event, on the running loop.
    """

    def __init__(self, ring: Callable[[Event], None]) -> None:
        self._ring = ring
        self._due: list[tuple[float, int, Event]] = []
        self._sequence = 0
        self._waits_for = 0.0  # when the loop calls; 0 while it is not to
        self._handle: asyncio.TimerHandle | None = None

    def after(self, delay_ns: int, event: Event) -> None:
        """Ring for `event` in so many nanoseconds."""
        loop = asyncio.get_running_loop()
        at = loop.time() + delay_ns / 1e9
        self._sequence += 1
        heapq.heappush(self._due, (at, self._sequence, event))
        if self._handle is None or at < self._waits_for:
            self._wait(loop, at)

    def _wait(self, loop: asyncio.AbstractEventLoop, at: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._handle, self._waits_for = loop.call_at(at, self._called), at

    def _called(self) -> None:
        self._handle = None
        loop = asyncio.get_running_loop()
        # uvloop's timers count whole milliseconds: one that comes a little early is on time.
        now = loop.time() + 1e-3
        due: list[tuple[float, int, Event]] = []
        while self._due and self._due[0][0] <= now:
            due.append(heapq.heappop(self._due))
        due.reverse()
        try:
            while due:
                self._ring(due.pop()[2])
        finally:
            for one in due:  # what a fault kept from being rung
                heapq.heappush(self._due, one)
            if self._due:
                self._wait(loop, self._due[0][0])
