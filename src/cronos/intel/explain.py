"""Why it was decided so: the cell, the evidence, what was considered, what would have changed it.

Rendered after the action is on its way, from the same snapshot that was decided about. What would
have changed the decision is not guessed: `decide` itself is asked again, with one thing changed at
a time. Nothing here is read by a decision; foreign text has its hidden characters taken out.
"""

import math
from collections.abc import Callable, Sequence
from typing import Final, TypeAlias

import msgspec
from msgspec.structs import replace

from cronos.intel import attack_matrix, regulation
from cronos.intel.attack_matrix import Technique
from cronos.intel.regulation import Clock
from cronos.link.text import plain
from cronos.types import (
    Action,
    Decision,
    Dial,
    Disposition,
    Evidence,
    EvidenceClass,
    Finding,
    Option,
    Provenance,
    Reversal,
    Snapshot,
)

Decide: TypeAlias = Callable[[Snapshot], Decision]

# Where the rows of the matrix begin; `tests/unit/intel/test_explain.py` holds it to the kernel's.
ROWS: Final = (0.50, 0.85, 0.95)
_MAX_SHOWN: Final = 8
_MAX_OPTIONS: Final = 16
_MAX_CHARS: Final = 160
_LEAST: Final = 1e-6
_ALIKE: Final = 1e-6
_EVEN: Final = 0.5
_SHARED: Final = 0.5
_NS_PER_S: Final = 1_000_000_000
_SAID: Final = {
    Disposition.EXECUTE: "acted at once",
    Disposition.AUTO_APPROVE: "acted at once, with a review after",
    Disposition.ASK_ANALYST: "asked an analyst",
    Disposition.ASK_MANAGER: "asked a manager",
    Disposition.OBSERVE: "only observed",
    Disposition.REFUSED: "refused to act",
}


class Ground(msgspec.Struct, frozen=True):
    """One detector's claim. `share` is its part of all that counts, 0 where it is `barred`.

    Where nothing above 0.5 counts, the strongest speaks against an attack: its share is -1.
    """

    detector: str
    confidence: float
    log_odds: float
    share: float
    barred: str  # why it does not count, empty where it does
    titles: tuple[str, ...]


class Considered(msgspec.Struct, frozen=True):
    """One thing that could have been done: what it is worth, what it disturbs, why it was not."""

    action: str
    utility: float
    risk: float
    efficacy: float
    disruption: float
    disposition: str  # what the matrix says of it alone
    chosen: bool
    why_not: str


class Explanation(msgspec.Struct, frozen=True):
    """What a person reads; `lines` says all of it in sentences."""

    incident_id: str
    disposition: str
    cell: str
    confidence: float
    risk: float
    action: str
    proposal: str
    would: str
    reasons: tuple[str, ...]
    grounds: tuple[Ground, ...]
    techniques: tuple[Technique, ...]
    asset: str
    loss_mean: float
    loss_p90: float
    loss_digest: str
    considered: tuple[Considered, ...]
    clocks: tuple[Clock, ...]
    counterfactuals: tuple[str, ...]
    policy_version: int
    persons: int = 1  # who have to approve


def explain(
    snapshot: Snapshot, decision: Decision, findings: Sequence[Finding], decide: Decide
) -> Explanation:
    """Explain a decision to people.

    Args:
        snapshot: what was decided about.
        decision: what was decided about it.
        findings: of the incident, for the titles of its evidence; may be empty.
        decide: the function that decided; asked again some twenty times.
    """
    named = snapshot.techniques or tuple(one for f in findings for one in f.techniques)
    techniques = tuple(attack_matrix.technique(one) for one in dict.fromkeys(named))[:_MAX_SHOWN]
    tactics = frozenset(tactic for one in techniques for tactic in one.tactics)
    impact = snapshot.impact
    return Explanation(
        incident_id=_shown(snapshot.incident_id),
        disposition=decision.disposition.value,
        cell=_shown(decision.cell),
        confidence=decision.confidence,
        risk=decision.risk,
        action=_action(decision.action),
        proposal=_action(decision.proposal),
        would=decision.would.value,
        reasons=tuple(_shown(one) for one in decision.reasons[:_MAX_SHOWN]),
        grounds=_grounds(snapshot, findings),
        techniques=tuple(replace(one, technique=_shown(one.technique)) for one in techniques),
        asset=_shown(impact.asset),
        loss_mean=impact.loss_mean,
        loss_p90=impact.loss_p90,
        loss_digest=_shown(impact.loss_digest),
        considered=_considered(snapshot, decision, decide),
        clocks=regulation.clocks(impact.data, tactics),
        counterfactuals=tuple(_counterfactuals(snapshot, decision, decide)),
        policy_version=decision.policy_version,
        persons=decision.persons,
    )


