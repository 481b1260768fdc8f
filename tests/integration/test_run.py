"""`cronos run` as its users meet it: whole processes, real files, one document."""

import gzip
import json

import pytest
from tests.integration.product import (
    DATA,
    cronos,
    failed_logins,
    modbus_capture,
    policy_file,
    write_register,
)

INCIDENT = {
    "incident_id", "state", "title", "severity", "confidence", "evidence", "provenance",
    "techniques", "actor", "target", "findings", "detectors", "first_seen_ns", "timeline", "why",
    "references", "done", "ledger", "question", "claims", "beside", "would", "verdict", "view",
}  # fmt: skip
RESULT = {
    "incidents", "sources", "defects", "observations", "seconds", "ledger", "metrics",
    "worker_restarts",
    "schema",
}  # fmt: skip

ZEEK = "".join(
    json.dumps(
        {
            "_path": "conn", "ts": 1_700_000_000 + n / 10, "uid": f"C{n}", "id.orig_h": "192.0.2.7",
            "id.orig_p": 40_000 + n, "id.resp_h": "198.51.100.2", "id.resp_p": n + 1,
            "proto": "tcp", "conn_state": "REJ",
        }
    ) + "\n"
    for n in range(40)
).encode()  # fmt: skip
EVE = "".join(
    json.dumps(
        {
            "timestamp": f"2026-11-14T22:13:{n:02d}.000000+0000", "event_type": "alert",
            "src_ip": "192.0.2.8", "src_port": 40_000 + n, "dest_ip": "198.51.100.2",
            "dest_port": 80, "proto": "TCP", "flow_id": n + 1,
            "alert": {"signature": "ET EXPLOIT test", "severity": 1, "signature_id": 2_000_001,
                      "action": "allowed", "gid": 1, "rev": 1, "category": "Attempted Admin"},
        }
    ) + "\n"
    for n in range(5)
).encode()  # fmt: skip
LOGON = {"EventID": 4625, "Channel": "Security", "Computer": "dc.example", "Hostname": "dc.example",
         "TargetUserName": "alice", "IpAddress": "192.0.2.9", "LogonType": 3,
         "SubjectUserSid": "S-1-0-0"}  # fmt: skip
WINDOWS = "".join(
    json.dumps({**LOGON, "@timestamp": f"2026-11-14T22:13:{n:02d}.000Z"}) + "\n" for n in range(30)
).encode()


@pytest.fixture
def state(tmp_path):
    return tmp_path / "state"


def run(state, *given, **more):
    return cronos("run", "--state", state, "--json", *given, **more)


def verified(state):
    done = cronos("audit", "verify", "--state", state, "--json")
    assert done.code == 0, done.err
    return done.document


def test_a_forbidden_write_becomes_an_incident_with_its_whole_path(tmp_path, state):
    capture = modbus_capture(tmp_path / "plant.pcap", ["192.0.2.20", "192.0.2.66"])
    done = run(state, "--policy", policy_file(tmp_path), capture)

    assert done.code == 1
    document = done.document
    assert set(document) == RESULT
    assert document["schema"] == "cronos.run/1"
    assert all(set(one) == INCIDENT for one in document["incidents"])
    one = done.incident("192.0.2.66")
    assert one["state"] == "confirmed"
    assert one["evidence"] == "declared"
    assert one["provenance"] == "bidirectional"
    assert "T0855" in one["techniques"]
    assert "192.0.2.66" in one["why"]
    assert one["done"]["disposition"] == "auto_approve"
    assert one["done"]["cell"] == "0.95-1.00/medium"
    assert one["done"]["action"] == "deny address 192.0.2.66 at recording"
    assert one["done"]["dry_run"] is True
    assert one["done"]["undo"]
    assert one["done"]["lease_s"] == 300
    moments = [step["moment"] for step in one["timeline"]]
    assert moments == ["detected", "isolating", "isolated", "confirmed", "recorded"]
    times = [step["ms"] for step in one["timeline"]]
    assert times == sorted(times)
    assert times[0] == 0


