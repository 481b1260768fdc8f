"""Small data of the vocabulary that the suites work on; addresses are from documentation ranges."""

from cronos.types import (
    Action,
    Entity,
    EntityKind,
    EvidenceClass,
    Finding,
    Incident,
    Provenance,
    Question,
    State,
    Verb,
    action_id,
)


def deny(enforcement_point: str, address: str) -> Action:
    """Give an action that denies an address for 300 s."""
    target = Entity(EntityKind.ADDRESS, address)
    return Action(
        action_id(enforcement_point, Verb.DENY, target),
        enforcement_point,
        Verb.DENY,
        target,
        "test-1-i1",
        lease_ns=300_000_000_000,
    )


def incident(title: str = "Port scan", severity: int = 3, version: int = 1) -> Incident:
    """Give an incident that is isolated."""
    return Incident(
        incident_id="test-1-i1",
        state=State.ISOLATED,
        actor=Entity(EntityKind.ADDRESS, "192.0.2.7"),
        target=Entity(EntityKind.ADDRESS, "198.51.100.2"),
        title=title,
        confidence=0.9,
        severity=severity,
        evidence=EvidenceClass.DECLARED,
        provenance=Provenance.BIDIRECTIONAL,
        techniques=("T1046",),
        findings=("scan-memory#1",),
        finding_count=1,
        opened_wall_ns=1,
        deadline_boot_ns=2,
        version=version,
    )


def finding(title: str = "Port scan", severity: int = 3, explanation: str = "20 ports.") -> Finding:
    """Give a finding of that incident."""
    return Finding(
        finding_id="scan-memory#1",
        detector="scan",
        title=title,
        explanation=explanation,
        evidence=EvidenceClass.DECLARED,
        provenance=Provenance.BIDIRECTIONAL,
        confidence=0.9,
        severity=severity,
        time_ns=1,
    )


def question(deadline_ns: int) -> Question:
    """Give a question about that incident."""
    return Question(
        "test-1-q1",
        "test-1-i1",
        "analyst",
        "Isolate 192.0.2.7?",
        deny("memory", "192.0.2.7"),
        deadline_ns,
    )
