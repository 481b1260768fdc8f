"""What every `Ids` must do."""

import re
from collections.abc import Sequence

from cronos.ports import Ids
from cronos.testing.conformance.base import require, same

_FORM = re.compile(r"[a-z0-9][a-z0-9_-]*-[0-9]+-i[0-9]+")


class IdsConformance:
    """Subclass and write `make`; `incarnations` where identifiers outlive a process."""

    def make(self) -> Ids:
        """Give the identifiers of one process."""
        raise NotImplementedError

    def incarnations(self) -> Sequence[Ids]:
        """Give those of the same instance before and after a restart."""
        return (self.make(),)

    def test_no_identifier_comes_twice(self) -> None:
        """Draw a thousand of two kinds, in every incarnation."""
        drawn = [
            ids.next(kind) for ids in self.incarnations() for kind in "ib" for _ in range(1000)
        ]
        same(len(set(drawn)), len(drawn), "No identifier comes twice.")

    def test_an_identifier_has_its_form(self) -> None:
        """Look at one."""
        drawn = self.make().next("i")
        require(
            bool(_FORM.fullmatch(drawn)), f"{drawn!r} is not <instance>-<incarnation>-<kind><n>."
        )
