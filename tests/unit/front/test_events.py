"""Events as people write them: by name, with nothing misspelt, and never a crash."""

import io
import json

import pytest

from cronos.errors import InputError
from cronos.front.events import MAX_EVENT_BYTES, read_event
from cronos.types import (
    Entity,
    EntityKind,
    EvidenceClass,
    Finding,
    Impact,
    Provenance,
    Snapshot,
    Verb,
)

FINDING = {
    "detector": "modbus-policy",
    "evidence": "declared",
    "provenance": "bidirectional",
    "confidence": 0.97,
    "severity": 4,
    "techniques": ["T0855"],
    "actor": {"kind": "address", "value": "192.0.2.7"},
}
SNAPSHOT = {
    "now": {"boot_ns": 1, "wall_ns": 2},
    "incident_id": "local-1-1",
    "confidence": 0.97,
    "severity": 4,
    "evidence": "declared",
    "provenance": "authenticated",
    "options": [
        {
            "enforcement_point": "nftables",
            "verb": "deny",
            "target": {"kind": "address", "value": "192.0.2.7"},
            "risk": 0.4,
            "utility": 3,
        }
    ],
    "protected": False,
    "autonomy": "act",
    "killed": False,
    "budget": 5,
    "lease_ns": 300_000_000_000,
    "impact": {"asset": "pump", "data": ["personal"]},
}


@pytest.fixture
def write(tmp_path):
    def written(document):
        path = tmp_path / "event.json"
        data = document if isinstance(document, bytes) else json.dumps(document).encode()
        path.write_bytes(data)
        return str(path)

    return written


def test_a_finding_needs_only_what_a_decision_needs(write):
    assert read_event(write(FINDING)) == [
        Finding(
            "event:1", "modbus-policy", "modbus-policy", "", EvidenceClass.DECLARED,
            Provenance.BIDIRECTIONAL, 0.97, 4, 0, ("T0855",),
            Entity(EntityKind.ADDRESS, "192.0.2.7"),
        )
    ]  # fmt: skip


def test_a_list_of_findings_has_an_id_each(write):
    found = read_event(write([FINDING, {**FINDING, "finding_id": "own"}, FINDING]))

    assert [one.finding_id for one in found] == ["event:1", "own", "event:3"]


def test_a_snapshot_holds_data_in_data_and_may_say_its_classes(write):
    option = {**SNAPSHOT["options"][0], "type": "Option"}
    found = read_event(write({**SNAPSHOT, "type": "Snapshot", "options": [option]}))

    assert isinstance(found, Snapshot)
    assert found.options[0].verb is Verb.DENY
    assert found.impact == Impact("pump", data=("personal",))
    assert found.policy_version == 1


def test_standard_input_is_read_where_it_is_asked_for(monkeypatch):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(json.dumps(FINDING).encode())))

    assert len(read_event("-")) == 1


@pytest.mark.parametrize(
    ("document", "told"),
    [
        ({**FINDING, "confidense": 1.0}, "has no `confidense`"),
        ({**FINDING, "confidence": 1.5}, "from 0 to 1"),
        ({**FINDING, "severity": 9}, "severity from 1 to 5"),
        ({**FINDING, "evidence": "rumour"}, "rumour"),
        ({key: value for key, value in FINDING.items() if key != "provenance"}, "`provenance`"),
        ({**FINDING, "type": "Incident"}, "has no `type`"),
        ({**FINDING, "actor": {"kind": "address"}}, "wants `value`"),
        ({**FINDING, "actor": 7}, "Object missing|Expected"),
        ({**SNAPSHOT, "confidence": -1}, "from 0 to 1"),
        ({**SNAPSHOT, "options": [7]}, "Expected"),
        ([], "0 findings"),
        ([FINDING] * 1_001, "1001 findings"),
        ([FINDING, 7], "finding 2 is no object"),
        ("text", "no object"),
        (b"{", "no JSON"),
        (b"\xff", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b" " * (MAX_EVENT_BYTES + 1), "longer than 1 MiB"),
    ],
)
def test_what_is_no_event_is_refused_with_its_reason(write, document, told):
    with pytest.raises(InputError, match=told) as refused:
        read_event(write(document))

    assert refused.value.code == "front.no_event"


@pytest.mark.parametrize("path", ["/nonexistent/event.json", "\x00", "/"])
def test_what_cannot_be_read_is_said(path):
    with pytest.raises(InputError) as refused:
        read_event(path)

    assert refused.value.code == "front.event_unreadable"