def lines(told: Explanation) -> list[str]:
    """Say an explanation in sentences, the most important first."""
    said = _SAID[Disposition(told.disposition)]
    found = [f"Cronos {said}: {told.action or 'nothing it can do names the attacker'}."]
    found.append(
        f"Cell {told.cell}: confidence {told.confidence:.3f}, risk of the action {told.risk:.2f}."
    )
    found += [f"More careful because {reason}." for reason in told.reasons]
    if told.proposal:
        found.append(f"Proposed to people meanwhile: {told.proposal}.")
    if told.persons > 1:
        found.append(f"It takes {told.persons} persons to approve it.")
    found += [_ground_line(one) for one in told.grounds]
    for one in told.techniques:
        tactics = ", ".join(one.tactic_names)
        found.append(f"ATT&CK {one.technique} {one.name or '(unknown)'}{_in_brackets(tactics)}.")
    if told.loss_mean:
        what = told.asset or "an unlisted asset"
        how = f"simulated, {told.loss_digest[:12]}" if told.loss_digest else "assumed"
        found.append(
            f"At stake: {what}, {told.loss_mean:,.0f} a successful attack, "
            f"{told.loss_p90:,.0f} in one case of ten ({how})."
        )
    found += [_considered_line(one) for one in told.considered]
    found += [f"{one[:1].upper()}{one[1:]}." for one in told.counterfactuals]
    found += [regulation.sentence(clock) for clock in told.clocks]
    return found


# --- evidence ----------------------------------------------------------------------------------


def _grounds(snapshot: Snapshot, findings: Sequence[Finding]) -> tuple[Ground, ...]:
    """Give the claims, what counts most first; a snapshot without any stands for one."""
    claims = snapshot.claims or (
        Evidence("", snapshot.confidence, snapshot.evidence, snapshot.provenance),
    )
    titles: dict[str, dict[str, None]] = {}
    for finding in findings:
        titles.setdefault(finding.detector, {})[finding.title] = None
    odds = weights(claims)
    whole = math.fsum(abs(one) for one in odds) or 1.0
    grounds = [
        Ground(
            _shown(one.detector),
            one.confidence,
            round(_log_odds(one.confidence), 4),
            round(weight / whole, 4),
            _barred(one) or ("" if weight else "too weak to add anything"),
            tuple(_shown(title) for title in list(titles.get(one.detector, ()))[:3]),
        )
        for one, weight in zip(claims, odds, strict=True)
    ]
    grounds.sort(key=lambda one: (-abs(one.share), -one.confidence, one.detector))
    return tuple(grounds[:_MAX_SHOWN])


def weights(claims: Sequence[Evidence]) -> list[float]:
    """Give the log-odds that each claim adds, as the decision counts them.

    The strongest that may act counts whole, every other above 0.5 by half; the rest not at all.
    The tests hold this to what the kernel makes of the same claims.
    """
    held = _strongest(claims)
    return [
        0.0
        if _barred(one) or (place != held and one.confidence <= _EVEN)
        else _log_odds(one.confidence) * (1.0 if place == held else _SHARED)
        for place, one in enumerate(claims)
    ]


def _strongest(claims: Sequence[Evidence]) -> int:
    return max(
        range(len(claims)),
        key=lambda place: (not _barred(claims[place]), claims[place].confidence),
    )


