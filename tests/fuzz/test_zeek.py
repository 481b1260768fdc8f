from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fuzz.log_inputs import CUTS, mutated, shaped
from tests.unit.sense.logs import survives

from cronos.sense.zeek import ZeekConfig, ZeekSensor

KEYS = [
    "_path",
    "@stream",
    "ts",
    "uid",
    "id.orig_h",
    "id.orig_p",
    "id.resp_h",
    "id.resp_p",
    "id_orig_h",
    "proto",
    "conn_state",
    "history",
    "resp_bytes",
    "func",
    "pdu_type",
    "unit",
    "success",
    "query",
    "status_code",
]
GOOD = (
    b"#separator \\x09",
    b"#fields\tts\tid.orig_h\tconn_state\tx",
    b"#types\ttime\taddr\tstring\tset[count]",
    b"#path\tconn",
    b"1.5\t203.0.113.9\tSF\t1,2",
    b'{"_path":"conn","ts":1.5,"id.orig_h":"203.0.113.9","proto":"tcp","conn_state":"SF"}',
    b'{"_path":"modbus","func":"READ_COILS","pdu_type":"REQ"}',
)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=400) | mutated(*GOOD) | shaped(*KEYS), CUTS)
def test_whatever_comes_the_sensor_gives_readings(data, cuts):
    ZeekSensor.recognise(data)
    survives(ZeekSensor(ZeekConfig(max_line_bytes=300)), data, cuts)


@settings(max_examples=200, deadline=None)
@given(st.lists(st.sampled_from(GOOD[:5]) | st.binary(max_size=40), max_size=12), CUTS)
def test_headers_and_rows_may_come_in_any_order(rows, cuts):
    survives(ZeekSensor(ZeekConfig()), b"#fields\ta\n" + b"\n".join(rows), cuts)
