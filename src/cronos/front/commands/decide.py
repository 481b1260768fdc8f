"""`cronos decide`: what this node would decide about an event, and why; nothing is done.

The site's configuration and the real kernel decide, about claims held to their detectors'
calibration. Nothing is read of a running node, so that budgets are full, the kill switch is off and
no case is open. A snapshot is decided about as it is.
"""

import argparse
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

import msgspec

from cronos.config import Config
from cronos.front import settings
from cronos.front.documents_decide import DecideDocument, DecisionView
from cronos.front.events import read_event
from cronos.front.losses import losses_of
from cronos.front.plugins import load
from cronos.front.result import print_json
from cronos.types import Decision, Disposition, Finding, Note, Snapshot

ACTING: Final = frozenset({Disposition.EXECUTE, Disposition.AUTO_APPROVE})
ASKING: Final = frozenset({Disposition.ASK_ANALYST, Disposition.ASK_MANAGER})

Decided: TypeAlias = tuple[Snapshot, Decision, Sequence[Finding]]


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument(
        "event", metavar="EVENT.json", help="a finding, a list of them, or a snapshot; - is stdin"
    )
    settings.shared(parser)


def execute(options: argparse.Namespace) -> int:
    """Decide: 1 when it would act or ask, 0 when it would not."""
    config = settings.config_of(options)
    event = read_event(options.event)
    decided = [_alone(event)] if isinstance(event, Snapshot) else _by_kernel(config, event)
    views = tuple(view(*one) for one in decided)
    dispositions = {decision.disposition for _, decision, _ in decided}
    document = DecideDocument(
        views, acts=bool(dispositions & ACTING), asks=bool(dispositions & ASKING)
    )
    if options.json:
        print_json(document)
    else:
        print("\n\n".join("\n".join((_title(one), *one.why)) for one in views))
    return int(document.acts or document.asks)


def _alone(snapshot: Snapshot) -> Decided:
    return snapshot, load("entry", "decide")(snapshot), ()


def _by_kernel(config: Config, findings: Sequence[Finding]) -> list[Decided]:
    """Give the last decision about each incident that the findings make."""
    clock = load("entry", "clock")()
    points = {name: load("executor", name).manifest.abilities for name in config.executors}
    kernel = load("entry", "kernel-node")(config, 1, points, losses_of(config, None))
    snapshots: dict[str, Snapshot] = {}
    decisions: dict[str, Decision] = {}
    members: dict[str, list[Finding]] = {}
    for claimed in findings:
        finding = load("entry", "calibrated")(claimed)
        for effect in kernel.step(finding, clock.now()):
            if isinstance(effect, Note):
                _noted(effect, snapshots, decisions, members)
    return [
        (snapshots[name], decision, members.get(name, ()))
        for name, decision in decisions.items()
        if name in snapshots
    ]


def _noted(
    note: Note,
    snapshots: dict[str, Snapshot],
    decisions: dict[str, Decision],
    members: dict[str, list[Finding]],
) -> None:
    match note.body:
        case Snapshot():
            snapshots[note.incident_id] = note.body
        case Decision():
            decisions[note.incident_id] = note.body
        case Finding():
            members.setdefault(note.incident_id, []).append(note.body)
        case _:
            pass


def view(snapshot: Snapshot, decision: Decision, findings: Sequence[Finding]) -> DecisionView:
    """Explain a decision for people and machines; `replay` shows past ones the same way."""
    told: Any = load("entry", "explain")(snapshot, decision, findings, load("entry", "decide"))
    return DecisionView(
        told.incident_id,
        told.disposition,
        told.cell,
        round(decision.confidence, 6),
        round(decision.risk, 6),
        told.action,
        told.proposal,
        told.would,
        told.reasons,
        tuple(load("entry", "explanation-lines")(told)),
        msgspec.to_builtins(told),
    )


def _title(one: DecisionView) -> str:
    return f"{one.disposition.replace('_', ' ')}: {one.action or 'nothing'}  [{one.cell}]"
