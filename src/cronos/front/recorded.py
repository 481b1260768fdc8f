"""What a node's ledger holds, read back by commands: read only, beside a running node or without.

A record counts only where the chain holds up to it. Where the keystore cannot be had, a readable
ledger of before there were keys is read all the same.
"""

from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from cronos.config import Config
from cronos.errors import DeniedError, InputError
from cronos.front.keyring import using_keys
from cronos.front.plugins import load
from cronos.front.sealed import sealer_of, seals
from cronos.types import (
    AuditRecord,
    Datum,
    Decision,
    Finding,
    Incident,
    Outcome,
    Question,
    Snapshot,
    Unknown,
    decode,
)

MAX_FINDINGS: Final = 1_000
MAX_OUTCOMES: Final = 256
_NO_KEYS: Final = frozenset({"crypto.no_keystore", "crypto.unreadable"})


class Told(msgspec.Struct):
    """What the ledger holds about one incident: how it stood last, and its last own decision."""

    records: int = 0
    first: int = 0
    last: int = 0
    incident: Incident | None = None
    snapshot: Snapshot | None = None
    decision: Decision | None = None
    question: Question | None = None
    findings: list[Finding] = msgspec.field(default_factory=list[Finding])
    outcomes: deque[Outcome] = msgspec.field(
        default_factory=lambda: deque[Outcome](maxlen=MAX_OUTCOMES)
    )


def ledger_of(config: Config, state: Path) -> Path:
    """Give the path of a node's ledger."""
    return state / config.node.instance / "ledger" / "ledger.db"


def records_of(config: Config, state: Path) -> Iterator[tuple[int, bytes]]:
    """Give position and canonical bytes of each record, oldest first; b"" where one was erased.

    Raises:
        InputError: there is no ledger, or it cannot be read.
        CronosError: the chain is broken; what was given before it is right.
        DeniedError: the ledger is sealed and its keys cannot be had.
    """
    path = ledger_of(config, state)
    read = load("entry", "read-ledger")
    if not seals(config) or not path.is_file():
        yield from read(path, None)
        return
    clock = load("entry", "clock")()
    try:
        with using_keys(config, state) as keys:
            yield from read(path, sealer_of(config, path.parent, clock, "ledger", lambda: keys))
    except InputError as error:
        # A readable ledger of before there were keys needs none.
        if error.code not in _NO_KEYS:
            raise
        try:
            yield from read(path, None)
        except DeniedError:
            raise error from None


def tracked_of(config: Config, state: Path) -> Any:
    """Count what became of decisions, from the whole ledger.

    Raises:
        CronosError: as `records_of` does.
    """
    return load("entry", "track-outcomes")(data for _, data in records_of(config, state))


def told_of(records: Iterable[tuple[int, bytes]], incident_id: str) -> Told:
    """Gather what is told about one incident; a step that was proposed besides is left out."""
    told = Told()
    before: Snapshot | None = None
    for position, data in records:
        record = decoded(data)
        if not isinstance(record, AuditRecord) or record.incident_id != incident_id:
            continue
        told.records += 1
        told.first, told.last = told.first or position, position
        body = decoded(record.body)
        if isinstance(body, Snapshot):
            before = body
        elif isinstance(body, Decision):
            if record.kind == "decision" and before is not None:
                told.snapshot, told.decision = before, body
            before = None
        else:
            _keep(told, body)
    return told


def _keep(told: Told, body: Datum | Unknown | None) -> None:
    match body:
        case Incident():
            # A record may stand twice, and then behind what followed it: versions tell.
            if told.incident is None or body.version >= told.incident.version:
                told.incident = body
        case Finding() if len(told.findings) < MAX_FINDINGS:
            told.findings.append(body)
        case Outcome():
            told.outcomes.append(body)
        case Question():
            told.question = body
        case _:
            pass


def decoded(data: bytes) -> Datum | Unknown | None:
    """Read canonical bytes; None where they are none, as in the place of an erased record."""
    try:
        return decode(data)
    except ValueError:
        return None
