"""What every `Registry` must do."""

from cronos.ports import Registry
from cronos.testing.conformance.base import same
from cronos.types import Peer

_ALPHA = Peer("alpha", "192.0.2.1:7443")
_BETA = Peer("beta", "192.0.2.2:7443")


class RegistryConformance:
    """Subclass and write `make`."""

    def make(self) -> tuple[Registry, Registry]:
        """Give two clients of one service in which nobody is entered."""
        raise NotImplementedError

    def test_who_is_entered_is_found_by_all(self) -> None:
        """Enter two, one through each client."""
        one, two = self.make()
        same(one.found(), (), "Nobody is there at first.")
        one.enter(_ALPHA)
        two.enter(_BETA)
        both = ("alpha@192.0.2.1:7443", "beta@192.0.2.2:7443")
        same(one.found(), both, "Both are found, sorted.")
        same(two.found(), both, "Whoever asks.")

    def test_renewing_makes_nothing_double_and_an_address_may_change(self) -> None:
        """Enter the same node again and again, then elsewhere."""
        one, two = self.make()
        for _ in range(3):
            one.enter(_ALPHA)
        same(two.found(), ("alpha@192.0.2.1:7443",), "Entered often is entered once.")
        one.enter(Peer("alpha", "192.0.2.9:7443"))
        same(two.found(), ("alpha@192.0.2.9:7443",), "The latest address counts.")

    def test_who_withdraws_is_found_no_more(self) -> None:
        """Withdraw twice, and enter again."""
        one, two = self.make()
        one.enter(_ALPHA)
        one.withdraw(_ALPHA)
        one.withdraw(_ALPHA)
        same(two.found(), (), "Who is out is out, also twice.")
        one.enter(_ALPHA)
        same(two.found(), ("alpha@192.0.2.1:7443",), "It may come back.")
