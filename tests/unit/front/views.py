"""An incident as people are shown it, for the tests of the faces."""

from cronos.front.result import Done, IncidentView, Position, Step


def incident_view(incident_id="inc-1", **more):
    told = {
        "incident_id": incident_id,
        "state": "confirmed",
        "title": "Forbidden write",
        "severity": 4,
        "confidence": 0.97,
        "evidence": "declared",
        "provenance": "bidirectional",
        "techniques": ("T0855",),
        "actor": "address 192.0.2.66",
        "target": "address 198.51.100.2",
        "findings": 1,
        "detectors": ("modbus-policy",),
        "first_seen_ns": 1,
        "timeline": (Step("detected", 0.0), Step("isolated", 3.5)),
        "why": "because",
        "references": (),
        "done": Done(
            "auto_approve",
            "0.95-1.00/medium",
            "deny address 192.0.2.66 at recording",
            "recorded",
            "it ends",
            True,
            300.0,
            ("a reason",),
        ),
        "ledger": Position(1, 4),
    }
    return IncidentView(**{**told, **more})
