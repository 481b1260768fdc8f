"""The backlog: findings that wait while enough is under way, the gravest first.

Nothing is dropped. A report is acknowledged when its last finding has been taken, so that what
waits here holds up the one who reports, and is reported again should this process die.
"""

import heapq
from collections.abc import Callable

from cronos.types import Finding


class _Report:
    def __init__(self, left: int, taken: Callable[[], None]) -> None:
        self.left = left
        self.taken = taken


class Backlog:
    """A priority queue of findings; of two equally grave the earlier comes first."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, float, int, Finding, _Report]] = []
        self._sequence = 0

    def __len__(self) -> int:
        return len(self._heap)

    def put(self, findings: tuple[Finding, ...], taken: Callable[[], None]) -> None:
        """Add a report's findings; `taken` is called when all of them have been got."""
        report = _Report(len(findings), taken)
        if not findings:
            taken()
        for finding in findings:
            self._sequence += 1
            grave = (-finding.severity, -finding.confidence, self._sequence)
            heapq.heappush(self._heap, (*grave, finding, report))

    def get(self) -> tuple[Finding, Callable[[], None]]:
        """Give the gravest finding, and what to call once it has been dealt with."""
        *_, finding, report = heapq.heappop(self._heap)

        def done() -> None:
            report.left -= 1
            if report.left == 0:
                report.taken()

        return finding, done
