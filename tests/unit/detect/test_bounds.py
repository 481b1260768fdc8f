import pytest

from cronos.detect.bounds import (
    bounded,
    bounded_defect,
    cut,
    named,
    newest,
    sendable,
    short,
    within,
)
from cronos.types import Defect, EvidenceClass, Finding, Provenance


def finding(**changes):
    fields = {
        "finding_id": "f",
        "detector": "d",
        "title": "t",
        "explanation": "e",
        "evidence": EvidenceClass.DECLARED,
        "provenance": Provenance.SPOOFABLE,
        "confidence": 0.5,
        "severity": 1,
        "time_ns": 0,
    }
    return Finding(**fields | changes)


def test_what_is_short_enough_stays_as_it_is():
    one = finding(references=("a",), observations=("s#1",))
    assert bounded(one) == one
    assert bounded_defect(Defect("s", 1, "a", "b")) == Defect("s", 1, "a", "b")


def test_a_text_is_cut_for_reading_and_a_name_for_telling_apart():
    assert short("abcdef", 4) == "abc…"
    first, second = named("x" * 300 + "1"), named("x" * 300 + "2")
    assert len(first) == len(second) == 255
    assert first != second
    assert named("x" * 255) == "x" * 255


@pytest.mark.parametrize("text", ["\ud800" * 300, "\x00" * 300, "\U0001f600" * 300])
def test_any_text_can_be_cut(text):
    assert len(named(text)) <= 255
    assert len(bounded(finding(title=text)).title) == 200


def test_at_least_one_item_is_taken_and_no_more_than_fit():
    large = [Defect("s", at, "x" * 100_000, "") for at in range(3)]
    assert cut(large, 256) == tuple(large[:1])
    assert len(cut([finding()] * 300, 256)) == 256
    assert cut([], 256) == ()
    assert within(["a" * 1_000_000, "b"]) == ["a" * 1_000_000]


def test_the_newest_names_are_kept_in_their_order():
    table = {name * 50_000: number for number, name in enumerate("abcd")}
    assert list(newest(table).values()) == [2, 3]
    assert newest({}) == {}


def test_a_finding_with_a_number_beyond_64_bits_is_told_of_as_a_defect():
    assert sendable(finding()) is None
    defect = sendable(finding(severity=1 << 80))
    assert defect is not None
    assert "cannot be told" in defect.reason
