"""Every log of the open corpus is read whole, and `native` is what the source itself said."""

import gzip
import json
import pathlib

import pytest
from tests.unit.sense.logs import read_all

from cronos.sense.eve import EveConfig, EveSensor
from cronos.sense.jsonlines import JsonLinesConfig, JsonLinesSensor
from cronos.sense.syslog import SyslogConfig, SyslogSensor
from cronos.sense.windows import WindowsConfig, WindowsSensor
from cronos.sense.zeek import ZeekConfig, ZeekSensor

DATA = pathlib.Path(__file__).parents[3] / "shared" / "data" / "detection"
SENSORS = (
    EveSensor(EveConfig()),
    ZeekSensor(ZeekConfig()),
    WindowsSensor(WindowsConfig()),
    SyslogSensor(SyslogConfig()),
    JsonLinesSensor(JsonLinesConfig()),
)
ZEEK = sorted((DATA / "samples" / "zeek").glob("*.gz"))
EVENTS = sorted((DATA / "events").glob("*.gz"))
# What the flat view adds or puts right; everything else is untouched.
ADDED = {"Provider_Name", "Computer", "EventType", "EventID"}

pytestmark = pytest.mark.skipif(
    not ZEEK or not EVENTS, reason="the detection corpus is not beside the repository"
)


def chosen(data):
    scores = [(sensor.recognise(data[:65536]), sensor) for sensor in SENSORS]
    return max(scores, key=lambda score: score[0])


@pytest.mark.parametrize("path", ZEEK, ids=lambda path: path.name)
def test_a_zeek_log_is_read_whole_and_unchanged(path):
    data = gzip.decompress(path.read_bytes())
    score, sensor = chosen(data)
    assert isinstance(sensor, ZeekSensor)
    assert score > 0.9
    observations, defects = read_all(sensor, data)
    assert not defects
    assert [one.native for one in observations] == [json.loads(line) for line in data.splitlines()]
    assert all(one.time_ns for one in observations)


@pytest.mark.slow
@pytest.mark.parametrize("path", EVENTS, ids=lambda path: path.name.removesuffix(".gz"))
def test_an_event_file_is_read_whole_and_unchanged(path):
    data = gzip.decompress(path.read_bytes())
    score, sensor = chosen(data)
    if path.name.endswith(".csv.gz"):
        assert score == 0.0  # comma-separated values are no log format of ours
        return
    observations, defects = read_all(sensor, data)
    assert observations
    assert not defects
    assert all(one.time_ns for one in observations)
    if isinstance(sensor, SyslogSensor):
        return
    lines = data.split(b"\n")
    for one in observations[:500]:
        record = json.loads(lines[one.position - 1])
        own = record.get("event_data", {}) if "event_id" in record else record
        for key, value in own.items():
            assert key in ADDED or one.native[key] == value


def test_a_json_log_and_the_same_log_as_a_table_are_one():
    data = gzip.decompress(next(path for path in ZEEK if "NASHUA_conn" in path.name).read_bytes())
    records = [json.loads(line) for line in data.splitlines()]
    names = sorted({name for record in records for name in record} - {"@stream", "@system"})
    kinds = ["double" if name in ("ts", "duration") else "string" for name in names]
    kinds = ["count" if name.endswith(("_p", "bytes", "pkts")) else kind
             for name, kind in zip(names, kinds, strict=True)]  # fmt: skip
    rows = ["\t".join(str(record.get(name, "-")) for name in names) for record in records]
    table = "#path\tconn\n#fields\t{}\n#types\t{}\n".format("\t".join(names), "\t".join(kinds))
    from_table, defects = read_all(ZeekSensor(ZeekConfig()), (table + "\n".join(rows)).encode())
    from_json, _ = read_all(ZeekSensor(ZeekConfig()), data)
    assert not defects
    assert [
        (one.time_ns, one.actor, one.target, one.provenance, one.fields) for one in from_table
    ] == [(one.time_ns, one.actor, one.target, one.provenance, one.fields) for one in from_json]
