import pytest
from tests.unit.sense.logs import lines, one, read_all

from cronos.config import convert
from cronos.errors import InputError
from cronos.sense.eve import EveConfig, EveSensor
from cronos.sense.jsonlines import JsonLinesSensor
from cronos.sense.windows import WindowsSensor
from cronos.sense.zeek import ZeekSensor
from cronos.types import Provenance

BASE = {
    "timestamp": "2024-05-01T10:00:00.123456+0000",
    "flow_id": 1,
    "src_ip": "203.0.113.9",
    "src_port": 4242,
    "dest_ip": "192.0.2.10",
    "dest_port": 80,
    "proto": "TCP",
}


def sensor(**options):
    return EveSensor(EveConfig(**options))


def event(kind, **more):
    return {**BASE, "event_type": kind, **more}


def flow(state, flags, **more):
    return event(
        "flow", flow={"state": state, "pkts_toclient": 3}, tcp={"tcp_flags_tc": flags}, **more
    )


def test_an_alert_names_the_signature_and_its_severity_upside_down():
    alert = {"signature": "ET SCAN probe", "severity": 1, "signature_id": 7}
    seen = one(sensor(), event("alert", alert=alert, app_proto="http"))
    assert seen.activity == "detection_finding"
    assert seen.fields["finding_info.title"] == "ET SCAN probe"
    assert seen.fields["severity_id"] == 5
    assert seen.fields["metadata.log_name"] == "alert"
    assert seen.time_ns == 1_714_557_600_123_456_000
    assert (seen.actor.value, seen.target.value) == ("203.0.113.9", "192.0.2.10")
    assert seen.provenance is Provenance.BIDIRECTIONAL


def test_the_record_is_kept_as_it_was():
    record = event("stats", stats={"uptime": 5})
    assert one(sensor(), record).native == record


def test_a_packet_of_the_server_still_names_the_client_first():
    seen = one(sensor(), event("alert", alert={}, direction="to_client"))
    assert (seen.actor.value, seen.target.value) == ("192.0.2.10", "203.0.113.9")
    assert seen.fields["src_endpoint.port"] == 80


def test_an_alert_on_a_lone_packet_is_spoofable():
    assert one(sensor(), event("alert", alert={})).provenance is Provenance.SPOOFABLE
    failed = one(sensor(), event("alert", alert={}, app_proto="failed"))
    assert failed.provenance is Provenance.SPOOFABLE


@pytest.mark.parametrize(
    ("record", "provenance"),
    [
        (flow("established", "12"), Provenance.BIDIRECTIONAL),
        (flow("closed", "1b"), Provenance.BIDIRECTIONAL),
        # SYN-ACK and RST go to anybody who claims an address.
        (flow("closed", "16"), Provenance.SPOOFABLE),
        (flow("new", "1b"), Provenance.SPOOFABLE),
        (flow("closed", "zz"), Provenance.SPOOFABLE),
        ({**flow("established", "00"), "proto": "UDP"}, Provenance.SPOOFABLE),
    ],
)
def test_a_flow_is_trusted_once_the_server_said_more_than_a_handshake(record, provenance):
    assert one(sensor(), record).provenance is provenance


def test_a_flow_says_how_it_ended():
    unanswered = event("flow", flow={"state": "new", "pkts_toclient": 0, "bytes_toserver": 60})
    seen = one(sensor(), unanswered)
    assert seen.fields["status"] == "no_answer"
    assert seen.fields["traffic.bytes_out"] == 60
    refused = event("flow", flow={"pkts_toclient": 1}, tcp={"rst": True})
    assert one(sensor(), refused).fields["status"] == "refused"
    assert one(sensor(), flow("closed", "1b")).fields["status"] == "closed"


def test_midstream_pickup_takes_the_trust_from_application_events():
    record = event("http", http={"hostname": "h", "url": "/x", "http_method": "GET", "status": 200})
    seen = one(sensor(), record)
    assert seen.provenance is Provenance.BIDIRECTIONAL
    assert seen.fields["http_request.url.path"] == "/x"
    assert seen.fields["http_response.code"] == 200
    assert one(sensor(midstream=True), record).provenance is Provenance.SPOOFABLE


