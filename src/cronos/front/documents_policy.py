"""The JSON documents of `cronos policy`."""

import msgspec


class MatrixRow(msgspec.Struct, frozen=True):
    """A row of the matrix: what may be done at low, medium and high risk."""

    confidence: str
    low: str
    medium: str
    high: str


class AbilityView(msgspec.Struct, frozen=True):
    """What an enforcement point can do to a kind of target, and how far it may go by itself."""

    point: str
    verb: str
    kind: str
    openc2: str
    d3fend: str
    reversal: str
    blast: str
    risk: float
    dial: str


class PlaybookView(msgspec.Struct, frozen=True):
    """A playbook in use."""

    name: str
    playbook_id: str
    steps: int
    techniques: tuple[str, ...]


class Refusal(msgspec.Struct, frozen=True):
    """A playbook that is not in use, and what to do about it."""

    source: str
    reason: str
    remedy: str


class PolicyDocument(msgspec.Struct, frozen=True):
    """The document of `cronos policy explain --json`; budgets are per minute."""

    version: int
    autonomy: str
    matrix: tuple[MatrixRow, ...]
    abilities: tuple[AbilityView, ...]
    budgets: dict[str, float]
    protected: tuple[str, ...]
    lease_s: int
    lease_max_s: int
    playbooks: tuple[PlaybookView, ...]
    refused: tuple[Refusal, ...]
    schema: str = "cronos.policy/1"


class PlaybookDocument(msgspec.Struct, frozen=True):
    """The document of `cronos policy import --json` and `export`; "" where nothing was written."""

    source: str
    output: str
    name: str
    playbook_id: str
    steps: int
    techniques: tuple[str, ...]
    schema: str = "cronos.playbook/1"


class Judgement(msgspec.Struct, frozen=True):
    """What is decided, and about which action; "" where there is none."""

    disposition: str
    action: str
    cell: str
    proposal: str
    reasons: tuple[str, ...]


class Change(msgspec.Struct, frozen=True):
    """A decision that would be another one; `number` counts the incident's decisions from 1."""

    incident_id: str
    number: int
    step: bool
    old: Judgement
    new: Judgement


class StepChange(msgspec.Struct, frozen=True):
    """A playbook's step that would be decided otherwise; "" where it would not be proposed."""

    incident_id: str
    action: str
    old: str
    new: str


class PolicyTestDocument(msgspec.Struct, frozen=True):
    """The document of `cronos policy test --json`.

    `reproduced` counts the recorded decisions that this version decides as they were recorded.
    """

    ledger: str
    incidents: int
    decisions: int
    reproduced: int
    left_out: int
    unreadable: int
    changed: int
    bolder: int
    more_careful: int
    changes: tuple[Change, ...]
    steps: tuple[StepChange, ...]
    refused: tuple[Refusal, ...]
    schema: str = "cronos.policy-test/1"
