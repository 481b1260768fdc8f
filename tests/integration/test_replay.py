"""`cronos replay` on what the product really recorded: sealed, and under three hash seeds."""

import subprocess

from tests.integration.product import COMMAND, ENVIRONMENT, cronos, modbus_capture, policy_file


def test_every_decision_of_a_run_is_replayed_byte_for_byte(tmp_path):
    state = tmp_path / "state"
    capture = modbus_capture(tmp_path / "plant.pcap", ["192.0.2.66", "192.0.2.67"])
    ran = cronos("run", "--state", state, "--policy", policy_file(tmp_path), capture, "--json")
    assert ran.code == 1
    incidents = ran.document["incidents"]
    assert len(incidents) == 2

    for one in incidents:
        done = cronos("replay", one["incident_id"], "--state", state, "--json")
        assert done.code == 0, done.err
        document = done.document
        assert document["identical"] is True
        assert document["unpaired"] == 0
        assert document["decisions"]
        assert not any(again["appended"] for again in document["decisions"])
        assert document["decisions"][-1]["cell"] == one["done"]["cell"]


def test_the_hash_seed_of_who_asks_changes_nothing(tmp_path):
    state = tmp_path / "state"
    capture = modbus_capture(tmp_path / "plant.pcap", ["192.0.2.66"])
    ran = cronos("run", "--state", state, "--policy", policy_file(tmp_path), capture, "--json")
    (one,) = ran.document["incidents"]
    said = set()
    for seed in ("0", "1", "4711"):
        done = subprocess.run(
            [*COMMAND, "replay", one["incident_id"], "--state", str(state)],
            env={**ENVIRONMENT, "PYTHONHASHSEED": seed},
            capture_output=True,
            check=True,
        )
        said.add(done.stdout.replace(b"PYTHONHASHSEED=1147", b"PYTHONHASHSEED=4711"))

    assert len(said) == 1
    assert b"identical byte for byte" in said.pop()
