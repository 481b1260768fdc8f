"""Who among the members does something next: the least loaded, or each in turn.

Work for a role goes to those who have that role by themselves; where nobody linked has it, to
anybody. How busy a member is it says itself, to its neighbours (`memberwire.Load`), and is believed
as far as that goes: who says that it is idle gets work, and is replaced when it does not do it.

Loads are compared by steps, each twice the one before, and who is on the same step is told apart by
the caller's own order: so nothing moves because somebody is busier by a little for a moment.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from cronos.mesh.memberwire import Load
from cronos.ports import Clock

_QUEUED: Final = 256
_KEPT_MIB: Final = 256
# From this step on a member is left out of turns, as long as another is not.
BUSY: Final = 3
_LOOK_NS: Final = 30_000_000_000
_MIB: Final = 1 << 20


def step(load: Load | None) -> int:
    """Give a load's step: 0 is idle, and who has not said it counts as that."""
    if load is None:
        return 0
    queued = (load.queued // _QUEUED).bit_length()
    kept = (load.kept_mib // _KEPT_MIB).bit_length()
    return max(queued, kept, load.health)


class Balance:
    """Chooses among members.

    Args:
        roles: gives the roles that each member has by itself.
        loads: gives what each has said of itself.
    """

    def __init__(
        self,
        roles: Callable[[], Mapping[str, Sequence[str]]],
        loads: Callable[[], Mapping[str, Load]],
    ) -> None:
        self._roles = roles
        self._loads = loads
        self._turn = 0

    def least_loaded(self, role: str, among: Sequence[str], steps: int = 1) -> list[str]:
        """Give all of `among`, the best for work of a role first; equals stay in their order.

        So many steps count as one: for work that is dear to move.
        """
        roles, loads = self._roles(), self._loads()
        return sorted(
            among, key=lambda one: (role not in roles.get(one, ()), step(loads.get(one)) // steps)
        )

    def in_turn(self, role: str, among: Sequence[str]) -> str:
        """Give the next of `among` for a role, or for any where it is empty; "" where none is.

        Who is busy is passed over while another is not.
        """
        roles, loads = self._roles(), self._loads()
        fit = [one for one in among if not role or role in roles.get(one, ())] or list(among)
        free = [one for one in fit if step(loads.get(one)) < BUSY] or fit
        self._turn += 1
        return free[self._turn % len(free)] if free else ""


class Burden:
    """How busy this node is, apart from its health.

    Args:
        queued: counts what waits here for peers.
        folder: in which copies of peers' ledgers lie; it is looked at twice a minute.
        clock: the time.
    """

    def __init__(self, queued: Callable[[], int], folder: Path, clock: Clock) -> None:
        self._queued = queued
        self._folder = folder
        self._clock = clock
        self._kept_mib = 0
        self._look_ns = 0

    def __call__(self) -> Load:
        """Say it."""
        now_ns = self._clock.now().boot_ns
        if now_ns >= self._look_ns:
            self._look_ns = now_ns + _LOOK_NS
            found = self._folder.glob("*/ledger.db*")
            self._kept_mib = sum(_size(path) for path in found) // _MIB
        return Load(self._queued(), self._kept_mib)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0
