import pytest

from cronos.detect.sigma_event import Event
from cronos.detect.sigma_match import compile_detection, conjunction, disjunction, negation
from cronos.detect.sigma_modifiers import Refused
from cronos.types import Observation, Provenance

A, B, C = (compile_detection({name: 1}) for name in "abc")


def event(*present):
    native = dict.fromkeys(present, 1)
    return Event(Observation("s", 1, 0, "base_event", Provenance.SPOOFABLE, native=native))


def test_and_or_and_not():
    assert conjunction([A, B, C]).check(event("a", "b", "c"))
    assert not conjunction([A, B, C]).check(event("a", "c"))
    assert disjunction([A, B]).check(event("b"))
    assert not disjunction([A, B]).check(event("c"))
    assert negation(A).check(event("b"))


def test_anchors_of_a_conjunction_are_those_of_one_part_and_of_a_disjunction_all():
    assert conjunction([disjunction([A, B]), C]).anchors == {("c", "1")}
    assert disjunction([A, B]).anchors == {("a", "1"), ("b", "1")}
    assert disjunction([A, negation(B)]).anchors is None
    assert conjunction([A, negation(B)]).anchors == {("a", "1")}


def test_the_fields_that_were_read_are_known():
    assert conjunction([A, disjunction([B, A])]).fields == ("a", "b")


def test_nothing_is_no_detection():
    with pytest.raises(Refused):
        conjunction([])
    with pytest.raises(Refused):
        disjunction([])
    with pytest.raises(Refused):
        compile_detection(None)
