"""What every `Clock` must do."""

from cronos.ports import Clock
from cronos.testing.conformance.base import require, same

_YEAR_2020_NS = 1_577_836_800_000_000_000


class ClockConformance:
    """Subclass and write `make`."""

    def make(self) -> Clock:
        """Give the clock."""
        raise NotImplementedError

    def test_boot_time_never_goes_back(self) -> None:
        """Look a thousand times."""
        clock = self.make()
        seen = [clock.now().boot_ns for _ in range(1000)]
        same(seen, sorted(seen), "Boot time never goes back.")
        require(seen[0] > 0, "Boot time counts since boot.")

    def test_wall_time_is_in_nanoseconds_and_says_how_sure_it_is(self) -> None:
        """Look at the other two."""
        now = self.make().now()
        require(now.wall_ns > _YEAR_2020_NS, "Wall time is Unix time in nanoseconds.")
        require(now.wall_uncertainty_ns >= 0, "Uncertainty is a width.")

    def test_a_boot_has_one_name(self) -> None:
        """Ask twice, and another clock of the same boot."""
        clock = self.make()
        require(bool(clock.boot_id()), "A boot has a name.")
        same({clock.boot_id(), self.make().boot_id()}, {clock.boot_id()}, "It keeps its name.")
