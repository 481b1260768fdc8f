"""The virtual clock keeps the port's contract."""

from cronos.ports import Clock
from cronos.testing.clock import VirtualClock
from cronos.testing.conformance.clock import ClockConformance


class TestVirtualClock(ClockConformance):
    def make(self) -> Clock:
        return VirtualClock()
