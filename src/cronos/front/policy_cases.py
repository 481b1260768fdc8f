"""Recorded incidents, read back from a ledger for `cronos policy test`: nothing is written.

A record counts only where the chain holds up to it. Works beside a running node and without it.
"""

from pathlib import Path
from typing import Final

from msgspec.structs import replace

from cronos.config import Config
from cronos.front.recorded import records_of
from cronos.types import (
    Answer,
    AuditRecord,
    Datum,
    Decision,
    Finding,
    Incident,
    Outcome,
    Snapshot,
    State,
    Unknown,
    decode,
)

MAX_CASES: Final = 100_000
MAX_JUDGED: Final = 64
MAX_HISTORY: Final = 256


class Judged:
    """A decision as it was recorded, with all that it was made from."""

    def __init__(self, snapshot: Snapshot, decision: Decision, *, step: bool) -> None:
        self.snapshot = snapshot
        self.decision = decision
        self.step = step  # about what a planner proposed, not about the isolation itself


class Case:
    """One recorded incident: its decisions, and what became of them."""

    def __init__(self) -> None:
        self.judged: list[Judged] = []
        self.history: list[Outcome | Answer] = []
        self._finding: Finding | None = None
        self._snapshot: Snapshot | None = None
        self._decision: Decision | None = None
        self._last: Incident | None = None

    def take(self, kind: str, body: Datum | Unknown | None) -> bool:
        """Take the next record; False where there are more decisions than are kept."""
        match body:
            case Finding():
                self._finding = self._finding or body
            case Incident():
                self._last = body
            case Snapshot():
                self._snapshot = body
            case Decision():
                return self._judge(body, step=kind == "step")
            case Outcome() | Answer():
                if len(self.history) < MAX_HISTORY:
                    self.history.append(body)
            case _:
                pass
        return True

    def _judge(self, decision: Decision, *, step: bool) -> bool:
        if not step:
            self._decision = decision
        snapshot, self._snapshot = self._snapshot, None
        # One without a snapshot was no decision of the matrix: a lease taken over, a budget back.
        if snapshot is None:
            return True
        if len(self.judged) >= MAX_JUDGED:
            return False
        self.judged.append(Judged(snapshot, decision, step=step))
        return True

    def incident(self) -> Incident | None:
        """Give the incident as a planner would have met it while it was isolated."""
        if self._last is not None:
            return replace(self._last, state=State.ISOLATED, verdict="")
        first, known = self._finding, self.judged[-1].snapshot if self.judged else None
        if first is None or known is None:
            return None
        return Incident(
            known.incident_id,
            State.ISOLATED,
            first.actor,
            first.target,
            first.title,
            known.confidence,
            known.severity,
            known.evidence,
            known.provenance,
            known.techniques or first.techniques,
            (first.finding_id,),
            1,
            known.now.wall_ns,
            0,
            1,
            decision=self._decision,
        )


class Cases:
    """Recorded incidents by id, in the order of their first record."""

    def __init__(self) -> None:
        self.by_id: dict[str, Case] = {}
        self.left_out = 0
        self.unreadable = 0

    def take(self, record: bytes) -> None:
        """Take one opened record; what is none, or was erased, is counted and left out."""
        read, body = _opened(record)
        if read is None:
            self.unreadable += 1
            return
        if not read.incident_id:
            return
        case = self.by_id.get(read.incident_id)
        if case is None:
            if len(self.by_id) >= MAX_CASES:
                self.left_out += isinstance(body, Decision)
                return
            case = self.by_id[read.incident_id] = Case()
        if not case.take(read.kind, body):
            self.left_out += 1


def _opened(record: bytes) -> tuple[AuditRecord | None, Datum | Unknown | None]:
    """Decode a record and what it tells of; None where it is none."""
    try:
        read = decode(record)
        return (read, decode(read.body)) if isinstance(read, AuditRecord) else (None, None)
    except ValueError:
        return None, None


def read_cases(config: Config, state: Path) -> Cases:
    """Read the incidents of a node's ledger, verifying it on the way; nothing is written.

    Raises:
        InputError: there is no ledger, or it cannot be read.
        CronosError: the ledger does not hold, or its keys cannot be had.
    """
    cases = Cases()
    for _, record in records_of(config, state):
        cases.take(record)
    return cases
