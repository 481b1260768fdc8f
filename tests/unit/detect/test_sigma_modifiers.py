import pytest

from cronos.detect.sigma_event import Event
from cronos.detect.sigma_match import compile_detection
from cronos.detect.sigma_modifiers import Refused, predicate, transform
from cronos.types import Observation, Provenance


def event(**native):
    return Event(Observation("s", 1, 0, "base_event", Provenance.SPOOFABLE, native=native))


def holds(key, value, **native):
    return compile_detection({key: value}).check(event(**native))


@pytest.mark.parametrize(
    ("key", "value", "native", "expected"),
    [
        ("a", "Cmd", {"a": "cMD"}, True),
        ("a", ["x", "cmd"], {"a": "cmd"}, True),
        ("a", 5, {"a": "5"}, True),
        ("a", "5", {"a": 5}, True),
        ("a", True, {"a": True}, True),
        ("a", None, {}, True),
        ("a", None, {"a": ""}, False),
        ("a", "", {"a": ""}, True),
        ("a", "", {}, False),
        ("a|contains", "b", {"a": "abc"}, True),
        ("a|contains|all", ["a", "c"], {"a": "abc"}, True),
        ("a|contains|all", ["a", "x"], {"a": "abc"}, False),
        ("a|startswith", "AB", {"a": "abc"}, True),
        ("a|endswith", "bc", {"a": "abc"}, True),
        ("a|cased", "Abc", {"a": "abc"}, False),
        ("a|contains|cased", "bC", {"a": "abC"}, True),
        ("a|re", "^a.c$", {"a": "abc"}, True),
        ("a|re", "^A.c$", {"a": "abc"}, False),
        ("a|re|i", "^A.c$", {"a": "abc"}, True),
        ("a|re|s", "a.c", {"a": "a\nc"}, True),
        ("a|re|m", "^c$", {"a": "a\nc"}, True),
        ("a|cidr", "192.0.2.0/24", {"a": "192.0.2.7"}, True),
        ("a|cidr", "192.0.2.0/24", {"a": "198.51.100.1"}, False),
        ("a|cidr", "2001:db8::/32", {"a": "2001:db8::7"}, True),
        ("a|cidr", "192.0.2.0/24", {"a": "no address"}, False),
        ("a|exists", True, {"a": ""}, True),
        ("a|exists", False, {}, True),
        ("a|lt", 5, {"a": 4}, True),
        ("a|lte", 5, {"a": "5"}, True),
        ("a|gt", 5, {"a": 5}, False),
        ("a|gte", 5.5, {"a": "0x6"}, True),
        ("a|gt", 5, {"a": "word"}, False),
        ("a|fieldref", "b", {"a": "X", "b": "x"}, True),
        ("a|fieldref|endswith", "b", {"a": "yx", "b": "x"}, True),
        ("a|windash|contains", " -f", {"a": "cmd /f"}, True),
        ("a|windash|contains", " -f", {"a": "cmd \u2013f"}, True),
        ("a|base64|contains", "foo", {"a": "..Zm9v.."}, True),
        ("a|wide|base64offset|contains", "http", {"a": "x aAB0AHQAcA"}, True),
        ("a|base64offset|contains", "http://", {"a": "xodHRwOi8v"}, True),
        ("a", "x", {"a": ["y", "x"]}, True),
        ("a.b", "x", {"a": {"b": "X"}}, True),
        ("a.b", "x", {"a.b": "x"}, True),
        ("a.b.c", "x", {"a": {"b": 1}}, False),
    ],
)
def test_modifiers(key, value, native, expected):
    assert holds(key, value, **native) is expected


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("a|unheard", "x"),
        ("a|expand", "%x%"),
        ("a|re", "("),
        ("a|re", "x" * 10_000),
        ("a|cidr", "x"),
        ("a|lt", "x"),
        ("a", {"b": 1}),
        ("a|wide", "x*y"),
        ("|startswith", "x"),
        ("a", []),
    ],
)
def test_what_is_not_known_is_refused_and_never_dropped(key, value):
    with pytest.raises(Refused):
        compile_detection({key: value})


def test_keywords_search_every_value_in_depth():
    deep = {"a": {"b": ["one", {"c": "The JNDI text"}]}}
    assert compile_detection(["nothing", "jndi"]).check(event(**deep))
    assert compile_detection({"|all": ["one", "jndi"]}).check(event(**deep))
    assert not compile_detection({"|all": ["one", "two"]}).check(event(**deep))
    assert compile_detection({"|re": "J[N]DI"}).check(event(a="x jndi")) is False


def test_a_list_of_maps_is_an_or_and_a_map_an_and():
    either = compile_detection([{"a": "1", "b": "2"}, {"c": "3"}])
    assert either.check(event(c="3"))
    assert not either.check(event(a="1"))


def test_anchors_are_exact_values_and_last_parts_of_paths():
    assert predicate("Image", ("endswith",), r"\Sys\Cmd.exe").anchors == (r"\cmd.exe",)
    assert predicate("EventID", (), 4624).anchors == ("4624",)
    assert predicate("Image", ("endswith",), "cmd.exe").anchors == ()
    assert predicate("Image", ("contains",), r"\cmd.exe").anchors == ()
    assert compile_detection([{"a": 1}, {"b|contains": "x"}]).anchors is None


def test_the_three_offsets_of_base64():
    assert transform("http://", ["base64offset"]) == ["aHR0cDovL", "h0dHA6Ly", "odHRwOi8v"]