def test_the_operator_beyond_its_limits_is_an_incident_and_within_them_is_none(tmp_path, state):
    policy = policy_file(tmp_path)
    good = modbus_capture(tmp_path / "good.pcap", ["192.0.2.20"], write_register(500))
    done = run(state, "--policy", policy, good)
    assert done.code == 0
    assert done.document["incidents"] == []
    assert done.document["observations"] > 0
    bad = modbus_capture(tmp_path / "bad.pcap", ["192.0.2.20"], write_register(900))
    assert run(state, "--policy", policy, bad).code == 1


def test_every_incident_names_its_records_and_the_ledger_verifies(tmp_path, state):
    clients = [f"203.0.113.{n}" for n in range(1, 40)]
    capture = modbus_capture(tmp_path / "plant.pcap", clients)
    document = run(state, "--policy", policy_file(tmp_path), capture).document
    assert len(document["incidents"]) == 39
    audit = verified(state)
    assert audit["records"] == document["ledger"]["records"]
    assert audit["head"] == document["ledger"]["head"]
    for one in document["incidents"]:
        assert 1 <= one["ledger"]["first"] < one["ledger"]["last"] <= audit["records"]
    before = audit["records"]
    run(state, "--policy", policy_file(tmp_path), capture)
    assert verified(state)["records"] > before


@pytest.mark.parametrize(
    ("name", "data", "records", "actor"),
    [
        ("auth.log", failed_logins(30), 30, "192.0.2.66"),
        ("conn.log", ZEEK, 40, "192.0.2.7"),
        ("security.jsonl", WINDOWS, 30, "192.0.2.9"),
        ("eve.json", EVE, 5, None),
    ],
)
def test_each_kind_of_log_is_recognised_counted_and_judged(
    tmp_path, state, name, data, records, actor
):
    path = tmp_path / name
    path.write_bytes(data)
    done = run(state, path)
    (source,) = done.document["sources"]
    assert source == {"source": str(path), "observations": records, "complete": True}
    assert done.document["defects"] == []
    if actor is not None:
        assert done.code == 1
        assert done.incident(actor)["findings"] >= 1


def test_gzip_is_read_as_what_it_holds(tmp_path, state):
    path = tmp_path / "auth.log.gz"
    path.write_bytes(gzip.compress(failed_logins(30)))
    done = run(state, path)
    assert done.document["observations"] == 30
    assert done.code == 1


def test_standard_input_is_a_source(state):
    done = run(state, "-", stdin=failed_logins(30))
    assert done.code == 1
    assert done.document["sources"] == [{"source": "stdin", "observations": 30, "complete": True}]


def test_a_capture_on_standard_input_is_recognised_too(tmp_path, state):
    capture = modbus_capture(tmp_path / "plant.pcap", ["192.0.2.66"])
    done = run(state, "--policy", policy_file(tmp_path), "-", stdin=capture.read_bytes())
    assert done.incident("192.0.2.66")["state"] == "confirmed"


def test_a_folder_and_further_sources_are_read_together(tmp_path, state):
    logs = tmp_path / "logs"
    (logs / "deep").mkdir(parents=True)
    (logs / "auth.log").write_bytes(failed_logins(30))
    (logs / "deep" / "conn.log.gz").write_bytes(gzip.compress(ZEEK))
    capture = modbus_capture(tmp_path / "plant.pcap", ["192.0.2.67"])
    done = run(state, "--policy", policy_file(tmp_path), logs, capture)
    counts = {one["source"]: one["observations"] for one in done.document["sources"]}
    assert counts[str(logs / "auth.log")] == 30
    assert counts[str(logs / "deep" / "conn.log.gz")] == 40
    assert counts[str(capture)] > 0
    assert sum(counts.values()) == done.document["observations"]
    assert all(one["complete"] for one in done.document["sources"])
    for actor in ("192.0.2.66", "192.0.2.7", "192.0.2.67"):
        assert [one for one in done.document["incidents"] if one["actor"] == f"address {actor}"]


