"""What every `Detector` must do."""

import re
from collections.abc import Iterator, Sequence
from functools import partial
from typing import ClassVar

import msgspec

from cronos.ports import Detector
from cronos.testing.conformance.base import noise, refused, require, same
from cronos.types import Entity, EntityKind, Finding, Observation

_TECHNIQUE = re.compile(r"T\d{4}(\.\d{3})?")
_FLOOD_BATCH = 1000


class DetectorConformance:
    """Subclass and write `make` and `observations`.

    Attributes:
        flood: how many actors, each new, are shown to see that state stays bounded.
        max_state_bytes: what a snapshot may weigh after that.
    """

    flood: ClassVar[int] = 20_000
    max_state_bytes: ClassVar[int] = 16 << 20

    def make(self) -> Detector:
        """Give a fresh detector."""
        raise NotImplementedError

    def observations(self) -> Sequence[Observation]:
        """Give at least four observations of one source, in order, that make a finding."""
        raise NotImplementedError

    def test_the_sample_makes_a_sound_finding(self) -> None:
        """Look at every field that others rely on."""
        findings = self._found(1 << 20)
        require(bool(findings), "The sample makes at least one finding.")
        names = [finding.finding_id for finding in findings]
        same(len(set(names)), len(names), "Each finding has an id of its own.")
        for finding in findings:
            _require_sound(finding)

    def test_however_observations_are_batched_the_findings_are_the_same(self) -> None:
        """Show them one by one, by threes, and all at once."""
        whole = self._found(1 << 20)
        for size in (1, 3, 7):
            same(self._found(size), whole, f"Batches of {size} give the same findings.")

    def test_restored_in_the_middle_it_goes_on_as_if_nothing_had_happened(self) -> None:
        """Hand the state to a new detector after each observation."""
        detector, findings = self.make(), list[Finding]()
        for observation in self.observations():
            findings += _timeless(detector.detect([observation]))
            state, detector = detector.snapshot(), self.make()
            detector.restore(state)
        same(findings, self._found(1), "A restored detector finds what an unbroken one finds.")

    def test_a_snapshot_changes_nothing_and_is_the_same_for_the_same_history(self) -> None:
        """Take two in a row, and one from a twin."""
        one, twin = self.make(), self.make()
        one.detect(self.observations())
        twin.detect(self.observations())
        first = one.snapshot()
        same(one.snapshot(), first, "A snapshot changes nothing.")
        same(twin.snapshot(), first, "The same history gives the same state.")

    def test_what_is_no_state_is_refused(self) -> None:
        """Restore noise, and half a state."""
        detector = self.make()
        detector.detect(self.observations())
        state = detector.snapshot()
        for garbage in (noise(1, 40), state[: len(state) // 2], state + b"\xc1"):
            if garbage != state:
                refused(
                    ValueError,
                    partial(detector.restore, garbage),
                    f"{garbage[:20]!r} is no state, and must be refused with ValueError.",
                )
        same(detector.snapshot(), state, "A refused state leaves the present one alone.")

    def test_nothing_gives_nothing(self) -> None:
        """Show an empty batch."""
        same(tuple(self.make().detect([])), (), "Without observations there is no finding.")

    def test_state_stays_bounded_under_a_flood_of_actors(self) -> None:
        """Show many observations, each of an actor never seen before."""
        detector = self.make()
        for batch in self._flood():
            detector.detect(batch)
        size = len(detector.snapshot())
        require(size <= self.max_state_bytes, f"State grew to {size} bytes.")

    def _found(self, size: int) -> list[Finding]:
        detector, shown = self.make(), self.observations()
        return [
            finding
            for start in range(0, len(shown), size)
            for finding in _timeless(detector.detect(shown[start : start + size]))
        ]

    def _flood(self) -> Iterator[list[Observation]]:
        sample = self.observations()
        last = max(observation.seq for observation in sample)
        for start in range(0, self.flood, _FLOOD_BATCH):
            yield [
                _by_another(sample[n % len(sample)], n, last + 1 + n)
                for n in range(start, start + _FLOOD_BATCH)
            ]


def _by_another(observation: Observation, number: int, seq: int) -> Observation:
    """Give the same deed by an actor never seen before."""
    address = f"10.{number >> 16 & 255}.{number >> 8 & 255}.{number & 255}"
    fields = {
        name: address if name == "src_endpoint.ip" else value
        for name, value in observation.fields.items()
    }
    return msgspec.structs.replace(
        observation, seq=seq, actor=Entity(EntityKind.ADDRESS, address), fields=fields
    )


def _require_sound(finding: Finding) -> None:
    require(0.0 <= finding.confidence <= 1.0, "Confidence is a probability.")
    require(1 <= finding.severity <= 5, "Severity runs from 1 to 5.")
    require(bool(finding.title and finding.explanation), "A finding explains itself to people.")
    require(1 <= len(finding.observations) <= 16, "A finding names 1 to 16 observations.")
    for technique in finding.techniques:
        require(bool(_TECHNIQUE.fullmatch(technique)), f"{technique!r} is no ATT&CK technique.")


def _timeless(findings: Sequence[Finding]) -> list[Finding]:
    """Take out when they were made: only that may differ."""
    return [msgspec.structs.replace(finding, detected_boot_ns=0) for finding in findings]
