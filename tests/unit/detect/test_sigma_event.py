from cronos.detect.sigma_event import Event, strings
from cronos.types import Observation, Provenance


def event(fields=None, **native):
    return Event(
        Observation(
            "s", 1, 0, "base_event", Provenance.SPOOFABLE, fields=fields or {}, native=native
        )
    )


def test_values_are_folded_when_they_are_asked_for():
    seen = event(Image="C:\\Cmd.EXE", n=7, yes=True, many=["A", 1, {"x": 1}], none=None)
    assert seen["Image"] == "c:\\cmd.exe"
    assert (seen["n"], seen["yes"], seen["many"]) == ("7", "true", ("a", "1"))
    assert seen["none"] is None
    assert seen["absent"] is None
    assert seen.exists("none")
    assert not seen.exists("absent")


def test_normalised_fields_stand_in_for_names_a_source_does_not_know():
    seen = event({"process.file.path": "/bin/Sh", "http_request.url.path": "/A"})
    assert seen["Image"] == "/bin/sh"
    assert seen["c-uri"] == "/a"
    assert event({"process.file.path": "x"}, Image="own")["Image"] == "own"


def test_leaves_are_bounded_in_number_and_depth():
    assert len(event(a=list(range(10_000))).leaves()) == 512
    deep = "bottom"
    for _ in range(100):
        deep = [deep]
    assert event(a=deep, b="top").leaves() == ("top",)


def test_strings_of_foreign_values():
    assert strings(None) == strings({"a": 1}) == ()
    assert strings([1, "a", [2]]) == ("1", "a")