def test_several_parsers_read_the_same_as_one(tmp_path, state):
    for number in range(6):
        attacker = f"192.0.2.{70 + number}"
        (tmp_path / f"{number}.log").write_bytes(failed_logins(30, attacker, f"host{number}"))
    config = tmp_path / "cronos.toml"
    config.write_text("[pipeline]\nparsers = 3\n")
    given = [tmp_path / f"{number}.log" for number in range(6)]
    one, three = run(state, *given), run(state, "--config", config, *given)
    assert findings(one) == findings(three)
    assert len(findings(one)) == 6


def findings(done):
    return {one["actor"]: one["findings"] for one in done.document["incidents"]}


def test_a_named_format_is_taken_and_a_wrong_one_is_a_defect(tmp_path, state):
    path = tmp_path / "auth.log"
    path.write_bytes(failed_logins(30))
    assert run(state, "--format", "syslog", path).document["observations"] == 30
    wrong = run(state, "--format", "pcap", path)
    assert wrong.code == 2
    assert wrong.document["defects"][0]["source"] == str(path)
    assert cronos("run", "--format", "pcpa", path).code == 2


def test_rules_of_a_folder_are_matched(tmp_path, state):
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "logon.yml").write_text(
        "title: Failed logon of alice\nid: 00000000-0000-4000-8000-000000000001\nstatus: test\n"
        "author: A. Tester\nlogsource:\n  product: windows\n  service: security\n"
        "detection:\n  selection:\n    EventID: 4625\n    TargetUserName: alice\n"
        "  condition: selection\nlevel: high\n"
    )
    path = tmp_path / "security.jsonl"
    path.write_bytes(WINDOWS)
    done = run(state, "--rules", rules, path)
    assert done.code == 1
    matched = [one for one in done.document["incidents"] if "sigma" in one["detectors"]]
    assert matched
    assert any("A. Tester" in ref for one in matched for ref in one["references"])


def test_people_get_a_table_the_path_and_the_counts(tmp_path, state):
    capture = modbus_capture(tmp_path / "plant.pcap", ["192.0.2.66"])
    done = cronos("run", "--state", state, "--policy", policy_file(tmp_path), capture)
    assert done.code == 1
    assert "detected +0.00 ms" in done.out
    assert "undo " in done.out
    assert "verified, AES-256-GCM" in done.out
    assert done.err == ""


def test_nothing_found_is_exit_code_zero(tmp_path, state):
    path = tmp_path / "quiet.log"
    path.write_bytes(b"<13>Nov 14 22:13:20 host cron[1]: a job ran\n" * 10)
    done = run(state, path)
    assert (done.code, done.document["incidents"], done.document["observations"]) == (0, [], 10)


def test_a_session_leaves_nothing_but_its_ledger_and_the_keys_of_it(tmp_path, state):
    path = tmp_path / "auth.log"
    path.write_bytes(failed_logins(30))
    run(state, path)
    left = {one.name for one in (state / "local").iterdir()}
    assert left == {"ledger", "keys", "lock", "incarnation"}


# --- real recordings -------------------------------------------------------------------------


def require(path):
    if not path.exists():
        pytest.skip("the data is not beside the repository")
    return path


def test_real_modbus_captures_are_read_whole(state):
    done = run(state, require(DATA / "captures" / "modbus"))
    assert done.code in (0, 1)
    assert all(one["complete"] for one in done.document["sources"])
    assert done.document["observations"] > 0
    assert done.document["ledger"]["records"] == verified(state)["records"]


def test_a_real_windows_recording_is_read_whole(state):
    events = require(DATA / "detection" / "events")
    path = events / "SDWIN-190518202650__placeholder"
    path = next(iter(sorted(events.glob("SDWIN-*enable_rdp*.gz"))), path)
    done = run(state, require(path))
    with gzip.open(path) as file:
        assert done.document["observations"] == sum(1 for line in file if line.strip())
    assert done.document["defects"] == []


def test_real_zeek_logs_are_read_whole(state):
    done = run(state, require(DATA / "detection" / "samples" / "zeek"))
    assert done.document["defects"] == []
    assert all(one["observations"] > 0 for one in done.document["sources"])
