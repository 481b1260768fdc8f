"""What a ledger tells of one incident, whatever else, or whatever rubbish, lies in it."""

import pytest
from tests.unit.front.recorded import PLAIN, finding, record, snapshot, story, write
from tests.unit.govern.test_outcomes import Ledger

from cronos.errors import InputError
from cronos.front.recorded import (
    MAX_FINDINGS,
    MAX_OUTCOMES,
    decoded,
    ledger_of,
    records_of,
    told_of,
)
from cronos.kernel.policy import decide
from cronos.types import Operation, Outcome


def numbered(records):
    return enumerate(records, 1)


def test_one_incident_is_told_with_its_last_own_decision(tmp_path):
    later = snapshot(confidence=0.6)
    step = snapshot(confidence=0.7)
    records = [*story("other"), *story(), *story("other")]
    records += [record("snapshot", later), record("decision", decide(later))]
    records += [record("snapshot", step), record("step", decide(step))]
    write(tmp_path, records)

    told = told_of(records_of(PLAIN, tmp_path), "local-1-1")

    assert (told.snapshot, told.decision) == (later, decide(later))
    assert (told.records, told.first, told.last) == (8, 5, 16)
    assert told.findings == [finding()]
    assert len(told.outcomes) == 1
    assert told.incident is None


def test_a_decision_without_a_snapshot_of_its_own_is_not_explained_by_an_older_one():
    first, other = snapshot(), decide(snapshot(confidence=0.6))
    records = [record("snapshot", first), record("decision", decide(first))]
    told = told_of(numbered([*records, record("decision", other)]), "local-1-1")

    assert told.decision == decide(first)


def test_how_it_stood_last_is_the_highest_version_wherever_it_stands():
    ledger = Ledger()
    ledger.closed("a")
    twice = [*ledger.records, *ledger.records]

    assert told_of(numbered(twice), "a").incident.version == 9


def test_rubbish_is_passed_over_and_much_is_cut():
    done = Outcome("a", "local-1-1", Operation.APPLY, ok=True, verified=True, detail="")
    records = [b"", b"junk", b"\x01\x05Later\x90", record("finding", finding())]
    records += [record("finding", finding())] * (MAX_FINDINGS + 5)
    records += [record("outcome", done)] * (MAX_OUTCOMES + 5)
    told = told_of(numbered(records), "local-1-1")

    assert len(told.findings) == MAX_FINDINGS
    assert len(told.outcomes) == MAX_OUTCOMES
    assert decoded(b"") is None


def test_where_there_is_no_ledger_its_path_is_named(tmp_path):
    with pytest.raises(InputError) as caught:
        list(records_of(PLAIN, tmp_path))
    assert str(ledger_of(PLAIN, tmp_path)) in caught.value.sentence
