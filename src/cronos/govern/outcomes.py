"""What became of decisions: a pure fold over the ledger's records, never in the reflex path.

It counts, and says with each share how sure it is: autonomy, escalation, what was isolated and
verified, false alarms, the time to resolution, and the *shadow score*: how often what the node
would have done with every dial at `act` was right. What people judged becomes *calibration
candidates*, a file that takes effect only once an operator promotes it.

Who judges: a person's `Verdict`; where there is none, a person's answer. A yes to anything that was
asked says malicious, a no to the decision's own action says benign. A no to what was proposed
besides says that it goes too far, silence says nothing. Rule: the last word counts.
"""

from collections import Counter, OrderedDict
from collections.abc import Iterable
from typing import Final

import msgspec

from cronos.govern.intervals import clopper_pearson
from cronos.types import (
    Answer,
    AuditRecord,
    Datum,
    Decision,
    Disposition,
    EvidenceClass,
    Finding,
    Incident,
    Operation,
    Outcome,
    Question,
    State,
    Unknown,
    Verdict,
    decode,
)

MAX_CASES: Final = 200_000
# The rows of the matrix: what a confidence may do is decided by which of them it falls into.
BANDS: Final = ((0.0, 0.5), (0.5, 0.85), (0.85, 0.95), (0.95, 1.0))
CANDIDATE_SCHEMA: Final = "cronos.calibration/1"
_MAX_NAMED: Final = 16
_ACTING: Final = frozenset({Disposition.EXECUTE, Disposition.AUTO_APPROVE})
_NS: Final = 1e9


class Share(msgspec.Struct, frozen=True):
    """How often something was so, and between what the true share lies (95 %)."""

    right: int
    of: int
    low: float
    high: float


class Technique(msgspec.Struct, frozen=True):
    """How well one ATT&CK technique is answered: `isolated` of the attempts, and `verified`."""

    technique: str
    incidents: int
    isolated: Share
    verified: Share
    false_positives: Share


class Candidate(msgspec.Struct, frozen=True):
    """How often a detector's claims of one band of confidence were right, as people judged."""

    detector: str
    evidence: str
    above: float  # the band is [above, below)
    below: float
    right: int
    n: int
    low: float
    high: float
    basis: str = "local"
    note: str = "one per incident and detector, as people of this site judged"


class Tracking(msgspec.Struct, frozen=True):
    """All that is tracked; shares with `of` 0 are unknown, not bad.

    `autonomy`: carried out without a person's grant, of all that were carried out. `escalation`:
    a person was asked, of all that were decided. `false_isolations`: judged benign, of those that
    were isolated without a person's grant and judged. Times in seconds, from opening to closing.
    """

    incidents: int
    left_out: int
    autonomy: Share
    escalation: Share
    isolated: Share
    verified: Share
    false_positives: Share
    false_isolations: Share
    shadow: Share
    judged_by_verdict: int
    judged_by_answer: int
    resolved: int
    resolution_p50_s: float
    resolution_p95_s: float
    techniques: tuple[Technique, ...]
    candidates: tuple[Candidate, ...]


class _Case(msgspec.Struct):
    """What is known of one incident so far."""

    techniques: tuple[str, ...] = ()
    claims: dict[str, tuple[float, str]] = {}  # detector -> strongest confidence, evidence
    decided: bool = False
    asked: bool = False
    would: bool = False
    granted: bool = False
    alone: bool = False  # the first isolation came before any grant
    tried: bool = False
    isolated: bool = False
    verified: bool = False
    own: str = ""  # the id of the action that was decided about last
    put: tuple[str, ...] = ()  # the ids of those that people were asked about
    answer: bool | None = None
    verdict: bool | None = None
    opened_ns: int = 0
    resolved_ns: int = 0

    @property
    def malicious(self) -> bool | None:
        return self.answer if self.verdict is None else self.verdict


class OutcomeFold:
    """Takes records in the order of the ledger; what stands twice counts once."""

    def __init__(self, max_cases: int = MAX_CASES) -> None:
        self._cases: OrderedDict[str, _Case] = OrderedDict()
        self._max_cases = max_cases
        self._left_out = 0

    def take(self, data: bytes) -> None:
        """Take a record's canonical bytes; one that was erased, or is none, counts nothing."""
        record = _decoded(data)
        if not isinstance(record, AuditRecord) or not record.incident_id:
            return
        body = _decoded(record.body)
        if body is None or isinstance(body, Unknown):
            return
        _learn(self._case(record.incident_id), record, body)

    def _case(self, incident_id: str) -> _Case:
        case = self._cases.get(incident_id)
        if case is None:
            case = self._cases[incident_id] = _Case(claims={})
            if len(self._cases) > self._max_cases:
                self._cases.popitem(last=False)
                self._left_out += 1
        return case

    def result(self) -> Tracking:
        """Give what the records taken so far amount to."""
        cases = list(self._cases.values())
        done = [one for one in cases if one.isolated]
        tried = [one for one in cases if one.tried]
        judged = [one for one in cases if one.malicious is not None]
        lasted = sorted(
            (one.resolved_ns - one.opened_ns) / _NS
            for one in cases
            if one.opened_ns and one.resolved_ns >= one.opened_ns
        )
        alone = [one for one in judged if one.isolated and one.alone]
        # Only what was decided has a `would` to be scored.
        scored = [one for one in judged if one.decided]
        return Tracking(
            incidents=len(cases),
            left_out=self._left_out,
            autonomy=_share(sum(one.alone for one in done), len(done)),
            escalation=_of(one.asked for one in cases if one.decided),
            isolated=_of(one.isolated for one in tried),
            verified=_of(one.verified for one in done),
            false_positives=_of(not one.malicious for one in judged),
            false_isolations=_of(not one.malicious for one in alone),
            shadow=_of(one.would is one.malicious for one in scored),
            judged_by_verdict=sum(one.verdict is not None for one in judged),
            judged_by_answer=sum(one.verdict is None for one in judged),
            resolved=len(lasted),
            resolution_p50_s=_quantile(lasted, 0.5),
            resolution_p95_s=_quantile(lasted, 0.95),
            techniques=_techniques(cases),
            candidates=_candidates(judged),
        )