def test_the_transport_limits_the_trust():
    seen = one(sensor(), flow("established", "1b"), provenance=Provenance.SPOOFABLE)
    assert seen.provenance is Provenance.SPOOFABLE


@pytest.mark.parametrize(
    "dns",
    [
        {"type": "query", "rrname": "a.example", "rrtype": "A"},
        {"version": 3, "queries": [{"rrname": "a.example", "rrtype": "A"}]},
        {"version": 2, "type": "answer", "rrname": "a.example", "rrtype": "A", "rcode": "NOERROR"},
    ],
)
def test_dns_of_each_version_names_what_was_asked(dns):
    seen = one(sensor(), {**event("dns", dns=dns), "proto": "UDP"})
    assert seen.activity == "dns_activity"
    assert seen.fields["query.hostname"] == "a.example"
    assert seen.provenance is Provenance.SPOOFABLE


def test_a_modbus_write_gives_its_function_address_and_values():
    request = {
        "transaction_id": 1,
        "unit_id": 2,
        "function_raw": 16,
        "write": {"address": 7, "quantity": 3, "data": [5, 900, 1]},
    }
    seen = one(sensor(), event("modbus", modbus={"request": request, "response": {}}))
    assert seen.activity == "modbus"
    assert seen.fields["modbus.function_code"] == 16
    assert seen.fields["modbus.address"] == 7
    assert seen.fields["modbus.value"] == 5
    assert seen.fields["modbus.max_value"] == 900
    assert seen.fields["modbus.min_value"] == 1
    assert seen.fields["modbus.direction"] == "request"


@pytest.mark.parametrize(
    ("record", "activity", "field"),
    [
        (event("tls", tls={"sni": "x.example"}), "network_activity", "tls.sni"),
        (
            event("ssh", ssh={"client": {"software_version": "O"}}),
            "network_activity",
            "ssh.client.software",
        ),
        (event("fileinfo", fileinfo={"filename": "/a"}), "file_activity", "file.path"),
        (event("anomaly", anomaly={"type": "stream", "event": "e"}), "base_event", "anomaly.type"),
    ],
)
def test_other_events_have_their_activity(record, activity, field):
    seen = one(sensor(), record)
    assert seen.activity == activity
    assert field in seen.fields


def test_fields_of_the_wrong_type_are_left_out():
    odd = {"event_type": ["alert"], "proto": 6, "src_ip": {}, "src_port": "x", "timestamp": {}}
    seen = one(sensor(), odd)
    assert seen.activity == "base_event"
    assert seen.actor is None
    assert seen.time_ns == 0
    for kind in ("alert", "flow", "dns", "http", "modbus", "tls", "ssh", "fileinfo", "anomaly"):
        one(sensor(), event(kind, **{kind: [1], "tcp": 5}))
        one(sensor(), event(kind, **{kind: {"request": 5, "queries": [5], "severity": "x"}}))


def test_eve_is_told_from_the_other_formats():
    head = lines(event("flow", flow={}))
    assert EveSensor.recognise(head) == 1.0
    assert ZeekSensor.recognise(head) == WindowsSensor.recognise(head) == 0.0
    assert JsonLinesSensor.recognise(head) < EveSensor.recognise(head)
    assert EveSensor.recognise(b"\xd4\xc3\xb2\xa1\x02\0") == 0.0
    assert EveSensor.recognise(b"") == 0.0


def test_a_broken_line_is_one_defect():
    seen, defects = read_all(sensor(), lines(event("flow")) + b"{torn\n" + lines(event("dns")))
    assert [observation.seq for observation in seen] == [1, 3]
    assert [defect.position for defect in defects] == [2]


def test_unknown_options_are_refused():
    with pytest.raises(InputError, match="midstreem"):
        convert({"midstreem": True}, EveConfig, "cronos.toml")
