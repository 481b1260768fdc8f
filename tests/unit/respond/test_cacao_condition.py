import re

import pytest

from cronos.errors import InputError
from cronos.respond.cacao_condition import (
    MAX_COMPARISONS,
    MAX_NESTING,
    holds,
    outcomes_named,
    parse,
    render,
)
from cronos.respond.cacao_place import Place

FACTS = {
    "severity": 4.0,
    "confidence": 0.9,
    "criticality": 3.0,
    "techniques": frozenset({"T1110", "T1078"}),
    "labels": frozenset(),
    "actor_kind": "address",
    "target_kind": "",
    "target_asset": "historian",
    "evidence": "declared",
    "provenance": "authenticated",
}


def read(text):
    return parse(Place("p.json", "condition", text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("__severity__:value >= 4", True),
        ("__severity__ >= 4", True),
        ("__severity__:value > 4", False),
        ("__severity__:value == 4", True),
        ("__severity__:value != 4", False),
        ("__severity__:value IN (1, 4)", True),
        ("__severity__:value NOT IN (1, 4)", False),
        ("__confidence__:value < 0.95 AND __criticality__:value <= 3", True),
        ("__techniques__:value = 'T1110'", True),
        ("__techniques__:value != 'T1110'", False),
        ("__techniques__:value IN ('T1486', 'T1078')", True),
        ("__labels__:value = 'legacy'", False),
        ("NOT (__actor_kind__:value = 'address') OR __target_kind__:value = ''", True),
        ("__target_asset__:value = 'historian'", True),
        ("__outcome_action--1__:value = 'none'", True),
        # AND binds closer than OR.
        ("__severity__ = 4 OR __severity__ = 1 AND __severity__ = 2", True),
        ("(__severity__ = 4 OR __severity__ = 1) AND __severity__ = 2", False),
    ],
)
def test_conditions_compare_what_is_known_of_the_incident(text, expected):
    condition = read(text)

    assert holds(condition, FACTS) is expected
    assert read(render(condition)) == condition


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("", "its end"),
        ("   ", "its end"),
        ("__severity__", "its end"),
        ("__severity__ >= 'high'", "never be"),
        ("__techniques__ > 'T1110'", "never be"),
        ("__actor_kind__ = 'adress'", "never be"),
        ("__outcome_x__ = 'done'", "never be"),
        ("__secret__ = 'x'", "unknown variable __secret__"),
        ("__severity__ ~ 4", "letter 13"),
        ("__severity__ = 4 4", "`4`"),
        ("__severity__ = 4)", "`)`"),
        ("(__severity__ = 4", "its end"),
        ("__severity__ IN ()", "`)`"),
        ("__severity__ , 4", "`,`"),
        ("__import__('os').system('x')", "letter 17"),
        ("__severity__ = 4; DROP", "letter"),
        ("__severity__ = 1e9", "letter"),
        ("__severity__.real = 4", "letter"),
        ("AND AND", "`AND`"),
    ],
)
def test_anything_else_is_refused_with_its_place(text, named):
    with pytest.raises(InputError, match=re.escape(named)) as caught:
        read(text)

    assert "p.json: condition" in caught.value.sentence
    assert caught.value.remedy


@pytest.mark.parametrize(
    "text",
    [
        "(" * 100_000,
        "NOT " * 499 + "__severity__ = 4",
        "(" * (MAX_NESTING + 2) + "__severity__ = 4" + ")" * (MAX_NESTING + 2),
        " OR ".join(["__severity__ = 4"] * (MAX_COMPARISONS + 1)),
        "__" + "a" * 1_900 + "__ = 4",
    ],
)
def test_length_nesting_and_comparisons_are_bounded(text):
    with pytest.raises(InputError):
        read(text)


def test_as_deep_and_as_long_as_is_allowed_is_read():
    deep = "(" * MAX_NESTING + "__severity__ = 4" + ")" * MAX_NESTING
    long = " OR ".join(["__severity__ = 4"] * MAX_COMPARISONS)

    assert holds(read(deep), FACTS)
    assert holds(read(long), FACTS)


def test_it_names_the_steps_whose_outcomes_it_asks_for():
    condition = read(
        "NOT (__outcome_a__ = 'ok' OR (__outcome_b__ = 'failed' AND __severity__ = 1))"
    )

    assert outcomes_named(condition) == {"a", "b"}
