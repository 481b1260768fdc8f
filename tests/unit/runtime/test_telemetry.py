"""Logs that no stranger's text can steer."""

import io
import json

from cronos.runtime.telemetry import Log
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