def _barred(claim: Evidence) -> str:
    if claim.provenance is Provenance.SPOOFABLE:
        return "someone else could have forged it"
    if claim.evidence is EvidenceClass.STATISTICAL:
        return "statistical, and not calibrated on this site"
    return ""


def _log_odds(confidence: float) -> float:
    held = min(max(confidence, _LEAST), 1 - _LEAST)
    return math.log(held / (1 - held))


# --- what else there was -----------------------------------------------------------------------


def _considered(snapshot: Snapshot, decision: Decision, decide: Decide) -> tuple[Considered, ...]:
    """Give each option, and what would have been decided had there been no other."""
    shown: list[Considered] = []
    for option in snapshot.options[:_MAX_OPTIONS]:
        alone = decide(replace(snapshot, options=(option,), protected=option.protected))
        chosen = _is(option, decision.action)
        shown.append(
            Considered(
                _named(option),
                option.utility,
                option.risk,
                option.efficacy,
                option.disruption,
                alone.disposition.value,
                chosen,
                "" if chosen else _why_not(option, snapshot, decision, alone),
            )
        )
    return tuple(shown)


def _why_not(option: Option, snapshot: Snapshot, decision: Decision, alone: Decision) -> str:
    if _is(option, decision.proposal):
        return "proposed to people"
    best = next((one for one in snapshot.options if _is(one, decision.action)), None)
    if best is not None and option.utility <= best.utility:
        return f"worth less than what was chosen ({option.utility:,.2f} of {best.utility:,.2f})"
    reason = "; ".join(_shown(one) for one in alone.reasons[:2])
    return f"alone it would have {_SAID[alone.disposition]}{_in_brackets(reason)}"


def _is(option: Option, action: Action | None) -> bool:
    if action is None:
        return False
    there = (action.enforcement_point, action.verb, action.target)
    return there == (option.enforcement_point, option.verb, option.target)


# --- what would have changed it ----------------------------------------------------------------


def _counterfactuals(snapshot: Snapshot, decision: Decision, decide: Decide) -> list[str]:
    """Ask `decide` about the same case with one thing changed, and say where it answers otherwise.

    The nearest row of the matrix below and above that changes anything, then each guardrail.
    """
    told: list[str] = []
    was = decision.disposition
    below = [row for row in reversed(ROWS) if row <= decision.confidence]
    above = [row for row in ROWS if row > decision.confidence]
    for rows, word in ((below, "below"), (above, "from")):
        for row in rows:
            asked = math.nextafter(row, 0.0) if word == "below" else row
            other = _at(snapshot, asked, decide)
            if other is not None and other.disposition is not was:
                told.append(f"would have {_SAID[other.disposition]} {word} {row:.2f}")
                break
    return told + _without_guardrails(snapshot, was, decide)


def _without_guardrails(snapshot: Snapshot, was: Disposition, decide: Decide) -> list[str]:
    """Lift each guardrail that holds; where no single one changes anything, all of them."""
    told: list[str] = []
    held: list[str] = []
    lifted = snapshot
    for name, lift in _GUARDRAILS:
        without = lift(snapshot)
        if without == snapshot:
            continue
        held.append(name)
        lifted = lift(lifted)
        other = decide(without)
        if other.disposition is not was:
            told.append(f"would have {_SAID[other.disposition]} {name}")
    if len(held) > 1 and not told:
        other = decide(lifted)
        if other.disposition is not was:
            told.append(f"would have {_SAID[other.disposition]} only {' and '.join(held)}")
    return told


def _at(snapshot: Snapshot, confidence: float, decide: Decide) -> Decision | None:
    """Decide with another confidence: that of the claims, or the snapshot's where it has none.

    None where neither moves it, as with evidence that may not act at all.
    """
    changed = replace(snapshot, confidence=confidence)
    if snapshot.claims:
        strongest = snapshot.claims[_strongest(snapshot.claims)]
        claims = (replace(strongest, confidence=confidence),)
        alone = replace(changed, claims=claims)
    else:
        alone = changed
    for case in (alone, changed):
        other = decide(case)
        if abs(other.confidence - confidence) <= _ALIKE:
            return other
    return None


