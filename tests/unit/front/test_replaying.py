"""Deciding again, elsewhere: the same snapshot gives the same bytes, and differences are named."""

import io

import msgspec
import pytest

from cronos.errors import CronosError
from cronos.front import replaying
from cronos.front.replaying import decide_afresh, difference, hash_seed, serve
from cronos.kernel.policy import decide
from cronos.types import (
    Decision,
    Disposition,
    Entity,
    EntityKind,
    EvidenceClass,
    Now,
    Option,
    Provenance,
    Snapshot,
    Verb,
    encode,
)

TARGET = Entity(EntityKind.ADDRESS, "192.0.2.7")
CASE = Snapshot(
    Now(1, 2), "local-1-1", 0.97, 4, EvidenceClass.DECLARED, Provenance.AUTHENTICATED,
    (Option("nftables", Verb.DENY, TARGET, 0.4, 3.0),), False, "act", False, 5, 300,
)  # fmt: skip
DECIDED = decide(CASE)


def shortened(datum, keep):
    """Give canonical bytes as a version wrote them that knew fewer fields."""
    whole = encode(datum)
    header = whole[: 2 + whole[1]]
    fields = msgspec.msgpack.decode(whole[len(header) :])
    return header + msgspec.msgpack.encode(fields[: keep + 1])


@pytest.mark.parametrize("seed", ["1", "4711", "random"])
def test_a_fresh_process_under_any_hash_seed_gives_the_same_bytes(seed):
    other = msgspec.structs.replace(CASE, confidence=0.6)

    assert decide_afresh([encode(CASE), encode(other)], seed) == [
        encode(DECIDED),
        encode(decide(other)),
    ]


def test_what_is_no_snapshot_is_answered_with_nothing_and_holds_up_no_other():
    source = [b"", b"junk", encode(TARGET), b"\x01\x05Later\x90", encode(CASE)]
    target = io.BytesIO()
    serve(io.BytesIO(b"".join(replaying._frame(one) for one in source)), target)

    assert list(replaying._frames(target.getvalue())) == [b"", b"", b"", b"", encode(DECIDED)]


def test_frames_that_are_cut_off_are_refused():
    with pytest.raises(ValueError, match="cut off"):
        list(replaying._frames(b"\x00\x00\x00\x09abc"))


def test_a_process_that_fails_is_said(monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/false")

    with pytest.raises(CronosError, match="decides again failed") as told:
        decide_afresh([encode(CASE)], "1")
    assert told.value.code == "front.replay_failed"


def test_the_hash_seed_is_never_our_own(monkeypatch):
    monkeypatch.setenv("PYTHONHASHSEED", replaying.HASH_SEED)
    assert hash_seed() != replaying.HASH_SEED
    monkeypatch.delenv("PYTHONHASHSEED")
    assert hash_seed() == replaying.HASH_SEED


def test_equal_bytes_do_not_differ():
    assert difference(encode(DECIDED), encode(DECIDED)) == ("", False)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("disposition", Disposition.OBSERVE, 'disposition: recorded "observe", replayed "auto_'),
        ("confidence", 0.5, "confidence: recorded 0.5, replayed 0.97"),
        ("reasons", ("because",), 'reasons: recorded ["because"], replayed []'),
        ("action", None, "action: recorded null, replayed ["),
    ],
)
def test_the_first_field_that_differs_is_named(field, value, told):
    recorded = msgspec.structs.replace(DECIDED, **{field: value})

    found, appended = difference(encode(recorded), encode(DECIDED))

    assert found.startswith(told)
    assert not appended


@pytest.mark.parametrize("keep", range(7, len(Decision.__struct_fields__)))
def test_a_record_of_an_older_version_is_compared_in_what_it_holds(keep):
    assert difference(shortened(DECIDED, keep), encode(DECIDED)) == ("", True)
    other = msgspec.structs.replace(DECIDED, cell="elsewhere")
    assert difference(shortened(other, keep), encode(DECIDED))[0].startswith("cell")


def test_a_datum_within_may_be_older_too_but_a_list_may_not_be_shorter():
    assert DECIDED.action is not None
    whole = encode(DECIDED)
    header = whole[: 2 + whole[1]]
    fields = msgspec.msgpack.decode(whole[len(header) :])
    fields[6] = fields[6][:-1]  # the action, of before approvals were appended

    assert difference(header + msgspec.msgpack.encode(fields), whole) == ("", True)
    longer = msgspec.structs.replace(DECIDED, reasons=("one", "two"))
    shorter = msgspec.structs.replace(DECIDED, reasons=("one",))
    assert difference(encode(shorter), encode(longer))[0].startswith("reasons")


def test_a_record_of_a_later_version_is_no_match():
    whole = encode(DECIDED)
    header = whole[: 2 + whole[1]]
    fields = [*msgspec.msgpack.decode(whole[len(header) :]), "later"]

    found, _ = difference(header + msgspec.msgpack.encode(fields), whole)

    assert found == "1 fields are of a later version"


def test_what_is_no_decision_is_not_compared():
    with pytest.raises(ValueError, match="no decision"):
        difference(encode(TARGET), encode(DECIDED))
