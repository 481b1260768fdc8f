"""Whose record it is: the actor's of its incident, said in one place."""

import pytest
from msgspec.structs import replace

from cronos.govern.whose import Whose, subject_of
from cronos.types import (
    Action,
    AuditRecord,
    Bulletin,
    BulletinKind,
    Decision,
    Disposition,
    Entity,
    EntityKind,
    EvidenceClass,
    Finding,
    Kill,
    Operation,
    Outcome,
    Provenance,
    Verb,
    encode,
)

_ACTOR, _TARGET = (
    Entity(EntityKind.ADDRESS, "192.0.2.7"),
    Entity(EntityKind.ADDRESS, "198.51.100.2"),
)
_FINDING = Finding(
    "f1", "scan", "t", "e", EvidenceClass.DECLARED, Provenance.BIDIRECTIONAL, 0.9, 3, 1,
    actor=_ACTOR, target=_TARGET,
)  # fmt: skip
_ACTION = Action("a1", "tap", Verb.DENY, _ACTOR, "n-1-i1", 1)
_DECISION = Decision("n-1-i1", Disposition.EXECUTE, 0.9, 0.1, "cell", _ACTION, ())
_OUTCOME = Outcome("a1", "n-1-i1", Operation.APPLY, ok=True, verified=True, detail="198.51.100.2")
_BULLETIN = Bulletin(
    "b", BulletinKind.ISOLATED, "n", "n-1-i1", 1, _ACTOR, _TARGET, (), 0.9, None, 1
)


def _record(body, incident="n-1-i1", kind="kind"):
    return encode(AuditRecord("n", kind, 1, 2, incident, encode(body)))


@pytest.mark.parametrize("body", [_FINDING, _BULLETIN, _DECISION])
def test_the_actor_is_whose_it_is_never_the_target(body):
    assert Whose(tuple).of(_record(body)) == "address 192.0.2.7"


def test_what_names_nobody_belongs_to_the_actor_of_its_incident():
    whose = Whose(tuple)
    whose.of(_record(_FINDING))
    assert whose.of(_record(_OUTCOME)) == "address 192.0.2.7"
    assert whose.of(_record(_OUTCOME, "n-1-i2")) == ""


def test_a_finding_in_a_case_of_many_is_its_own_actors():
    whose = Whose(tuple)
    other = replace(_FINDING, actor=Entity(EntityKind.ADDRESS, "192.0.2.8"))

    assert whose.of(_record(_FINDING, kind="finding")) == "address 192.0.2.7"
    assert whose.of(_record(other, kind="finding")) == "address 192.0.2.8"
    assert whose.of(_record(_OUTCOME)) == "address 192.0.2.7"


def test_after_a_restart_the_newest_records_are_asked_once():
    asked = []

    def recall():
        asked.append(1)
        return [_record(_FINDING), b"noise", _record(_OUTCOME)]

    whose = Whose(recall)
    assert whose.of(_record(_OUTCOME)) == "address 192.0.2.7"
    assert whose.of(_record(_OUTCOME, "n-1-i9")) == ""
    assert asked == [1]


@pytest.mark.parametrize(
    "record", [b"", b"noise", _record(Kill(1, engaged=True), ""), encode(_FINDING)]
)
def test_what_has_no_incident_belongs_to_nobody(record):
    assert Whose(tuple).of(record) == ""


def test_incidents_are_forgotten_from_the_oldest(monkeypatch):
    monkeypatch.setattr("cronos.govern.whose._MAX_INCIDENTS", 2)
    whose = Whose(tuple)
    for number in range(3):
        whose.of(_record(_FINDING, f"i{number}"))
    assert whose.of(_record(_OUTCOME, "i0")) == ""
    assert whose.of(_record(_OUTCOME, "i2")) == "address 192.0.2.7"


def test_a_subject_is_named_as_a_person_would_type_it():
    assert subject_of(_ACTOR) == "address 192.0.2.7"
    assert subject_of(None) == ""


def test_whom_much_is_told_of_is_not_forgotten_for_a_flood_of_others(monkeypatch):
    monkeypatch.setattr("cronos.govern.whose._MAX_INCIDENTS", 10)
    whose = Whose(tuple)
    whose.of(_record(_FINDING))
    for number in range(30):
        whose.of(_record(_FINDING, f"n-2-i{number}"))
        assert whose.of(_record(_OUTCOME)) == "address 192.0.2.7"
