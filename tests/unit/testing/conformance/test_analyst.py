"""The analysts keep the port's contract; one that weakens is caught."""

import msgspec
import pytest

from cronos.intel.deterministic import DeterministicAnalyst, DeterministicConfig
from cronos.ports import Analyst
from cronos.testing.conformance.analyst import AnalystConformance
from cronos.testing.memory_people import MemoryAnalyst


class TestMemoryAnalyst(AnalystConformance):
    def make(self) -> Analyst:
        return MemoryAnalyst()


class TestDeterministicAnalyst(AnalystConformance):
    def make(self) -> Analyst:
        return DeterministicAnalyst(DeterministicConfig())


class _Soothing(MemoryAnalyst):
    async def assess(self, incident, findings):
        said = await super().assess(incident, findings)
        return msgspec.structs.replace(said, severity_shown=1)


class _Parroting(MemoryAnalyst):
    async def assess(self, incident, findings):
        said = await super().assess(incident, findings)
        return msgspec.structs.replace(said, summary=incident.title[:100])


def test_an_analyst_that_lowers_severity_is_caught():
    suite = TestMemoryAnalyst()
    suite.make = _Soothing
    with pytest.raises(AssertionError, match="raised"):
        suite.test_the_severity_shown_is_never_lower_and_never_beyond_5()


def test_an_analyst_that_repeats_control_characters_is_caught():
    suite = TestMemoryAnalyst()
    suite.make = _Parroting
    with pytest.raises(AssertionError, match="taken out"):
        suite.test_hostile_text_stays_text_on_the_line_it_stands_on()
