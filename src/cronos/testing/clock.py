"""Time and identifiers that a test holds in its hand."""

from cronos.types import Now

_A_WALL_NS = 1_700_000_000_000_000_000


class VirtualClock:
    """A clock that moves when told to; boot and wall time move apart when a test wants it.

    Args:
        boot_ns: where boot time begins.
        wall_ns: where wall time begins.
        boot_id: the name of this boot.
    """

    def __init__(
        self, boot_ns: int = 1, wall_ns: int = _A_WALL_NS, boot_id: str = "boot-1"
    ) -> None:
        self._boot_ns = boot_ns
        self._wall_ns = wall_ns
        self._boot_id = boot_id
        self.wall_uncertainty_ns = 0

    def now(self) -> Now:
        """Give the time that was set."""
        return Now(self._boot_ns, self._wall_ns, self.wall_uncertainty_ns)

    def boot_id(self) -> str:
        """Name the present boot."""
        return self._boot_id

    def advance(self, by_ns: int) -> None:
        """Let time pass, on both clocks.

        Raises:
            ValueError: `by_ns` is negative; boot time never goes back.
        """
        if by_ns < 0:
            raise ValueError(f"boot time cannot go back by {-by_ns} ns")
        self._boot_ns += by_ns
        self._wall_ns += by_ns

    def set_wall(self, wall_ns: int) -> None:
        """Set wall time alone, forward or back, as a person or NTP does."""
        self._wall_ns = wall_ns

    def reboot(self, boot_id: str) -> None:
        """Begin another boot: boot time starts anew, wall time goes on."""
        self._boot_ns = 1
        self._boot_id = boot_id


class SequenceIds:
    """Identifiers that count: ``<instance>-<incarnation>-<kind><sequence>``."""

    def __init__(self, instance: str = "test", incarnation: int = 1) -> None:
        self._prefix = f"{instance}-{incarnation}-"
        self._last: dict[str, int] = {}

    def next(self, kind: str) -> str:
        """Give the next identifier of `kind`, counted from 1."""
        self._last[kind] = self._last.get(kind, 0) + 1
        return f"{self._prefix}{kind}{self._last[kind]}"
