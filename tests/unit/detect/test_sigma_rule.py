import pytest

from cronos.detect.sigma_modifiers import Refused
from cronos.detect.sigma_rule import load_yaml, read_rule

RULE = """
title: Odd thing
id: 1b0e7f0c
author: A. Person
level: high
confidence: 0.99
tags: [attack.t1059.001, attack.t1685, attack.stealth]
references: [https://example.org/odd]
logsource: {product: windows, category: process_creation}
detection:
  selection: {Image|endswith: '\\odd.exe'}
  condition: selection
"""


def test_a_rule_is_read_with_author_and_crosswalk():
    rule = read_rule(RULE.encode(), "odd")
    assert rule.title == "Odd thing"
    assert rule.severity == 4
    assert rule.techniques == ("T1059.001", "T1562.001")
    assert rule.references == ("sigma: 1b0e7f0c", "author: A. Person", "https://example.org/odd")


def test_only_a_certified_rule_states_its_own_confidence():
    assert read_rule(RULE.encode(), "odd").confidence == 0.30
    assert read_rule(RULE.encode(), "odd", certified=True).confidence == 0.99


def test_control_and_direction_characters_are_taken_out_of_names():
    rule = read_rule(RULE.replace("Odd thing", '"a\\x1b[31m\\u202eb"').encode(), "odd")
    assert rule.title == "a [31m b"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"[]", "no rule"),
        (b"\xff\xfe", "no YAML"),
        (b"a: [", "no YAML"),
        (b"a: &x [1]\nb: *x", "aliases"),
        (b"[" * 100_000, "nesting"),
        (b"- " * 5_000 + b"x", "nesting"),
        (b"a: 1\n---\nb: 2", "several documents"),
        (b"x" * ((1 << 20) + 1), "longer than"),
        (b"correlation: {}", "a correlation rule"),
        (b"status: deprecated", "its status"),
        (b"title: x", "no log source"),
        (b"logsource: {product: windows, category: unheard_of}", "the log source"),
        (b"logsource: {product: windows}\nlevel: huge", "the level"),
        (b"logsource: {product: windows}", "no detection"),
        (b"logsource: {product: windows}\ndetection: {a: {b: 1}}", "no condition"),
        (
            b"logsource: {product: windows}\ndetection: {a: {b: 1}, condition: a, timeframe: 5m}",
            "a time frame",
        ),
        (b"a: 2024-13-45", "no YAML"),
    ],
)
def test_what_does_not_run_says_why(data, reason):
    with pytest.raises(Refused, match=reason):
        read_rule(data, "test")


@pytest.mark.parametrize(
    "value",
    [
        "0x" + "f" * 8000,
        "0b" + "1" * 20_000,
        "9" * 6000,
        ":".join(["59"] * 3000),
        ":".join(["59"] * 3000) + ".5",
        "!!int ''",
        "!!bool maybe",
        "!!timestamp never",
        "9999-99-99",
        "!!float x",
    ],
    ids=range(10),
)
def test_a_rule_with_a_number_or_a_tag_that_cannot_be_built_is_refused_alone(value):
    with pytest.raises(Refused):
        load_yaml(f"title: {value}".encode())
