"""The JSON documents of `cronos decide` and `cronos replay`."""

from typing import Any

import msgspec


class DecisionView(msgspec.Struct, frozen=True):
    """One decision; `explanation` holds grounds, options considered, clocks and counterfactuals."""

    incident_id: str
    disposition: str
    cell: str
    confidence: float
    risk: float
    action: str
    proposal: str
    would: str
    reasons: tuple[str, ...]
    why: tuple[str, ...]
    explanation: dict[str, Any]


class DecideDocument(msgspec.Struct, frozen=True):
    """The document of `cronos decide --json`."""

    decisions: tuple[DecisionView, ...]
    acts: bool
    asks: bool
    schema: str = "cronos.decide/1"


class ReplayedView(msgspec.Struct, frozen=True):
    """One recorded decision and what became of deciding again; `difference` is empty if nothing.

    `appended` says that the record is of an older version, and was compared in what it holds.
    """

    position: int
    disposition: str
    cell: str
    identical: bool
    appended: bool
    difference: str
    why: tuple[str, ...]


class ReplayDocument(msgspec.Struct, frozen=True):
    """The document of `cronos replay --json`.

    `unpaired` decisions have no snapshot of their own and cannot be replayed.
    """

    incident_id: str
    identical: bool
    decisions: tuple[ReplayedView, ...]
    unpaired: int
    hash_seed: str
    # Beyond what is replayed at once.
    left_out: int = 0
    schema: str = "cronos.replay/1"
