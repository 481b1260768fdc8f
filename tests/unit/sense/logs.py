"""What the tests of the log sensors share: read a sensor to its end, and check every promise."""

import json

from cronos.testing.memory_sense import MemorySource
from cronos.types import Defect, Observation, Provenance, encode


def read_all(sensor, data, cuts=(), *, name="memory", provenance=Provenance.AUTHENTICATED, first=1):
    source = MemorySource(data, cuts, name=name, provenance=provenance, first=first)
    readings = [reading for batch in sensor.read(source) for reading in batch]
    observations = [reading for reading in readings if isinstance(reading, Observation)]
    defects = [reading for reading in readings if isinstance(reading, Defect)]
    return observations, defects


def lines(*records):
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def one(sensor, record, **source):
    data = record if isinstance(record, bytes) else lines(record)
    observations, defects = read_all(sensor, data, **source)
    assert not defects, defects
    assert len(observations) == 1
    return observations[0]


def survives(sensor, data, cuts):
    """Hold a sensor to its port: numbers, bytes, and the same readings however it is cut."""
    observations, defects = read_all(sensor, data)
    numbers = [observation.seq for observation in observations]
    assert numbers == sorted(set(numbers))
    for observation in observations:
        assert encode(observation)
        assert 0 <= observation.time_ns < 1 << 63
    for defect in defects:
        assert encode(defect)
    assert read_all(sensor, data, cuts) == (observations, defects)
    return observations, defects
