"""What the faces show: the JSON documents of the commands, as frozen structs."""

import re
import sys
from typing import Any, cast

import msgspec

from cronos.types import (
    Action,
    Finding,
    Incident,
    Outcome,
    Question,
)


class Step(msgspec.Struct, frozen=True):
    """A moment of an incident's path, in milliseconds since its detection."""

    moment: str
    ms: float


class Done(msgspec.Struct, frozen=True):
    """What was done about an incident, and how it is taken back."""

    disposition: str
    cell: str
    action: str
    result: str
    undo: str
    dry_run: bool
    lease_s: float
    reasons: tuple[str, ...]


class Beside(msgspec.Struct, frozen=True):
    """A step besides the decision's own: carried out, or proposed and waiting for a person."""

    action: str
    waiting: bool


class Claim(msgspec.Struct, frozen=True):
    """The strongest claim of one detector, and whether it counts towards what acts."""

    detector: str
    confidence: float
    evidence: str
    provenance: str


class Position(msgspec.Struct, frozen=True):
    """Where the ledger holds an incident's records."""

    first: int
    last: int


class IncidentView(msgspec.Struct, frozen=True):
    """One incident, as every face shows it."""

    incident_id: str
    state: str
    title: str
    severity: int
    confidence: float
    evidence: str
    provenance: str
    techniques: tuple[str, ...]
    actor: str
    target: str
    findings: int
    detectors: tuple[str, ...]
    first_seen_ns: int
    timeline: tuple[Step, ...]
    why: str
    references: tuple[str, ...]
    done: Done
    ledger: Position
    question: str = ""
    claims: tuple[Claim, ...] = ()
    beside: tuple[Beside, ...] = ()
    # What would have been done with every dial at "act".
    would: str = ""
    verdict: str = ""
    # How many nodes held it when it was confirmed, this one included; 0 before, where some did not
    # answer in time, and where only a peer's word stands behind it.
    view: int = 0


class DefectView(msgspec.Struct, frozen=True):
    """A record that could not be read."""

    source: str
    position: int
    reason: str
    remedy: str


class SourceView(msgspec.Struct, frozen=True):
    """How far one source was processed."""

    source: str
    observations: int
    complete: bool


class LedgerView(msgspec.Struct, frozen=True):
    """The ledger after a run."""

    path: str
    records: int
    sealing: str
    head: str


class RunResult(msgspec.Struct, frozen=True):
    """The document of `cronos run --json`."""

    incidents: tuple[IncidentView, ...]
    sources: tuple[SourceView, ...]
    defects: tuple[DefectView, ...]
    observations: int
    seconds: float
    ledger: LedgerView
    worker_restarts: int = 0
    metrics: dict[str, float] = msgspec.field(default_factory=dict[str, float])
    schema: str = "cronos.run/1"


def show(
    incident: Incident,
    findings: list[Finding],
    outcomes: list[Outcome],
    question: Question | None,
    positions: tuple[int, int, int],
) -> IncidentView:
    """Translate an incident; `positions` are first and last record and when the last was stored."""
    first, last, recorded_ns = positions
    began_ns = incident.moments[0].boot_ns if incident.moments else 0
    steps = [Step(m.name, round((m.boot_ns - began_ns) / 1e6, 3)) for m in incident.moments]
    if recorded_ns:
        steps.append(Step("recorded", round((recorded_ns - began_ns) / 1e6, 3)))
    steps.sort(key=lambda step: step.ms)
    actor, target = incident.actor, incident.target
    return IncidentView(
        incident.incident_id,
        incident.state.value,
        incident.title,
        incident.severity,
        round(incident.confidence, 4),
        incident.evidence.value,
        incident.provenance.value,
        incident.techniques,
        f"{actor.kind} {actor.value}" if actor else "",
        f"{target.kind} {target.value}" if target else "",
        incident.finding_count,
        tuple(sorted({finding.detector for finding in findings})),
        min((finding.time_ns for finding in findings), default=0),
        tuple(steps),
        incident.why,
        tuple(dict.fromkeys(ref for finding in findings for ref in finding.references))[:16],
        _done(incident, outcomes),
        Position(first, last),
        question.text if question and incident.state == "waiting" else "",
        tuple([Claim(c.detector, c.confidence, c.evidence, c.provenance) for c in incident.claims]),
        tuple(
            [Beside(_named(one), waiting=False) for one in incident.beside]
            + [Beside(_named(one), waiting=True) for one in incident.proposed]
        ),
        incident.decision.would.value if incident.decision else "",
        incident.verdict,
        incident.view,
    )


def _named(action: Action) -> str:
    return f"{action.verb} {action.target.kind} {action.target.value} at {action.enforcement_point}"


