from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fuzz.log_inputs import CUTS, mutated, shaped
from tests.unit.sense.logs import survives

from cronos.sense.jsonlines import JsonLinesConfig, JsonLinesSensor

GOOD = (b"[", b"]", b'{"a": [1, {"b": "}"}]},', b'{"Records": [', b"{", b'"x": 1}', b"[{", b"{}")


@settings(max_examples=300, deadline=None)
@given(
    st.binary(max_size=400)
    | mutated(*GOOD)
    | shaped("@timestamp", "eventTime", "Type", "Records")
    | st.lists(st.sampled_from(GOOD), max_size=12).map(b"\n".join),
    CUTS,
)
def test_whatever_comes_the_sensor_gives_readings(data, cuts):
    JsonLinesSensor.recognise(data)
    survives(JsonLinesSensor(JsonLinesConfig(max_line_bytes=200)), data, cuts)
