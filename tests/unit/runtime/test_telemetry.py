"""Logs that no stranger's text can steer, and metrics that stay small."""

import io
import json

import pytest

from cronos.runtime.telemetry import Log, MemoryMetrics, plain
from cronos.testing.clock import VirtualClock


def test_a_line_is_one_json_object_with_the_promised_keys():
    stream = io.StringIO()

    Log("north", VirtualClock(), stream).write("info", "x.happened", "north-1-1", detail="a\nb")

    line = json.loads(stream.getvalue())
    assert list(line)[:5] == ["ts", "level", "event", "node", "incident"]
    assert "\n" not in line["detail"]


def test_what_is_less_than_asked_for_is_not_written():
    stream = io.StringIO()

    Log("north", VirtualClock(), stream, least="warning").write("info", "x.happened")

    assert stream.getvalue() == ""


def test_a_log_that_cannot_be_written_stops_nothing():
    class Full(io.StringIO):
        def write(self, _text):
            raise OSError(28, "No space left on device")

    Log("north", VirtualClock(), Full()).write("error", "x.happened")


@pytest.mark.parametrize(
    "text", ["\x1b[31mred", "a\u202eb", "zero\u200bwidth", "line\nfeed", "nul\x00", "\ud800"]
)
def test_control_and_bidirectional_characters_are_replaced(text):
    assert all(ord(c) >= 32 and c not in "\u202e\u200b\ud800" for c in plain(text))


def test_metrics_count_and_measure_within_bounds():
    metrics = MemoryMetrics()
    metrics.count("a")
    metrics.count("a", 4)
    metrics.gauge("g", 2.5)
    for value in range(10_000):
        metrics.observe("d", value)

    assert metrics.counters["a"] == 5
    assert metrics.gauges["g"] == 2.5
    assert metrics.quantile("d", 0.5) > 5_000
    assert metrics.quantile("nothing", 0.5) == 0.0