def _done(incident: Incident, outcomes: list[Outcome]) -> Done:
    decision = incident.decision
    if decision is None:
        return Done("", "", "", "nothing was decided", "", False, 0.0, ())
    action = decision.action
    if action is None:
        return Done(
            decision.disposition, decision.cell, "", "observed", "", False, 0.0, decision.reasons
        )
    ours = [one for one in outcomes if one.action_id == action.action_id]
    latest = ours[-1] if ours else None
    undo = next((one.undo for one in reversed(ours) if one.undo), "")
    return Done(
        decision.disposition.value,
        decision.cell,
        _named(action),
        latest.detail if latest else "not executed",
        undo,
        any(one.dry_run for one in ours),
        action.lease_ns / 1e9,
        decision.reasons,
    )


def to_json(document: Any) -> bytes:
    """Give one JSON document, indented, ending in a newline; ASCII where it could steer a terminal.

    A reader of the JSON gets the characters back; a terminal never sees them.
    """
    try:
        encoded = msgspec.json.encode(document)
    except UnicodeEncodeError:  # the name of a file need be no text
        encoded = msgspec.json.encode(_as_text(msgspec.to_builtins(document)))
    return _printable(msgspec.json.format(encoded, indent=2).decode() + "\n")


def to_line(document: Any) -> bytes:
    """Give one JSON document on one line, as `to_json` does."""
    return _printable(msgspec.json.encode(document).decode() + "\n")


def _printable(text: str) -> bytes:
    if not text.isascii() or "\x7f" in text:
        text = "".join([c if c == "\n" or c.isprintable() else _escape(c) for c in text])
    return text.encode()


def _as_text(value: Any) -> Any:
    """Replace what is no text in a document's strings."""
    if isinstance(value, str):
        return re.sub("[\ud800-\udfff]", "\ufffd", value)
    if isinstance(value, dict):
        items = cast("dict[str, Any]", value).items()
        return {_as_text(key): _as_text(one) for key, one in items}
    if isinstance(value, list | tuple):
        return [_as_text(one) for one in cast("list[Any]", value)]
    return value


def print_json(document: Any) -> None:
    """Print one JSON document, all of it.

    Where Python runs unbuffered, a signal (a worker that ends) may cut a write short: the rest
    is written again until nothing is left.
    """
    if sys.stdout is None:  # pyright: ignore[reportUnnecessaryComparison] - closed by the caller
        return
    left = memoryview(to_json(document))
    while left:
        left = left[sys.stdout.buffer.write(left) :]
    sys.stdout.buffer.flush()


def _escape(character: str) -> str:
    units = character.encode("utf-16-be")
    return "".join(f"\\u{units[at : at + 2].hex()}" for at in range(0, len(units), 2))


class ErrorDocument(msgspec.Struct, frozen=True):
    """What any command prints with --json when it cannot do its work."""

    code: str
    sentence: str
    remedy: str
    blame: str
    schema: str = "cronos.error/1"


class AuditDocument(msgspec.Struct, frozen=True):
    """The document of `cronos audit verify --json`."""

    ledger: str
    records: int
    head: str
    sealing: str
    verified: bool
    problem: str = ""
    # Records opened with the keys, and those whose subject was erased.
    opened: int = 0
    erased: int = 0
    # Why the contents were not opened; "" where they were.
    unopened: str = ""
    # How many records were readable before the ledger was sealed, and whether these are they.
    former_records: int = 0
    former_proved: bool = False
    schema: str = "cronos.audit/1"


class ErasureDocument(msgspec.Struct, frozen=True):
    """The document of `cronos audit erase --json`."""

    ledger: str
    kind: str
    # SHA-256 of the subject's name, which the ledger's record of the erasure carries.
    subject_sha256: str
    # Whether anything had been sealed for the subject, as far as is known.
    known: bool
    position: int
    erased: int
    schema: str = "cronos.erasure/1"


class UpDocument(msgspec.Struct, frozen=True):
    """The document of `cronos up --json`, printed when it has been stopped."""

    incidents: tuple[IncidentView, ...]
    observations: int
    worker_restarts: int
    metrics: dict[str, float]
    schema: str = "cronos.up/1"


class DemoStep(msgspec.Struct, frozen=True):
    """One step of the demo, what it showed, and whether it held."""

    name: str
    shown: str
    held: bool


class DemoDocument(msgspec.Struct, frozen=True):
    """The document of `cronos demo --json`."""

    passed: bool
    steps: tuple[DemoStep, ...]
    incidents: tuple[IncidentView, ...]
    ledger: LedgerView
    schema: str = "cronos.demo/1"


class Setting(msgspec.Struct, frozen=True):
    """One setting: its key, its value as JSON, and the file it came from or ``default``."""

    key: str
    value: str
    origin: str


class ConfigDocument(msgspec.Struct, frozen=True):
    """The document of `cronos config explain --json`."""

    settings: tuple[Setting, ...]
    schema: str = "cronos.config/1"