def tracking(records: Iterable[bytes]) -> Tracking:
    """Fold the canonical bytes of a ledger's records, oldest first."""
    fold = OutcomeFold()
    for record in records:
        fold.take(record)
    return fold.result()


def candidate_file(found: Tracking) -> bytes:
    """Give the calibration candidates as a file (JSON) for an operator to read and promote."""
    document = {"schema": CANDIDATE_SCHEMA, "candidate": True, "rows": found.candidates}
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def _learn(case: _Case, record: AuditRecord, body: Datum) -> None:
    match body:
        case Finding():
            _claim(case, body)
            case.opened_ns = case.opened_ns or record.wall_ns
        # A step besides is no answer to whether this is an attack.
        case Decision() if record.kind != "step":
            case.decided = True
            case.own = body.action.action_id if body.action else case.own
            case.would |= body.would in _ACTING
        case Question() | Answer() | Verdict():
            _heard(case, body)
        case Outcome() if body.operation is Operation.APPLY and record.kind != "workflow":
            _applied(case, body)
        case Incident():
            case.techniques = (case.techniques or body.techniques)[:_MAX_NAMED]
            if body.state is State.CLOSED:
                case.resolved_ns = case.resolved_ns or record.wall_ns
        case _:
            pass


def _heard(case: _Case, word: Question | Answer | Verdict) -> None:
    """Take what was asked of people and what they said; an answer of nobody is silence."""
    if isinstance(word, Question):
        case.asked = True
        if word.action.action_id not in case.put and len(case.put) < _MAX_NAMED:
            case.put = (*case.put, word.action.action_id)
    elif isinstance(word, Verdict):
        case.verdict = word.malicious
    elif word.subject and word.granted:
        if word.action_id in (case.own, *case.put):
            case.answer = case.granted = True
    elif word.subject and word.action_id == case.own:
        case.answer = False


def _claim(case: _Case, finding: Finding) -> None:
    named = dict.fromkeys((*case.techniques, *finding.techniques))
    case.techniques = tuple(named)[:_MAX_NAMED]
    known = case.claims.get(finding.detector)
    if known is None and len(case.claims) >= _MAX_NAMED:
        return
    if known is None or finding.confidence > known[0]:
        case.claims[finding.detector] = finding.confidence, finding.evidence.value


def _applied(case: _Case, outcome: Outcome) -> None:
    """A dry run shows what would happen; it isolates nobody."""
    if outcome.dry_run:
        return
    case.tried = True
    if outcome.ok:
        case.alone |= not case.isolated and not case.granted
        case.isolated = True
        case.verified |= outcome.verified


def _techniques(cases: Iterable[_Case]) -> tuple[Technique, ...]:
    by_name: dict[str, list[_Case]] = {}
    for case in cases:
        for name in case.techniques:
            by_name.setdefault(name, []).append(case)
    return tuple(
        Technique(
            name,
            len(members),
            _of(one.isolated for one in members if one.tried),
            _of(one.verified for one in members if one.isolated),
            _of(not one.malicious for one in members if one.malicious is not None),
        )
        for name, members in sorted(by_name.items())
    )


def _candidates(judged: Iterable[_Case]) -> tuple[Candidate, ...]:
    counts: Counter[tuple[str, str, tuple[float, float]]] = Counter()
    right: Counter[tuple[str, str, tuple[float, float]]] = Counter()
    for case in judged:
        for detector, (confidence, evidence) in case.claims.items():
            key = detector, evidence, _band(confidence)
            counts[key] += 1
            right[key] += bool(case.malicious)
    return tuple(
        Candidate(key[0], key[1], *key[2], right[key], n, *_interval(right[key], n))
        for key, n in sorted(counts.items())
        if key[1] in (EvidenceClass.DECLARED.value, EvidenceClass.STATISTICAL.value)
    )


def _band(confidence: float) -> tuple[float, float]:
    return next((band for band in BANDS if confidence < band[1]), BANDS[-1])


def _of(flags: Iterable[bool]) -> Share:
    told = list(flags)
    return _share(sum(told), len(told))


def _share(right: int, of: int) -> Share:
    return Share(right, of, *_interval(right, of))


def _interval(right: int, of: int) -> tuple[float, float]:
    low, high = clopper_pearson(right, of)
    return round(low, 4), round(high, 4)


def _quantile(ordered: list[float], q: float) -> float:
    return round(ordered[min(len(ordered) - 1, int(q * len(ordered)))], 3) if ordered else 0.0


def _decoded(data: bytes) -> Datum | Unknown | None:
    try:
        return decode(data)
    except ValueError:
        return None
