"""What may be done: confidence by risk, and the guardrails that can only make it more careful.

`decide` is pure: the same snapshot gives the same decision, byte for byte, in any process. The
matrix is the house's promise to its operators; every guardrail is written as a sentence into
the decision's reasons. Intervals are [low, high).
"""

import ipaddress
from typing import Final

from cronos.config import Policy
from cronos.types import (
    Ability,
    Action,
    Decision,
    Disposition,
    Entity,
    EntityKind,
    EvidenceClass,
    Finding,
    Option,
    Provenance,
    Snapshot,
    Verb,
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

# What each action risks, how surely it ends an attack, and what it disturbs if the finding is
# wrong; all in [0, 1]. A leased block of one flow or address is medium, of a system high.
_ACTIONS: Final[dict[tuple[Verb, EntityKind], tuple[float, float, float]]] = {
    (Verb.DENY, EntityKind.FLOW): (0.30, 0.50, 0.05),
    (Verb.DENY, EntityKind.ADDRESS): (0.40, 0.95, 0.20),
    (Verb.CONTAIN, EntityKind.HOST): (0.75, 0.95, 0.60),
}


def cell(confidence: float, risk: float) -> tuple[Disposition, str]:
    """Look a disposition up in the matrix, and name its cell: ``0.85-0.95/medium``."""
    row = CONFIDENCE_ROWS[3]
    while confidence < row[0]:
        row = CONFIDENCE_ROWS[CONFIDENCE_ROWS.index(row) - 1]
    column = RISK_COLUMNS[0] if risk >= 0.7 else RISK_COLUMNS[1] if risk >= 0.3 else RISK_COLUMNS[2]
    return row[2][column[1]], f"{row[1]}/{column[2]}"


# Looked up once: in Python 3.11 an enum's member costs a tenth of a microsecond each time.
_FLOW: Final = EntityKind.FLOW
_ADDRESS: Final = EntityKind.ADDRESS
_SPOOFABLE: Final = Provenance.SPOOFABLE
_STATISTICAL: Final = EvidenceClass.STATISTICAL


class Options:
    """Knows what the enforcement points of this node can do.

    Args:
        points: what each enforcement point can do.
    """

    def __init__(self, points: dict[str, tuple[Ability, ...]]) -> None:
        self._able = [
            (name, verb, kind, *figures)
            for name, abilities in points.items()
            for (verb, kind), figures in _ACTIONS.items()
            if any((one.verb, one.kind) == (verb, kind) for one in abilities)
        ]

    def against(self, finding: Finding) -> tuple[Option, ...]:
        """List what could be done about a finding; the first one is the most useful.

        Utility is p · efficacy · loss - (1 - p) · disruption, the loss taken from severity; of
        two alike the one of the earlier enforcement point counts as more useful.
        """
        gain = finding.confidence * finding.severity * 0.2
        doubt = 1 - finding.confidence
        actor, attacked = finding.actor, finding.target
        outside = actor is not None and actor.kind is _ADDRESS
        found: list[Option] = []
        for name, verb, kind, risk, efficacy, disruption in self._able:
            if kind is _FLOW:
                target = finding.flow
            elif outside:
                # A host is contained only where no outside address acts: then it is the foothold.
                target = actor if kind is _ADDRESS else None
            else:
                target = attacked if attacked is not None and attacked.kind is kind else None
            if target is not None:
                utility = gain * efficacy - doubt * disruption
                best = not found or utility > found[0].utility
                found.insert(0 if best else len(found), Option(name, verb, target, risk, utility))
        return tuple(found)


class Protected:
    """Knows the assets that no action may name."""

    def __init__(self, policy: Policy) -> None:
        networks = [network for name in policy.protected if (network := _network(name))]
        names = [name for name in policy.protected if _network(name) is None]
        self._names = frozenset(name.lower() for name in names)
        self._ranges = [
            (network.version, int(network.network_address), int(network.broadcast_address))
            for network in networks
        ]

    def covers(self, target: Entity) -> bool:
        """Say whether `target`, or the client of a flow, is protected."""
        value = target.value
        if target.kind is _FLOW:
            value = value.partition("/")[2].partition(">")[0].rpartition(":")[0]
        if self._names and value.lower() in self._names:
            return True
        version, number = _number(value)
        if not version:
            # A flow or address that cannot be read cannot be shown to be harmless.
            return target.kind is _FLOW or target.kind is _ADDRESS
        for known, first, last in self._ranges:
            if known == version and first <= number <= last:
                return True
        return False


# An octet has one spelling: "010" or "+1" is no octet, and is left to the library to refuse.
_OCTETS: Final = {str(octet): octet for octet in range(256)}


def _number(value: str) -> tuple[int, int]:
    """Give an address as its IP version and number, (0, 0) where it is none.

    The dotted form is read here: it is in every decision, and the library takes five times as
    long. An IPv4 address in an IPv6 one counts as itself.
    """
    parts = value.split(".")
    if len(parts) == 4:
        try:
            a, b, c, d = parts
            return 4, _OCTETS[a] << 24 | _OCTETS[b] << 16 | _OCTETS[c] << 8 | _OCTETS[d]
        except KeyError:
            pass
    try:
        address = ipaddress.ip_address(value)
    except ValueError:
        return 0, 0
    mapped = getattr(address, "ipv4_mapped", None) or address
    return mapped.version, int(mapped)


def _network(name: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network | None:
    try:
        return ipaddress.ip_network(name, strict=False)
    except ValueError:
        return None


def decide(snapshot: Snapshot) -> Decision:
    """Take the most useful option and say what may be done with it."""
    options = snapshot.options
    risk = options[0].risk if options else 0.0
    disposition, name = cell(snapshot.confidence, risk)
    floors = _guardrails(snapshot)
    if not options:
        why = "nothing this node can do would name the attacker"
        floors.append((Disposition.OBSERVE, why))
    reasons: list[str] = []
    for floor, why in floors:
        if CAUTION[floor] > CAUTION[disposition]:
            disposition = floor
            reasons.append(why)
    return Decision(
        snapshot.incident_id,
        disposition,
        snapshot.confidence,
        risk,
        name,
        _action(options[0], snapshot) if options else None,
        tuple(reasons),
        snapshot.policy_version,
    )


def _action(option: Option, snapshot: Snapshot) -> Action:
    point, verb, target = option.enforcement_point, option.verb, option.target
    named = action_id(point, verb, target)
    return Action(named, point, verb, target, snapshot.incident_id, snapshot.lease_ns)


BUDGET_SPENT: Final = "this minute's budget of actions is spent"


def _guardrails(snapshot: Snapshot) -> list[tuple[Disposition, str]]:
    """List what makes this decision more careful: how far, and why in words."""
    floors: list[tuple[Disposition, str]] = []
    if snapshot.provenance is _SPOOFABLE:
        why = "the evidence could have been forged by someone else: it blocks nobody"
        floors.append((Disposition.OBSERVE, why))
    if snapshot.evidence is _STATISTICAL:
        why = "a statistical anomaly only observes until it is calibrated on this site"
        floors.append((Disposition.OBSERVE, why))
    if snapshot.autonomy != "act":
        asks = snapshot.autonomy == "ask"
        floor = Disposition.ASK_ANALYST if asks else Disposition.OBSERVE
        floors.append((floor, f"autonomy is set to {snapshot.autonomy}"))
    if snapshot.killed:
        floors.append((Disposition.OBSERVE, "the kill switch is engaged"))
    if snapshot.budget <= 0:
        floors.append((Disposition.ASK_ANALYST, BUDGET_SPENT))
    if snapshot.protected:
        floors.append((Disposition.REFUSED, "the target is a protected asset"))
    return floors
