"""The JSON documents of what people see of incidents, and of what they order."""

import msgspec

from cronos.front.documents_decide import DecisionView
from cronos.front.result import IncidentView
from cronos.link.clerk import QuestionView


class IncidentsDocument(msgspec.Struct, frozen=True):
    """The document of `cronos incidents --json`."""

    incidents: tuple[IncidentView, ...]
    questions: tuple[QuestionView, ...]
    # How many there are, where not all are shown.
    total: int
    # Whether a running node said so; else it is as the ledger held it last.
    live: bool = True
    # Of the one incident that was named: its last decision, and why; or why that cannot be told.
    decision: DecisionView | None = None
    unexplained: str = ""
    # Whether the kill switch is engaged, so that nothing new is done to anyone.
    killed: bool = False
    schema: str = "cronos.incidents/1"


class VerdictDocument(msgspec.Struct, frozen=True):
    """The document of `cronos incidents verdict --json`."""

    incident: str
    malicious: bool
    state: str
    signed: bool
    schema: str = "cronos.verdict/1"


class ApproveDocument(msgspec.Struct, frozen=True):
    """The document of `cronos approve --json`."""

    question: QuestionView
    # False where the person who was shown it said no.
    given: bool
    state: str
    signed: bool
    schema: str = "cronos.approve/1"


class DenyDocument(msgspec.Struct, frozen=True):
    """The document of `cronos deny --json`."""

    question: QuestionView
    state: str
    signed: bool
    schema: str = "cronos.deny/1"


class ReleaseDocument(msgspec.Struct, frozen=True):
    """The document of `cronos release --json`."""

    incident: str
    state: str
    signed: bool
    schema: str = "cronos.release/1"


class KillDocument(msgspec.Struct, frozen=True):
    """The document of `cronos kill --json`."""

    generation: int
    engaged: bool
    release_all: bool
    # Whether the file stands as it should: there, or gone.
    file: bool
    # "acknowledged", "absent" or "silent"; for each node, by its name, also "stale" where it
    # knows a later order.
    enforcer: str
    nodes: dict[str, str]
    # Whether nothing is under way any more at points that wait for foreign systems.
    settled: bool
    # From the command's own beginning, without the start of its process.
    acknowledged_ms: float
    remarks: tuple[str, ...] = ()
    schema: str = "cronos.kill/1"
