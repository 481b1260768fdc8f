"""The detector in memory keeps the port's contract; detectors that break it are caught."""

from collections.abc import Sequence

import pytest

from cronos.ports import Detector
from cronos.testing.conformance.detector import DetectorConformance
from cronos.testing.memory_sense import MemoryDetector
from cronos.types import Entity, EntityKind, Finding, Observation, Provenance


class TestMemoryDetector(DetectorConformance):
    flood = 3000
    max_state_bytes = 64 << 10

    def make(self) -> Detector:
        return MemoryDetector()

    def observations(self) -> Sequence[Observation]:
        return [
            Observation(
                "memory",
                seq,
                seq,
                "network_activity",
                Provenance.BIDIRECTIONAL,
                Entity(EntityKind.ADDRESS, f"192.0.2.{seq % 2}"),
            )
            for seq in range(1, 14)
        ]


class _Batched(MemoryDetector):
    """Looks at the first observation of a batch alone."""

    def detect(self, observations: Sequence[Observation]) -> Sequence[Finding]:
        return super().detect(observations[:1])


class _Forgetful(MemoryDetector):
    """Restores nothing."""

    def restore(self, state: bytes) -> None:
        pass


def _suite(make: type[MemoryDetector]) -> DetectorConformance:
    suite = TestMemoryDetector()
    suite.make = make
    return suite


def test_a_detector_that_depends_on_batches_is_caught():
    with pytest.raises(AssertionError):
        _suite(_Batched).test_however_observations_are_batched_the_findings_are_the_same()


def test_a_detector_that_forgets_is_caught():
    suite = _suite(_Forgetful)
    with pytest.raises(AssertionError, match="unbroken"):
        suite.test_restored_in_the_middle_it_goes_on_as_if_nothing_had_happened()
    with pytest.raises(AssertionError, match="no state"):
        suite.test_what_is_no_state_is_refused()


def test_a_detector_without_bounds_is_caught():
    suite = TestMemoryDetector()
    suite.make = lambda: MemoryDetector(capacity=1 << 30)
    suite.max_state_bytes = 10_000
    with pytest.raises(AssertionError, match="State grew"):
        suite.test_state_stays_bounded_under_a_flood_of_actors()
