import pytest
from tests.unit.sense.logs import lines, one, read_all

from cronos.sense.zeek import ZeekConfig, ZeekSensor
from cronos.types import Provenance

CONN = {
    "_path": "conn",
    "ts": 1588205199.82437,
    "uid": "C1",
    "id.orig_h": "203.0.113.9",
    "id.orig_p": 4242,
    "id.resp_h": "192.0.2.10",
    "id.resp_p": 22,
    "proto": "tcp",
}
TSV = b"""#separator \\x09
#set_separator\t,
#empty_field\t(empty)
#unset_field\t-
#path\tconn
#fields\tts\tuid\tid.orig_h\tid.orig_p\tid.resp_h\tid.resp_p\tproto\tconn_state\thistory
#types\ttime\tstring\taddr\tport\taddr\tport\tenum\tstring\tstring
1588205199.824370\tC1\t203.0.113.9\t4242\t192.0.2.10\t22\ttcp\tSF\tShAdDaFf
"""


def sensor():
    return ZeekSensor(ZeekConfig())


def conn(state, history, **more):
    return {**CONN, "conn_state": state, "history": history, **more}


def test_json_and_table_say_the_same():
    table = one(sensor(), TSV)
    json = one(sensor(), conn("SF", "ShAdDaFf", orig_bytes=1))
    assert table.activity == json.activity == "network_activity"
    assert (table.actor, table.target) == (json.actor, json.target)
    assert table.provenance is json.provenance is Provenance.BIDIRECTIONAL
    assert table.time_ns == json.time_ns == 1_588_205_199_824_370_000
    assert table.position == 8
    assert table.fields["dst_endpoint.port"] == 22


def test_underscored_keys_and_iso_times_are_read_alike():
    record = {
        "@stream": "conn",
        "ts": "2018-03-24T17:15:20.630422Z",
        "id_orig_h": "203.0.113.9",
        "id_orig_p": 1,
        "id_resp_h": "192.0.2.10",
        "id_resp_p": 2,
        "conn_state": "S0",
        "proto": "tcp",
    }
    seen = one(sensor(), record)
    assert seen.fields["src_endpoint.port"] == 1
    assert seen.fields["status"] == "no_answer"
    assert seen.time_ns == 1_521_911_720_630_422_000
    assert seen.native == record


@pytest.mark.parametrize(
    ("record", "provenance"),
    [
        (conn("SF", "ShAdDaFf"), Provenance.BIDIRECTIONAL),
        (conn("RSTO", "ShADdaR"), Provenance.BIDIRECTIONAL),
        (conn("S0", "S"), Provenance.SPOOFABLE),
        (conn("REJ", "Sr"), Provenance.SPOOFABLE),
        # The server only answered the SYN: a forged acknowledgement looks the same.
        (conn("RSTR", "ShAr"), Provenance.SPOOFABLE),
        (conn("RSTO", "ShAR"), Provenance.SPOOFABLE),
        ({**conn("SF", "Dd"), "proto": "udp"}, Provenance.SPOOFABLE),
        ({**CONN, "conn_state": "SF", "resp_bytes": 10}, Provenance.BIDIRECTIONAL),
        ({**CONN, "conn_state": "SF", "resp_bytes": 0}, Provenance.SPOOFABLE),
        ({**CONN, "_path": "http", "status_code": 200}, Provenance.BIDIRECTIONAL),
        ({**CONN, "_path": "http", "uri": "/"}, Provenance.SPOOFABLE),
        ({**CONN, "_path": "ssh", "server": "SSH-2.0-x"}, Provenance.BIDIRECTIONAL),
        ({**CONN, "_path": "ssl", "cipher": "TLS_X"}, Provenance.BIDIRECTIONAL),
        # DTLS and QUIC are in the same log, and as a rule it does not name the transport.
        ({**CONN, "_path": "ssl", "proto": None, "cipher": "TLS_X"}, Provenance.SPOOFABLE),
        ({**CONN, "_path": "kerberos", "proto": "udp", "success": True}, Provenance.SPOOFABLE),
    ],
)
def test_only_what_a_server_says_after_a_handshake_proves_the_client(record, provenance):
    assert one(sensor(), record).provenance is provenance


def test_a_header_may_change_within_the_file_and_values_have_types():
    data = TSV + (
        b"#path\tdns\n#fields\tts\tquery\tTTLs\tAA\trtt\n"
        b"#types\ttime\tstring\tvector[interval]\tbool\tinterval\n"
        b"1.5\ta\\x09b\t1.0,2.0\tT\t-\n"
    )
    seen, defects = read_all(sensor(), data)
    assert not defects
    assert seen[1].activity == "dns_activity"
    assert seen[1].native == {"ts": 1.5, "query": "a\tb", "TTLs": [1.0, 2.0], "AA": True}


def test_rows_that_do_not_fit_their_header_are_defects():
    seen, defects = read_all(sensor(), TSV + b"1\t2\n#close\tx\n")
    assert len(seen) == 1
    assert "2 columns" in defects[0].reason
    assert defects[0].position == 9


def test_a_log_without_a_name_is_known_by_its_fields():
    record = {key: value for key, value in conn("S0", "S").items() if key != "_path"}
    assert one(sensor(), record).fields["metadata.log_name"] == "conn"
    assert ZeekSensor.recognise(lines(record)) == 0.9


@pytest.mark.parametrize(
    ("function", "code"),
    [("READ_COILS", 1), ("WRITE_MULTIPLE_REGISTERS", 16), ("unknown-100", 100), ("odd", None)],
)
def test_modbus_functions_have_their_codes(function, code):
    seen = one(
        sensor(), {**CONN, "_path": "modbus", "func": function, "pdu_type": "REQ", "unit": 3}
    )
    assert seen.fields.get("modbus.function_code") == code
    assert seen.fields["modbus.direction"] == "request"
    assert seen.fields["modbus.unit_id"] == 3


def test_a_login_says_how_it_ended_where_zeek_could_tell():
    seen = one(sensor(), {**CONN, "_path": "ssh", "server": "x", "auth_success": False})
    assert (seen.activity, seen.fields["status"]) == ("authentication", "failure")
    assert "status" not in one(sensor(), {**CONN, "_path": "ssh", "server": "x"}).fields


def test_zeek_is_recognised_in_both_forms_and_binary_is_not():
    assert ZeekSensor.recognise(TSV) == 1.0
    assert ZeekSensor.recognise(lines(conn("S0", "S"))) == 0.95
    assert ZeekSensor.recognise(b"\x0a\x0d\x0d\x0a" * 10) == 0.0


def test_fields_of_the_wrong_type_are_left_out():
    seen = one(sensor(), {"_path": 5, "ts": [], "id.orig_h": 7, "proto": {}, "history": 3})
    assert seen.actor is None
    one(sensor(), {**CONN, "conn_state": [], "history": {}})
    one(sensor(), {**CONN, "_path": "modbus", "func": [], "pdu_type": 4})
