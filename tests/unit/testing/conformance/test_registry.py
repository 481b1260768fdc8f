"""The suite refuses registries that break its rules."""

import pytest

from cronos.testing.conformance.registry import RegistryConformance
from cronos.testing.memory_registry import MemoryRegistry


class Doubling(MemoryRegistry):
    def found(self):
        return super().found() * 2


class Keeping(MemoryRegistry):
    def withdraw(self, me):
        pass


@pytest.mark.parametrize(
    ("broken", "test"),
    [
        (Doubling, "test_renewing_makes_nothing_double_and_an_address_may_change"),
        (Keeping, "test_who_withdraws_is_found_no_more"),
    ],
)
def test_a_broken_registry_is_caught(broken, test):
    suite = RegistryConformance()
    suite.make = lambda: (broken(), broken())

    with pytest.raises(AssertionError):
        getattr(suite, test)()
