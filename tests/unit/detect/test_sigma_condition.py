import pytest

from cronos.detect.sigma_condition import compile_condition
from cronos.detect.sigma_event import Event
from cronos.detect.sigma_match import compile_detection
from cronos.detect.sigma_modifiers import Refused
from cronos.types import Observation, Provenance

NAMES = {name: compile_detection({name: 1}) for name in ("sel", "sel_a", "sel_b", "filter", "_x")}


def holds(condition, *present):
    native = dict.fromkeys(present, 1)
    event = Event(Observation("s", 1, 0, "base_event", Provenance.SPOOFABLE, native=native))
    return compile_condition(condition, NAMES).check(event)


@pytest.mark.parametrize(
    ("condition", "present", "expected"),
    [
        ("sel", ["sel"], True),
        ("sel and not filter", ["sel"], True),
        ("sel and not filter", ["sel", "filter"], False),
        ("1 of sel_*", ["sel_b"], True),
        ("all of sel_*", ["sel_b"], False),
        ("all of sel_*", ["sel_a", "sel_b"], True),
        ("any of them", ["filter"], True),
        ("1 of them", ["_x"], False),
        ("sel or filter and sel_a", ["sel"], True),
        ("(sel or filter) and sel_a", ["sel"], False),
        ("not not sel", ["sel"], True),
        ("not (sel or 1 of sel_*)", [], True),
        ("sel AND NOT filter", ["sel"], True),
        ("1 of *_a", ["sel_a"], True),
        ("not sel and not filter", [], True),
    ],
)
def test_conditions(condition, present, expected):
    assert holds(condition, *present) is expected


@pytest.mark.parametrize(
    "condition",
    [
        "",
        "unknown",
        "sel |  count() > 5",
        "1 of nothing*",
        "(sel",
        "sel)",
        "sel sel",
        "and",
        "2 of sel_*",
        "(" * 100 + "sel" + ")" * 100,
        "sel or " * 600 + "sel",
    ],
)
def test_a_broken_condition_is_refused(condition):
    with pytest.raises(Refused):
        compile_condition(condition, NAMES)
