"""The sensor in memory keeps the port's contract; sensors that break it are caught."""

from collections.abc import Iterator, Sequence

import msgspec
import pytest

from cronos.ports import Reading, Sensor, Source
from cronos.testing.conformance.sensor import SensorConformance
from cronos.testing.memory_sense import MemorySensor
from cronos.types import Observation


class TestMemorySensor(SensorConformance):
    endless_bytes = 4 << 20

    def make(self) -> Sensor:
        return MemorySensor()

    def sample(self) -> bytes:
        return b"network_activity 192.0.2.7 198.51.100.2\nnoise\nauthentication 192.0.2.8 a\n" * 5


class _Repeating(MemorySensor):
    """Gives every observation the same number."""

    def read(self, source: Source) -> Iterator[Sequence[Reading]]:
        for batch in super().read(source):
            yield [
                msgspec.structs.replace(reading, seq=1)
                if isinstance(reading, Observation)
                else reading
                for reading in batch
            ]


class _Raising(MemorySensor):
    """Trips over what is not UTF-8."""

    def read(self, source: Source) -> Iterator[Sequence[Reading]]:
        while piece := source.read(1 << 20):
            piece.decode()
            yield []


class _Hoarding(MemorySensor):
    """Keeps everything until the end."""

    def read(self, source: Source) -> Iterator[Sequence[Reading]]:
        kept = b""
        while piece := source.read(1 << 20):
            kept += piece
        yield []


def _suite(sensor: type[MemorySensor]) -> SensorConformance:
    suite = TestMemorySensor()
    suite.make = sensor
    return suite


def test_a_sensor_that_repeats_numbers_is_caught():
    with pytest.raises(AssertionError, match="rise strictly"):
        _suite(_Repeating).test_numbers_begin_at_first_and_rise_strictly()


def test_a_sensor_that_raises_on_noise_is_caught():
    with pytest.raises(UnicodeDecodeError):
        _suite(_Raising).test_noise_raises_nothing_but_input_error()


def test_a_sensor_that_hoards_is_caught():
    suite = _suite(_Hoarding)
    suite.max_memory_bytes = 1 << 20
    with pytest.raises(AssertionError, match="bytes of memory"):
        suite.test_memory_stays_bounded_whatever_comes()
