from hypothesis import given, settings
from hypothesis import strategies as st
from tests.fuzz.log_inputs import CUTS, mutated, shaped
from tests.unit.sense.logs import survives

from cronos.sense.windows import WindowsConfig, WindowsSensor

KEYS = [
    "EventID",
    "Channel",
    "Hostname",
    "SourceName",
    "EventData",
    "Event",
    "winlog",
    "event_data",
    "log_name",
    "event_id",
    "System",
    "UtcTime",
    "IpAddress",
    "TargetUserName",
    "Image",
    "User",
    "Protocol",
    "Direction",
    "Status",
    "Provider_Name",
]
GOOD = (
    b'{"EventID":4625,"Channel":"Security","IpAddress":"203.0.113.9","TargetUserName":"b"}',
    b'{"Event":{"System":{"EventID":1,"Provider":{"#attributes":{"Name":"x"}}},"EventData":{}}}',
    b'{"winlog":{"event_id":"1","channel":"Security","event_data":{"a b":1}}}',
    b'{"EventID":1,"EventData":"<Data Name=\\"a\\">b</Data>"}',
)
CHANNELS = ("Security", "System", "Microsoft-Windows-Sysmon/Operational")
NUMBERS = (1, 3, 5, 7, 8, 10, 13, 22, 1102, 4624, 4672, 4688, 4768, 4776, 5145, 5156, 7045)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400) | mutated(*GOOD) | shaped(*KEYS), CUTS)
def test_whatever_comes_the_sensor_gives_readings(data, cuts):
    WindowsSensor.recognise(data)
    survives(WindowsSensor(WindowsConfig(max_line_bytes=300)), data, cuts)


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(CHANNELS), st.sampled_from(NUMBERS), shaped(*KEYS[5:], "Initiated"))
def test_each_known_event_may_hold_anything(channel, number, data):
    known = f'{{"EventID":{number},"Channel":"{channel}",'.encode()
    survives(
        WindowsSensor(WindowsConfig()), data.replace(b"{", known, 1).replace(b",}", b"}"), (7,)
    )
