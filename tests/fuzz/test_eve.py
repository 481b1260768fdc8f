import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fuzz.log_inputs import CUTS, mutated, shaped
from tests.unit.sense.logs import survives

from cronos.sense.eve import EveConfig, EveSensor

KEYS = [
    "event_type",
    "timestamp",
    "src_ip",
    "src_port",
    "dest_ip",
    "dest_port",
    "proto",
    "direction",
    "app_proto",
    "alert",
    "flow",
    "tcp",
    "dns",
    "http",
    "tls",
    "ssh",
    "modbus",
    "fileinfo",
    "anomaly",
    "netflow",
]
GOOD = (
    (
        b'{"timestamp":"2024-05-01T10:00:00.1+0000","event_type":"flow","src_ip":"203.0.113.9",'
        b'"src_port":1,"proto":"TCP","flow":{"state":"closed"},"tcp":{"tcp_flags_tc":"1b"}}'
    ),
    b'{"event_type":"modbus","proto":"TCP","modbus":{"request":{"write":{"data":[1,2]}}}}',
    b'{"event_type":"dns","dns":{"queries":[{"rrname":"a"}]}}',
)
KINDS = ("alert", "flow", "dns", "http", "tls", "ssh", "modbus", "fileinfo", "anomaly")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400) | mutated(*GOOD) | shaped(*KEYS), CUTS)
def test_whatever_comes_the_sensor_gives_readings(data, cuts):
    EveSensor.recognise(data)
    survives(EveSensor(EveConfig(max_line_bytes=300)), data, cuts)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40, deadline=None)
@given(data=shaped(*KEYS))
def test_each_kind_of_event_may_hold_anything(kind, data):
    data = data.replace(b"{", b'{"event_type":"' + kind.encode() + b'",', 1).replace(b",}", b"}")
    survives(EveSensor(EveConfig()), data, (7,))
