"""What may be done: confidence by risk, and the guardrails that can only make it more careful.

`decide` is pure: the same snapshot gives the same decision, byte for byte, in any process. The
matrix is the house's promise to its operators; every guardrail is written as a sentence into
the decision's reasons. Intervals are [low, high).

The most useful option is what happens. Where it has to be asked about and a narrow one that ends
by itself need not be, the narrow one holds meanwhile, and the other is proposed.
"""

from typing import Final

from cronos.kernel.evidence import fuse, strongest
from cronos.types import (
    Action,
    Blast,
    Decision,
    Dial,
    Disposition,
    EvidenceClass,
    Option,
    Provenance,
    Reversal,
    Snapshot,
    action_id,
)

_D = Disposition
# Rows from the lowest confidence up; columns low, medium, high risk.
CONFIDENCE_ROWS: Final = (
    (0.00, "0.00-0.50", (_D.ASK_MANAGER, _D.ASK_MANAGER, _D.ASK_MANAGER)),
    (0.50, "0.50-0.85", (_D.AUTO_APPROVE, _D.ASK_ANALYST, _D.ASK_ANALYST)),
    (0.85, "0.85-0.95", (_D.EXECUTE, _D.AUTO_APPROVE, _D.ASK_ANALYST)),
    (0.95, "0.95-1.00", (_D.EXECUTE, _D.AUTO_APPROVE, _D.ASK_ANALYST)),
)
RISK_COLUMNS: Final = ((0.7, 2, "high"), (0.3, 1, "medium"), (0.0, 0, "low"))
CAUTION: Final = {disposition: rank for rank, disposition in enumerate(Disposition)}
ACTING: Final = frozenset({Disposition.EXECUTE, Disposition.AUTO_APPROVE})
ASKING: Final = frozenset({Disposition.ASK_ANALYST, Disposition.ASK_MANAGER})
BUDGET_SPENT: Final = "this minute's budget of actions is spent"
IRREVERSIBLE: Final = "it cannot be taken back: two persons must approve it"

# Looked up once: in Python 3.11 an enum's member costs a tenth of a microsecond each time.
_SPOOFABLE, _STATISTICAL = Provenance.SPOOFABLE, EvidenceClass.STATISTICAL
_OBSERVE, _REFUSED = Disposition.OBSERVE, Disposition.REFUSED
_AUTO_APPROVE = Disposition.AUTO_APPROVE
_ASK_ANALYST, _ASK_MANAGER = Disposition.ASK_ANALYST, Disposition.ASK_MANAGER
_ACT, _NONE, _NARROW = Dial.ACT, Reversal.NONE, Blast.NARROW

Floor = tuple[Disposition, str]


def cell(confidence: float, risk: float) -> tuple[Disposition, str]:
    """Look a disposition up in the matrix, and name its cell: ``0.85-0.95/medium``."""
    # So put that what is no number falls into the most careful row and column.
    row = 3 if confidence >= 0.95 else 2 if confidence >= 0.85 else 1 if confidence >= 0.5 else 0
    column = RISK_COLUMNS[2] if risk < 0.3 else RISK_COLUMNS[1] if risk < 0.7 else RISK_COLUMNS[0]
    _, name, dispositions = CONFIDENCE_ROWS[row]
    return dispositions[column[1]], f"{name}/{column[2]}"


