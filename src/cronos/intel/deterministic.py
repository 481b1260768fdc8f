"""The analyst that needs no language model: a fixed explanation of an incident, for people.

It repeats foreign text (titles, entities) as data: control and bidirectional characters are taken
out and every part is cut short, so that nothing in a packet or log can forge a line on a screen.
"""

from collections.abc import Sequence
from typing import ClassVar, Final

from cronos.config import Positive, Section
from cronos.link.text import plain
from cronos.types import Assessment, Entity, Finding, Incident, Manifest, Provenance, State

_MAX_SEVERITY: Final = 5


class DeterministicConfig(Section, frozen=True):
    """How much is said."""

    max_findings: Positive = 8
    max_text_chars: Positive = 160


class DeterministicAnalyst:
    """Explains an incident in fixed sentences; the same incident gives the same text.

    Monotone: the severity it shows is never below the incident's, and what it proposes are
    sentences for people that nothing reads by machine.
    """

    manifest: ClassVar[Manifest] = Manifest(
        "deterministic",
        "Explains incidents in fixed sentences, without a language model.",
        capabilities=("explain",),
    )
    config_type: ClassVar[type[Section]] = DeterministicConfig

    def __init__(self, config: DeterministicConfig) -> None:
        self._config = config

    async def assess(self, incident: Incident, findings: Sequence[Finding]) -> Assessment:
        """Give the explanation, the highest severity among incident and findings, and next steps.

        `summary` has a line for the case, one for the decision and one for each of the first
        `max_findings` findings.
        """
        shown = findings[: self._config.max_findings]
        lines = [self._case(incident), self._decision(incident)]
        lines += [self._evidence(finding) for finding in shown]
        if len(findings) > len(shown):
            lines.append(f"{len(findings) - len(shown)} more findings are not shown.")
        return Assessment(
            incident_id=incident.incident_id,
            analyst=self.manifest.name,
            summary="\n".join(lines),
            severity_shown=_severity(incident, findings),
            proposals=_proposals(incident),
        )

    def _case(self, incident: Incident) -> str:
        techniques = ", ".join(self._plain(name) for name in incident.techniques[:8])
        return (
            f"{self._plain(incident.title)}: {self._named(incident.actor)} acted on "
            f"{self._named(incident.target)} (confidence {incident.confidence:.2f}, "
            f"{incident.evidence.value}, {incident.provenance.value}"
            f"{', ATT&CK ' + techniques if techniques else ''})."
        )

    def _decision(self, incident: Incident) -> str:
        decision = incident.decision
        if decision is None:
            return f"Nothing has been decided yet; the incident is {incident.state.value}."
        reasons = "; ".join(self._plain(reason) for reason in decision.reasons[:8])
        return (
            f"Decided: {decision.disposition.value} in cell {self._plain(decision.cell)}"
            f"{' because ' + reasons if reasons else ''}."
        )

    def _evidence(self, finding: Finding) -> str:
        return (
            f"{self._plain(finding.detector)}: {self._plain(finding.title)}. "
            f"{self._plain(finding.explanation)}"
        )

    def _named(self, entity: Entity | None) -> str:
        return "someone unknown" if entity is None else self._plain(entity.value)

    def _plain(self, text: str) -> str:
        return " ".join(plain(text, self._config.max_text_chars, " ").split())


def _severity(incident: Incident, findings: Sequence[Finding]) -> int:
    raised = max((finding.severity for finding in findings), default=0)
    return max(incident.severity, min(raised, _MAX_SEVERITY))


def _proposals(incident: Incident) -> tuple[str, ...]:
    proposals: list[str] = []
    if incident.provenance is Provenance.SPOOFABLE:
        proposals.append("Look for a second source: this evidence could have been forged.")
    if incident.state in (State.ISOLATED, State.CONFIRMED):
        proposals.append("Review the isolation before its lease ends, and release it if wrong.")
    if incident.state is State.WAITING:
        proposals.append("Answer the open question; silence escalates it.")
    if incident.state is State.FAILED:
        proposals.append("Isolate by hand: the enforcement point did not carry the action out.")
    return tuple(proposals)
