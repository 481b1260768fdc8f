"""What every `Sensor` must do."""

import gc
import tracemalloc
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import ClassVar

import msgspec

from cronos.errors import InputError
from cronos.ports import Reading, Sensor, Source
from cronos.testing.conformance.base import noise, require, same
from cronos.testing.memory_sense import MemorySource
from cronos.types import Observation, Provenance

_CUTS = ((1,), (2, 3, 5, 7, 11), (4096,), (100, 0, 1, 0))


class SensorConformance:
    """Subclass and write `make` and `sample`.

    Attributes:
        endless_bytes: how much of one endless record is fed to see that memory stays bounded.
        max_memory_bytes: what reading it may hold at most.
    """

    endless_bytes: ClassVar[int] = 16 << 20
    max_memory_bytes: ClassVar[int] = 12 << 20

    def make(self) -> Sensor:
        """Give a fresh sensor."""
        raise NotImplementedError

    def sample(self) -> bytes:
        """Give a good input of at most 64 KiB that holds at least two observations."""
        raise NotImplementedError

    def test_its_own_format_is_recognised_and_nothing_breaks_recognition(self) -> None:
        """Show the sample, nothing, and noise."""
        sensor = self.make()
        require(sensor.recognise(self.sample()[: 1 << 16]) > 0.5, "A sensor knows its own format.")
        for seed in range(50):
            score = sensor.recognise(noise(seed, seed * seed))
            require(0.0 <= score <= 1.0, "`recognise` gives a number in [0, 1].")

    def test_numbers_begin_at_first_and_rise_strictly(self) -> None:
        """Number the same bytes from 1 and from 101."""
        from_1 = self._numbers(1)
        require(len(from_1) >= 2, "The sample holds at least two observations.")
        require(from_1[0] >= 1, "Numbers begin at `Source.first`.")
        require(all(a < b for a, b in pairwise(from_1)), "Numbers rise strictly.")
        same(self._numbers(101), [n + 100 for n in from_1], "Numbers begin at `Source.first`.")

    def test_however_the_bytes_are_cut_the_readings_are_the_same(self) -> None:
        """Cut into single bytes, odd pieces, pages, and with pauses between."""
        whole = self._readings(MemorySource(self.sample()))
        for cuts in _CUTS:
            cut = self._readings(MemorySource(self.sample(), cuts))
            same(cut, whole, f"Cut into {cuts}, the same bytes give the same readings.")

    def test_a_pause_yields_an_empty_sequence(self) -> None:
        """Give nothing for now before the first byte."""
        batches = self.make().read(MemorySource(self.sample(), (0, 1 << 16)))
        same(tuple(next(iter(batches))), (), "Where nothing is there for now, nothing is yielded.")

    def test_observations_name_their_source_and_never_claim_more_than_it(self) -> None:
        """Read from a source whose voice anyone can imitate."""
        source = MemorySource(self.sample(), name="here", provenance=Provenance.SPOOFABLE)
        for reading in self._readings(source):
            same(reading.source, "here", "A reading names its source.")
            if isinstance(reading, Observation):
                same(reading.provenance, Provenance.SPOOFABLE, "A sensor only lowers provenance.")

    def test_noise_raises_nothing_but_input_error(self) -> None:
        """Read noise, and noise behind a good beginning."""
        head = self.sample()[:64]
        for seed in range(30):
            self._survives(noise(seed, 50 * seed))
            self._survives(head + noise(seed, 300))

    def test_damage_raises_nothing_but_input_error(self) -> None:
        """Flip and cut the sample at 60 places."""
        sample = self.sample()
        for step in range(60):
            at = len(sample) * step // 60
            for byte in (0x00, 0xFF, 0x0A, sample[at] ^ 0x80):
                self._survives(sample[:at] + bytes((byte,)) + sample[at + 1 :])
            self._survives(sample[:at])
            self._survives(sample[:at] + sample[at + 1 :])

    def test_memory_stays_bounded_whatever_comes(self) -> None:
        """Feed records that never end."""
        for byte in (b"a", b"\x00", b"{", b"\xff"):
            peak = self._peak_bytes(self.sample()[:200] + byte, byte)
            require(
                peak <= self.max_memory_bytes,
                f"An endless run of {byte!r} took {peak} bytes of memory.",
            )

    def _readings(self, source: Source) -> list[Reading]:
        return [_timeless(reading) for batch in self.make().read(source) for reading in batch]

    def _numbers(self, first: int) -> list[int]:
        readings = self._readings(MemorySource(self.sample(), first=first))
        return [reading.seq for reading in readings if isinstance(reading, Observation)]

    def _survives(self, data: bytes) -> None:
        try:
            last = 0
            for reading in self._readings(MemorySource(data)):
                if isinstance(reading, Observation):
                    require(reading.seq > last, "Numbers rise strictly, also in damaged input.")
                    last = reading.seq
        except InputError as error:
            require(bool(error.remedy), "An `InputError` has a remedy.")

    def _peak_bytes(self, head: bytes, byte: bytes) -> int:
        source = _EndlessSource(head, byte, self.endless_bytes)
        gc.collect()
        tracemalloc.start()
        try:
            for _ in _until_refused(self.make().read(source)):
                pass
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()


class _EndlessSource(MemorySource):
    """Gives `head`, then `size` bytes that are all the same, and holds none of them."""

    def __init__(self, head: bytes, byte: bytes, size: int) -> None:
        super().__init__(head)
        self._byte = byte
        self._left = size

    def read(self, size: int) -> bytes | None:
        given = super().read(size)
        if given != b"":
            return given
        count = min(size, self._left, 1 << 16)
        self._left -= count
        return self._byte * count


def _until_refused(batches: Iterator[Sequence[Reading]]) -> Iterator[Sequence[Reading]]:
    try:
        yield from batches
    except InputError:
        return


def _timeless(reading: Reading) -> Reading:
    """Take out when it was sensed: only that may differ between two readings."""
    if isinstance(reading, Observation):
        return msgspec.structs.replace(reading, sensed_boot_ns=0)
    return reading
