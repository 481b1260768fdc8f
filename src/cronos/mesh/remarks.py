"""What the mesh process says of trouble: in the log at once, in the ledger as well, both bounded.

Whoever can make this node complain could otherwise fill its log and its ledger. So each kind of
trouble with each peer is told a few times a minute in the log and once in the ledger; what was left
out is counted, and said with the next of its kind. That somebody is away is in the log alone, for
the ledger has it as a change of the membership; and so is a signature that is late, which happens
to the honest.
"""

from collections.abc import Callable
from typing import Any, Final

from cronos.link.text import plain
from cronos.ports import Clock
from cronos.types import Datum, Defect

_MINUTE_NS: Final = 60_000_000_000
_LOGGED: Final = 5
_KINDS: Final = 256
_TOO_MANY: Final = ("mesh.more", "")
_ORDINARY: Final = frozenset({"mesh.peer_away", "mesh.unreachable", "mesh.unsigned"})
_TOLD: Final = frozenset({"warning", "error"})
_REMEDY: Final = "Look at `cronos mesh peers`, and at the log of whom it names."
_LONGEST: Final = 400

Key = tuple[str, str]


class Remarks:
    """Passes on what the parts of the mesh report.

    Args:
        log: writes a line: level, event and details.
        clock: the time.

    Attributes:
        tell: gives the reflex process a datum for the ledger; None before it is there.
    """

    def __init__(self, log: Callable[..., Any], clock: Clock) -> None:
        self.tell: Callable[[Datum], None] | None = None
        self._log = log
        self._clock = clock
        self._minute = -1
        self._counts: dict[Key, int] = {}
        self._untold: dict[Key, int] = {}
        self._recorded: set[Key] = set()

    def report(self, level: str, event: str, /, **more: object) -> None:
        """Tell what happened, as often as is good."""
        minute = self._clock.now().boot_ns // _MINUTE_NS
        if minute != self._minute:
            self._begin(minute)
        key = event, str(more.get("peer", ""))
        if key not in self._counts and len(self._counts) >= _KINDS:
            key = _TOO_MANY
        self._counts[key] = count = self._counts.get(key, 0) + 1
        if count <= _LOGGED:
            left_out = self._untold.pop(key, 0)
            self._log(level, event, **more, **({"left_out": left_out} if left_out else {}))
            self._record(level, key, more, left_out)

    def _record(self, level: str, key: Key, more: dict[str, object], left_out: int) -> None:
        event, peer = key
        due = level in _TOLD and event not in _ORDINARY and key not in self._recorded
        if due and self.tell is not None:
            self._recorded.add(key)
            reason = f"{event}: {plain(str(more.get('detail', '')), _LONGEST)}"
            self.tell(Defect(f"mesh {plain(peer)}".strip(), left_out, reason, _REMEDY))

    def _begin(self, minute: int) -> None:
        """Begin a minute; what was left out in the last is remembered for its next."""
        self._untold = {key: n - _LOGGED for key, n in self._counts.items() if n > _LOGGED}
        self._minute, self._counts = minute, {}
        self._recorded = set()