# What can make a decision more careful: how a case without it is said, and that case. A guardrail
# whose lifting changes nothing does not hold in the case.


def _not_killed(case: Snapshot) -> Snapshot:
    return replace(case, killed=False)


def _unprotected(case: Snapshot) -> Snapshot:
    options = tuple(replace(one, protected=False) for one in case.options)
    return replace(case, protected=False, options=options)


def _dialled_up(case: Snapshot) -> Snapshot:
    options = tuple(replace(one, dial=Dial.ACT) for one in case.options)
    return replace(case, autonomy="act", options=options)


def _with_budget(case: Snapshot) -> Snapshot:
    options = tuple(replace(one, budget=max(one.budget, 1)) for one in case.options)
    return replace(case, budget=max(case.budget, 1), options=options)


def _vouched_for(case: Snapshot) -> Snapshot:
    def sure(known: Provenance) -> Provenance:
        return Provenance.AUTHENTICATED if known is Provenance.SPOOFABLE else known

    claims = tuple(replace(one, provenance=sure(one.provenance)) for one in case.claims)
    return replace(case, provenance=sure(case.provenance), claims=claims)


def _declared(case: Snapshot) -> Snapshot:
    claims = tuple(replace(one, evidence=EvidenceClass.DECLARED) for one in case.claims)
    return replace(case, evidence=EvidenceClass.DECLARED, claims=claims)


def _outside_maintenance(case: Snapshot) -> Snapshot:
    return replace(case, impact=replace(case.impact, maintenance=False))


def _reversible(case: Snapshot) -> Snapshot:
    def undone(known: Reversal) -> Reversal:
        return Reversal.LEASED if known is Reversal.NONE else known

    options = tuple(replace(one, reversal=undone(one.reversal)) for one in case.options)
    return replace(case, options=options)


_GUARDRAILS: Final[tuple[tuple[str, Callable[[Snapshot], Snapshot]], ...]] = (
    ("without the kill switch", _not_killed),
    ("if the target were not protected", _unprotected),
    ("with every dial at act", _dialled_up),
    ("with budget left", _with_budget),
    ("if the evidence could not be forged", _vouched_for),
    ("if the anomaly were calibrated on this site", _declared),
    ("outside the maintenance window", _outside_maintenance),
    ("if it could be taken back", _reversible),
)


# --- words -------------------------------------------------------------------------------------


def _shown(text: str) -> str:
    return " ".join(plain(text, _MAX_CHARS, " ").split())


def _named(option: Option) -> str:
    target = f"{option.target.kind.value} {_shown(option.target.value)}"
    return f"{option.verb.value} {target} at {_shown(option.enforcement_point)}"


def _action(action: Action | None) -> str:
    if action is None:
        return ""
    target = f"{action.target.kind.value} {_shown(action.target.value)}"
    seconds = action.lease_ns / _NS_PER_S
    place = _shown(action.enforcement_point)
    return f"{action.verb.value} {target} at {place} for {seconds:,.0f} s"


def _in_brackets(text: str) -> str:
    return f" ({text})" if text else ""


def _ground_line(ground: Ground) -> str:
    name = ground.detector or "the evidence"
    titles = "; ".join(ground.titles)
    said = f"{name}{_in_brackets(titles)}: confidence {ground.confidence:.3f}"
    if ground.barred:
        return f"{said}, not counted: {ground.barred}."
    if ground.share < 0:
        return f"{said}, which rather speaks against an attack."
    return f"{said}, {ground.share:.0%} of the evidence."


def _considered_line(option: Considered) -> str:
    what = f"{option.action}: utility {option.utility:,.2f}, disruption {option.disruption:,.2f}"
    return f"Chosen: {what}." if option.chosen else f"Considered: {what}; {option.why_not}."
