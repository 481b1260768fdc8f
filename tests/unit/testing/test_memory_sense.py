"""The smallest whole path: bytes, observations, a finding."""

import pytest

from cronos.testing.memory_sense import MemoryDetector, MemorySensor, MemorySource
from cronos.types import Defect, Observation


def _readings(data: bytes, **source):
    return [r for batch in MemorySensor().read(MemorySource(data, **source)) for r in batch]


def test_a_bad_line_is_a_defect_between_good_observations():
    one, two, three = _readings(b"scan a b\nnonsense\nscan a c", first=10)
    assert isinstance(one, Observation)
    assert isinstance(two, Defect)
    assert isinstance(three, Observation)
    assert [one.seq, two.position, three.seq] == [10, 11, 12]


def test_an_endless_line_is_one_defect_and_the_next_line_is_read():
    readings = _readings(b"x" * 1_000_000 + b"\nscan a b\n")
    assert [type(reading) for reading in readings] == [Defect, Observation]


def test_every_third_deed_is_reported_by_its_observation():
    observations = [r for r in _readings(b"scan a b\n" * 7) if isinstance(r, Observation)]
    findings = MemoryDetector().detect(observations)
    assert [finding.observations for finding in findings] == [("memory#3",), ("memory#6",)]


def test_the_least_recent_actor_is_forgotten_first():
    detector = MemoryDetector(threshold=2, capacity=2)
    names = ("a", "b", "a", "c", "b", "a")
    lines = b"".join(b"scan %s x\n" % name.encode() for name in names)
    observations = [r for r in _readings(lines) if isinstance(r, Observation)]
    assert [f.observations for f in detector.detect(observations)] == [("memory#3",)]


def test_a_source_remembers_what_was_acknowledged_and_that_it_was_closed():
    source = MemorySource(b"x")
    source.acknowledge(5)
    source.acknowledge(3)
    source.close()
    assert (source.acknowledged, source.closed) == (5, True)


def test_a_state_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="Expected"):
        MemoryDetector().restore(b"\x01")