def decide(snapshot: Snapshot) -> Decision:
    """Take the most useful option that may happen, and say what may be done with it."""
    confidence, floors = _weighed(snapshot)
    options = snapshot.options
    if not options:
        disposition, name = cell(confidence, 0.0)
        why = "nothing this node can do would name the attacker"
        disposition, reasons = _raised(disposition, [*floors, (_OBSERVE, why)])
        return Decision(
            snapshot.incident_id,
            disposition,
            confidence,
            0.0,
            name,
            None,
            reasons,
            snapshot.policy_version,
        )
    best = options[0]
    disposition, name, reasons = _judged(best, confidence, floors, snapshot)
    would = disposition
    if best.dial is not _ACT or snapshot.autonomy != "act":
        would = _raised(cell(confidence, best.risk)[0], [*floors, *_limits(best, snapshot)])[0]
    chosen, proposal = best, None
    if disposition in ASKING:
        for other in options[1:]:
            if other.blast is not _NARROW or other.reversal is _NONE:
                continue
            held, held_name, held_why = _judged(other, confidence, floors, snapshot)
            if held in ACTING:
                why = f"{best.verb} {best.target.kind} would be worth more and is asked about"
                reasons = (*held_why, f"{why} ({name})", *reasons)
                # Reviewed whatever its own cell says: asking about one must not embolden another.
                chosen, disposition, name = other, _AUTO_APPROVE, held_name
                proposal = _action(best, snapshot)
                break
    return Decision(
        snapshot.incident_id,
        disposition,
        confidence,
        chosen.risk,
        name,
        _action(chosen, snapshot),
        reasons,
        snapshot.policy_version,
        proposal,
        would,
        2 if best.reversal is _NONE else 1,
    )


def _weighed(snapshot: Snapshot) -> tuple[float, list[Floor]]:
    """Give the confidence that decides, and what the evidence and the hour hold back."""
    confidence, evidence = snapshot.confidence, snapshot.evidence
    provenance = snapshot.provenance
    if snapshot.claims:
        told = strongest(snapshot.claims)
        confidence = fuse(snapshot.claims) or told.confidence
        evidence, provenance = told.evidence, told.provenance
    floors: list[Floor] = []
    if provenance is _SPOOFABLE:
        why = "the evidence could have been forged by someone else: it blocks nobody"
        floors.append((_OBSERVE, why))
    if evidence is _STATISTICAL:
        why = "a statistical anomaly only observes until it is calibrated on this site"
        floors.append((_OBSERVE, why))
    if snapshot.killed:
        floors.append((_OBSERVE, "the kill switch is engaged"))
    if snapshot.impact.maintenance:
        why = f"{snapshot.impact.asset} is in a maintenance window: people may be at work on it"
        floors.append((_ASK_ANALYST, why))
    return confidence, floors


def _judged(
    option: Option, confidence: float, floors: list[Floor], snapshot: Snapshot
) -> tuple[Disposition, str, tuple[str, ...]]:
    """Look an option up in the matrix and raise it to every guardrail's floor."""
    disposition, name = cell(confidence, option.risk)
    if option.dial is not _ACT or snapshot.autonomy != "act":
        floors = floors + [
            (_ASK_ANALYST if dial == "ask" else _OBSERVE, f"autonomy is set to {dial}")
            for dial in (snapshot.autonomy, option.dial)
            if dial != "act"
        ]
    raised, reasons = _raised(disposition, floors + _limits(option, snapshot))
    return raised, name, reasons


def _limits(option: Option, snapshot: Snapshot) -> list[Floor]:
    """List what else makes this one option more careful: how far, and why in words."""
    limits: list[Floor] = []
    if snapshot.budget <= 0 or option.budget <= 0:
        limits.append((_ASK_ANALYST, BUDGET_SPENT))
    if option.reversal is _NONE:
        limits.append((_ASK_MANAGER, IRREVERSIBLE))
    if snapshot.protected or option.protected:
        limits.append((_REFUSED, "the target is a protected asset"))
    return limits


def _raised(disposition: Disposition, floors: list[Floor]) -> tuple[Disposition, tuple[str, ...]]:
    if not floors:
        return disposition, ()
    reasons: list[str] = []
    for floor, why in floors:
        if CAUTION[floor] > CAUTION[disposition]:
            disposition = floor
            reasons.append(why)
    return disposition, tuple(reasons)


def _action(option: Option, snapshot: Snapshot) -> Action:
    point, verb, target = option.enforcement_point, option.verb, option.target
    named = action_id(point, verb, target)
    return Action(
        named, point, verb, target, snapshot.incident_id, snapshot.lease_ns, snapshot.epoch
    )
