"""`cronos replay`: decide again what was decided about an incident, and compare byte for byte.

The ledger is read only, so a node may run meanwhile; its chain is verified on the way. Deciding
again happens in a fresh process under another hash seed.
"""

import argparse
from collections.abc import Iterator
from typing import Final

import msgspec

from cronos.errors import InputError
from cronos.front import settings
from cronos.front.commands.decide import view
from cronos.front.documents_decide import ReplayDocument, ReplayedView
from cronos.front.recorded import decoded, ledger_of, records_of
from cronos.front.replaying import decide_afresh, difference, hash_seed
from cronos.front.result import print_json
from cronos.link.text import plain
from cronos.types import AuditRecord, Decision, Finding, Snapshot

# Decisions about an incident, and about the steps that were proposed besides.
_DECIDED: Final = frozenset({"decision", "step"})
_MAX_DECISIONS: Final = 10_000
_MAX_BYTES: Final = 256 << 20
_MAX_FINDINGS: Final = 1_000


class Pair(msgspec.Struct, frozen=True):
    """A recorded decision, where it lies, and what was decided about; both as stored."""

    position: int
    snapshot: bytes
    decision: bytes

    @property
    def size(self) -> int:
        """Give how many bytes it takes."""
        return len(self.snapshot) + len(self.decision)


class Case(msgspec.Struct):
    """What the ledger holds about one incident's decisions."""

    pairs: list[Pair] = []
    findings: list[Finding] = []
    unpaired: int = 0
    records: int = 0
    left_out: int = 0  # beyond the bounds
    held: int = 0  # bytes of the pairs


def arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options."""
    parser.add_argument("incident", metavar="INCIDENT", help="its id, as `run` and `up` show it")
    settings.shared(parser)


def execute(options: argparse.Namespace) -> int:
    """Replay: 0 when every decision is the same again, 1 when one is not."""
    config = settings.config_of(options)
    state = settings.state_of(options)
    case = collect(records_of(config, state), options.incident)
    if not case.records:
        path = ledger_of(config, state)
        raise InputError(
            "front.unknown_incident",
            f"The ledger {path} holds nothing about `{plain(options.incident, 100)}`.",
            "Give an id as the incidents show it; what was erased is gone for good.",
        )
    document = replayed(case, options.incident)
    if options.json:
        print_json(document)
    else:
        _print(document)
    return 0 if document.identical else 1


def collect(records: Iterator[tuple[int, bytes]], incident_id: str) -> Case:
    """Gather an incident's decisions, each with the snapshot noted before it."""
    case = Case([], [])
    snapshot = b""
    for position, data in records:
        record = decoded(data)
        if not isinstance(record, AuditRecord) or record.incident_id != incident_id:
            continue
        case.records += 1
        if record.kind == "snapshot":
            snapshot = record.body
        elif record.kind in _DECIDED:
            pair = Pair(position, snapshot, record.body)
            if not snapshot:
                case.unpaired += 1
            elif len(case.pairs) < _MAX_DECISIONS and case.held + pair.size <= _MAX_BYTES:
                case.pairs.append(pair)
                case.held += pair.size
            else:
                case.left_out += 1
            snapshot = b""
        elif record.kind == "finding" and len(case.findings) < _MAX_FINDINGS:
            body = decoded(record.body)
            case.findings += [body] if isinstance(body, Finding) else []
    return case


def replayed(case: Case, incident_id: str) -> ReplayDocument:
    """Decide everything again in a fresh process, and compare."""
    seed = hash_seed()
    again = decide_afresh([one.snapshot for one in case.pairs], seed) if case.pairs else []
    views = tuple(
        _compared(pair, other, case.findings) for pair, other in zip(case.pairs, again, strict=True)
    )
    same = all(one.identical for one in views)
    return ReplayDocument(
        plain(incident_id, 200), same, views, case.unpaired, seed, left_out=case.left_out
    )


def _compared(pair: Pair, again: bytes, findings: list[Finding]) -> ReplayedView:
    recorded, snapshot = decoded(pair.decision), decoded(pair.snapshot)
    if not again or not isinstance(recorded, Decision) or not isinstance(snapshot, Snapshot):
        why = "the record is of a later version, or damaged"
        return ReplayedView(pair.position, "", "", False, False, why, ())
    found, appended = difference(pair.decision, again)
    told = view(snapshot, recorded, findings)
    return ReplayedView(
        pair.position,
        told.disposition,
        told.cell,
        not found,
        appended,
        plain(found, 400),
        told.why,
    )


def _print(document: ReplayDocument) -> None:
    for one in document.decisions:
        how = "identical" if one.identical else f"DIFFERENT, {one.difference}"
        if one.appended:
            how += " in every field it holds (the record is of an older version)"
        print(f"record {one.position}: {one.disposition} in cell {one.cell}: {how}.")
        for line in one.why:
            print(f"  {line}")
    count = len(document.decisions)
    if count:
        where = f"in another process, PYTHONHASHSEED={document.hash_seed}"
        whole = not any(one.appended for one in document.decisions)
        same = "identical byte for byte" if whole else "identical in all that the records hold"
        verdict = same if document.identical else "NOT all identical"
        print(f"{count} decision{'s' * (count != 1)} replayed {where}: {verdict}.")
    else:
        print("Nothing that can be replayed was decided about it.")
    if document.unpaired:
        print(f"{document.unpaired} more have no snapshot of their own, and cannot be replayed.")
    if document.left_out:
        print(f"{document.left_out} more are beyond what is replayed at once.")
