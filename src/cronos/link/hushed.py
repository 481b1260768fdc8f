"""A log that nobody can fill by misbehaving: of one peer so many lines of a kind, then a count.

What a peer does wrong is told, and a peer can do it a hundred thousand times in a second. Lines
that concern nobody in particular all pass.
"""

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final

from cronos.ports import Clock

_WINDOW_NS: Final = 10_000_000_000
_MOST: Final = 5
_MAX_KINDS: Final = 4_096


class Hushed:
    """Passes on what is reported, within bounds.

    Args:
        report: takes what passes: level, event, and more by name; `peer` says whom it is about.
        clock: the time.
    """

    def __init__(self, report: Callable[..., Any], clock: Clock) -> None:
        self._report = report
        self._clock = clock
        self._said: OrderedDict[tuple[str, str], tuple[int, int]] = OrderedDict()

    def __call__(self, level: str, event: str, **more: Any) -> None:
        """Report it, or count it; the next of its kind tells how many were left out."""
        peer = str(more.get("peer", ""))
        if not peer:
            self._report(level, event, **more)
            return
        now_ns = self._clock.now().boot_ns
        since_ns, count = self._said.pop((event, peer), (now_ns, 0))
        if now_ns - since_ns >= _WINDOW_NS:
            if count > _MOST:
                more["left_out"] = count - _MOST
            since_ns, count = now_ns, 0
        self._said[event, peer] = (since_ns, count + 1)
        if len(self._said) > _MAX_KINDS:
            self._said.popitem(last=False)
        if count < _MOST:
            self._report(level, event, **more)
