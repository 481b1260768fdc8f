"""A sink keeps the whole incident; a model refuses rows of another width."""

import pytest

from cronos.testing.conformance.samples import incident
from cronos.testing.memory_bulk import MemoryModel, MemorySink


def test_a_sink_keeps_incidents_whole():
    sink = MemorySink()
    sink.write([incident()])
    assert sink.written == (incident(),)


def test_a_row_of_another_width_is_refused():
    with pytest.raises(ValueError, match="longer"):
        MemoryModel((1.0, 2.0)).score([(1.0,)])
