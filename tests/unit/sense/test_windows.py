import pytest
from tests.unit.sense.logs import lines, one, read_all

from cronos.sense.eve import EveSensor
from cronos.sense.jsonlines import JsonLinesSensor
from cronos.sense.windows import WindowsConfig, WindowsSensor
from cronos.sense.zeek import ZeekSensor
from cronos.types import Entity, EntityKind, Provenance

PROCESS = {
    "ProcessId": "4480",
    "Image": "C:\\Windows\\System32\\cmd.exe",
    "CommandLine": "cmd /c whoami",
    "ParentImage": "C:\\x.exe",
    "User": "CORP\\bob",
    "UtcTime": "2020-10-09 21:34:57.855",
    "Threat Name": "x",
}
CHANNEL = "Microsoft-Windows-Sysmon/Operational"
PROVIDER = "Microsoft-Windows-Sysmon"
FLAT = {**PROCESS, "EventID": 1, "Channel": CHANNEL, "SourceName": PROVIDER, "Hostname": "WS5.corp"}
BEAT6 = {
    "@timestamp": "2020-10-09T21:34:57Z",
    "event_id": 1,
    "log_name": CHANNEL,
    "source_name": PROVIDER,
    "computer_name": "WS5.corp",
    "event_data": PROCESS,
}
BEAT7 = {
    "@timestamp": "2020-10-09T21:34:57Z",
    "message": "Process Create",
    "winlog": {
        "event_id": "1",
        "channel": CHANNEL,
        "provider_name": PROVIDER,
        "computer_name": "WS5.corp",
        "event_data": PROCESS,
    },
}


def nested(data, mark="#attributes"):
    def attributes(**named):
        return {mark: named} if mark else {f"@{name}": value for name, value in named.items()}

    return {
        "Event": {
            "System": {
                "Provider": attributes(Name=PROVIDER),
                "EventID": 1 if mark else {"#text": "1"},
                "Channel": CHANNEL,
                "Computer": "WS5.corp",
                "TimeCreated": attributes(SystemTime="2020-10-09T21:34:58.000Z"),
            },
            "EventData": data,
        }
    }


ELEMENTS = {"Data": [{"@Name": name, "#text": value} for name, value in PROCESS.items()]}
FORMS = [FLAT, BEAT6, BEAT7, nested(PROCESS), nested(ELEMENTS, ""), nested(PROCESS)["Event"]]


def sensor():
    return WindowsSensor(WindowsConfig())


def security(number, **data):
    return {"EventID": number, "Channel": "Security", "Hostname": "DC1", **data}


@pytest.mark.parametrize("record", FORMS)
def test_every_form_gives_the_same_view(record):
    seen = one(sensor(), record)
    assert seen.activity == "process_activity"
    assert seen.native["EventID"] == 1
    assert seen.native["Channel"] == CHANNEL
    assert seen.native["Provider_Name"] == PROVIDER
    assert seen.native["Computer"] == "WS5.corp"
    assert PROCESS.items() <= seen.native.items()
    assert seen.native["ThreatName"] == "x"
    assert seen.fields["process.cmd_line"] == "cmd /c whoami"
    assert seen.fields["process.pid"] == 4480
    assert seen.fields["device.hostname"] == "ws5.corp"
    assert seen.actor == Entity(EntityKind.USER, "CORP\\bob")
    assert seen.target == Entity(EntityKind.HOST, "ws5.corp")
    assert seen.provenance is Provenance.AUTHENTICATED
    assert seen.time_ns == 1_602_279_297_855_000_000


@pytest.mark.parametrize("record", FORMS)
def test_every_form_is_recognised_and_no_other_sensor_claims_it(record):
    head = lines(record)
    assert WindowsSensor.recognise(head) == 0.9
    assert EveSensor.recognise(head) == ZeekSensor.recognise(head) == 0.0
    assert JsonLinesSensor.recognise(head) == 0.4


def test_a_logon_names_the_address_the_user_and_how_it_ended():
    logon = {
        "TargetUserName": "bob",
        "TargetDomainName": "CORP",
        "IpAddress": "::ffff:203.0.113.9",
        "IpPort": "50000",
        "LogonType": "3",
    }
    for number, status in ((4624, "success"), (4625, "failure")):
        seen = one(sensor(), security(number, **logon))
        assert seen.activity == "authentication"
        assert seen.fields["status"] == status
        assert seen.fields["user.name"] == "bob"
        assert seen.fields["src_endpoint.ip"] == "203.0.113.9"
        assert seen.fields["logon_type_id"] == 3
        assert seen.actor == Entity(EntityKind.ADDRESS, "203.0.113.9")
        assert seen.target == Entity(EntityKind.HOST, "dc1")


@pytest.mark.parametrize("address", ["-", "127.0.0.1", "::1"])
def test_a_local_logon_is_the_users_doing(address):
    seen = one(sensor(), security(4624, TargetUserName="bob", IpAddress=address))
    assert seen.actor == Entity(EntityKind.USER, "bob")


def test_the_end_of_a_session_is_neither_success_nor_failure():
    assert "status" not in one(sensor(), security(4634, TargetUserName="bob")).fields


@pytest.mark.parametrize(
    ("record", "provenance"),
    [
        (security(5156, Direction="%%14592", SourceAddress="203.0.113.9"), Provenance.SPOOFABLE),
        (security(5156, Direction="%%14593", SourceAddress="192.0.2.1"), Provenance.AUTHENTICATED),
        (security(4771, TargetUserName="b", IpAddress="203.0.113.9"), Provenance.SPOOFABLE),
        (security(4625, TargetUserName="b", IpAddress="203.0.113.9"), Provenance.AUTHENTICATED),
        ({**FLAT, "EventID": 3, "Protocol": "udp", "Initiated": "false"}, Provenance.SPOOFABLE),
        ({**FLAT, "EventID": 3, "Protocol": "udp", "Initiated": "true"}, Provenance.AUTHENTICATED),
        ({**FLAT, "EventID": 3, "Protocol": "tcp", "Initiated": "false"}, Provenance.AUTHENTICATED),
    ],
)
def test_what_windows_only_heard_from_one_packet_is_spoofable(record, provenance):
    assert one(sensor(), record).provenance is provenance


def test_a_filtered_connection_names_both_ends():
    seen = one(
        sensor(),
        security(
            5156, SourceAddress="192.0.2.1", SourcePort="1", DestAddress="192.0.2.2", Protocol="6"
        ),
    )
    assert seen.activity == "network_activity"
    assert seen.target == Entity(EntityKind.ADDRESS, "192.0.2.2")
    assert seen.fields["connection_info.protocol_name"] == "tcp"


def test_an_event_nobody_described_is_a_base_event():
    seen = one(sensor(), {"EventID": "102", "Channel": "Directory Service", "Message": "m"})
    assert seen.activity == "base_event"
    assert seen.native["EventID"] == 102


def test_an_object_that_is_no_event_is_a_defect():
    seen, defects = read_all(sensor(), lines({"a": 1}, {"EventID": "x"}, {"Event": {"System": {}}}))
    assert not seen
    assert [defect.position for defect in defects] == [1, 2, 3]
