"""`cronos decide`: the site's configuration and the real kernel decide, and nothing is done."""

import json

import pytest
from tests.unit.front.test_events import FINDING, SNAPSHOT

from cronos.front.cli import main


@pytest.fixture
def run(tmp_path, capsysbinary):
    def ran(event, *more, config=""):
        path, settings = tmp_path / "event.json", tmp_path / "cronos.toml"
        path.write_text(json.dumps(event))
        settings.write_text(config or 'executors = ["nftables"]\n')
        code = main(["decide", str(path), "--config", str(settings), *more])
        return code, capsysbinary.readouterr().out.decode()

    return ran


def test_what_would_be_done_is_said_and_is_a_finding(run):
    code, text = run(FINDING)

    assert code == 1
    first = text.splitlines()[0]
    assert first == "auto approve: deny address 192.0.2.7 at nftables for 300 s  [0.95-1.00/medium]"
    assert "Would have asked an analyst below 0.85." in text
    assert "ATT&CK T0855 Unauthorized Command Message (Impair Process Control)." in text


def test_the_document_holds_the_whole_explanation(run):
    code, text = run(FINDING, "--json")
    document = json.loads(text)

    assert code == 1
    assert document["schema"] == "cronos.decide/1"
    assert (document["acts"], document["asks"]) == (True, False)
    (one,) = document["decisions"]
    assert one["disposition"] == "auto_approve"
    assert one["explanation"]["counterfactuals"] == ["would have asked an analyst below 0.85"]
    assert one["explanation"]["considered"][0]["chosen"] is True


def test_a_protected_target_is_refused_by_the_sites_own_policy(run):
    config = 'executors = ["nftables"]\n[policy]\nprotected = ["192.0.2.0/24"]\n'
    code, text = run(FINDING, "--json", config=config)
    document = json.loads(text)

    assert code == 0
    assert document["decisions"][0]["disposition"] == "refused"
    assert any("not protected" in one for one in document["decisions"][0]["why"])


def test_a_dial_at_ask_asks_and_that_is_a_finding_too(run):
    config = 'executors = ["nftables"]\n[policy]\nautonomy = "ask"\n'
    code, text = run(FINDING, "--json", config=config)
    document = json.loads(text)

    assert (code, document["acts"], document["asks"]) == (1, False, True)


def test_what_is_at_stake_is_that_of_the_attacked_asset(run):
    config = """executors = ["nftables"]
[[asset]]
name = "ward"
addresses = ["198.51.100.2"]
criticality = 5
loss = [1000.0, 2000.0, 3000.0]
data = ["personal"]
[plugin.fair]
secondary = {}
"""
    event = {**FINDING, "target": {"kind": "address", "value": "198.51.100.2"}}
    _, text = run(event, "--json", config=config)
    told = json.loads(text)["decisions"][0]["explanation"]

    assert told["asset"] == "ward"
    assert told["loss_mean"] == pytest.approx(2_000, rel=0.01)
    assert [one["law"] for one in told["clocks"]] == ["GDPR", "GDPR"]


def test_findings_about_one_attacker_are_one_case_and_of_two_are_two(run):
    other = {**FINDING, "actor": {"kind": "address", "value": "192.0.2.8"}}
    _, text = run([FINDING, FINDING, other], "--json")

    assert len(json.loads(text)["decisions"]) == 2


def test_no_claim_is_louder_than_its_detectors_calibration_lets_it_be_in_a_node(run):
    claim = {**FINDING, "detector": "sigma", "confidence": 0.84}
    code, text = run(claim, "--json")
    (one,) = json.loads(text)["decisions"]

    assert code == 1
    assert one["confidence"] < 0.75
    assert one["cell"] == "0.50-0.85/medium"


def test_forged_evidence_blocks_nobody(run):
    code, text = run({**FINDING, "provenance": "spoofable"}, "--json")

    assert code == 0
    assert json.loads(text)["decisions"][0]["disposition"] == "observe"


def test_a_snapshot_is_decided_as_it_stands(run):
    code, text = run(SNAPSHOT, "--json")
    (one,) = json.loads(text)["decisions"]

    assert code == 1
    assert one["incident_id"] == "local-1-1"
    assert one["cell"] == "0.95-1.00/medium"


def test_what_is_no_event_is_usage(run):
    assert run({"what": 1})[0] == 2
    assert run([])[0] == 2
