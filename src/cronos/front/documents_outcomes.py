"""The JSON document of what became of decisions, of `cronos incidents --stats`."""

from typing import Any, Final

import msgspec

from cronos.link.text import plain

_MOST_TECHNIQUES: Final = 20


class ShareView(msgspec.Struct, frozen=True):
    """A counted share and its 95 % interval (Clopper-Pearson); unknown where `of` is 0."""

    right: int
    of: int
    low: float
    high: float


class TechniqueView(msgspec.Struct, frozen=True):
    """How well one technique is answered; the keys are those of the whole."""

    technique: str
    incidents: int
    isolated: ShareView
    verified: ShareView
    false_positives: ShareView


class OutcomesDocument(msgspec.Struct, frozen=True):
    """The document of `cronos incidents --stats --json`; times in seconds."""

    incidents: int
    left_out: int
    autonomy: ShareView
    escalation: ShareView
    isolated: ShareView
    verified: ShareView
    false_positives: ShareView
    false_isolations: ShareView
    shadow: ShareView
    judged_by_verdict: int
    judged_by_answer: int
    resolved: int
    resolution_p50_s: float
    resolution_p95_s: float
    techniques: tuple[TechniqueView, ...]
    schema: str = "cronos.outcomes/1"


def show_outcomes(tracked: Any) -> OutcomesDocument:
    """Translate what the catalogue's `track-outcomes` gives."""
    return msgspec.convert(tracked, OutcomesDocument, from_attributes=True)


def say_outcomes(document: OutcomesDocument) -> list[str]:
    """Say the figures in sentences, each with its count and how sure it is."""
    rows = (
        ("carried out without asking", document.autonomy),
        ("asked a person", document.escalation),
        ("isolated where tried", document.isolated),
        ("effect verified", document.verified),
        ("judged a false alarm", document.false_positives),
        ("isolated alone and judged a false alarm", document.false_isolations),
    )
    count = document.incidents
    lines = [f"{count} incident{'s' * (count != 1)}."]
    lines += [f"{name}: {_said(share)}" for name, share in rows]
    shadow = document.shadow
    if shadow.of:
        lines.append(
            f"with every dial at act it would have been right {shadow.right} of {shadow.of} "
            f"({shadow.low:.1%} to {shadow.high:.1%})"
        )
    if document.resolved:
        lines.append(
            f"resolved: {document.resolved}, half within {document.resolution_p50_s:,.1f} s, "
            f"95 % within {document.resolution_p95_s:,.1f} s"
        )
    lines += [_technique(one) for one in document.techniques[:_MOST_TECHNIQUES]]
    if (more := len(document.techniques) - _MOST_TECHNIQUES) > 0:
        lines.append(f"{more} more techniques: --json shows all.")
    if document.left_out:
        lines.append(f"{document.left_out} older incidents are left out.")
    return lines


def _technique(one: TechniqueView) -> str:
    told = f"{plain(one.technique, 40)}: {one.incidents} incident{'s' * (one.incidents != 1)}"
    for name, share in (
        ("isolated", one.isolated),
        ("verified", one.verified),
        ("false alarms", one.false_positives),
    ):
        told += f", {name} {share.right} of {share.of}" if share.of else ""
    return told


def _said(share: ShareView) -> str:
    if not share.of:
        return "unknown, nothing was counted"
    return (
        f"{share.right} of {share.of}, {share.right / share.of:.1%} "
        f"({share.low:.1%} to {share.high:.1%})"
    )
