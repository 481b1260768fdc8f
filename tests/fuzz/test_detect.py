"""Rules, policies and states are other people's bytes: only a refusal may come of them."""

import contextlib

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from cronos.detect.modbus_policy import parse as parse_policy
from cronos.detect.scan import ScanConfig, ScanDetector
from cronos.detect.sigma_condition import compile_condition
from cronos.detect.sigma_match import compile_detection
from cronos.detect.sigma_modifiers import Refused
from cronos.detect.sigma_pattern import compile_pattern, parse
from cronos.detect.sigma_rule import read_rule
from cronos.errors import InputError

MODIFIERS = ["contains", "all", "re", "i", "cidr", "base64", "base64offset", "wide", "windash",
             "lt", "exists", "fieldref", "cased", "expand", "startswith"]  # fmt: skip
KEYS = st.builds(
    lambda field, names: "|".join([field, *names]),
    st.sampled_from(["", "a", "EventID"]),
    st.lists(st.sampled_from(MODIFIERS), max_size=3),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=6,
)
WORDS = st.sampled_from(["and", "or", "not", "(", ")", "1", "all", "of", "them", "a", "a*", "|"])


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=400) | st.text().map(str.encode))
def test_any_bytes_as_a_rule_are_read_or_refused(data):
    with contextlib.suppress(Refused):
        read_rule(data, "fuzz")


@settings(max_examples=200, deadline=None)
@given(detection=st.dictionaries(st.text(max_size=3), VALUES, max_size=3), source=VALUES)
def test_any_shape_of_a_rule_is_read_or_refused(detection, source):
    rule = {
        "logsource": {"product": "windows"} if source is None else source,
        "detection": detection | {"condition": "1 of them"},
        "tags": source,
        "falsepositives": source,
        "references": source,
    }
    with contextlib.suppress(Refused):
        read_rule(yaml.safe_dump(rule).encode(), "fuzz")


@settings(max_examples=200, deadline=None)
@given(words=st.lists(WORDS, max_size=30))
def test_any_condition_is_compiled_or_refused(words):
    with contextlib.suppress(Refused):
        compile_condition(" ".join(words), {"a": compile_detection({"x": 1})})


@settings(max_examples=200, deadline=None)
@given(
    pattern=st.text(alphabet="ab*?\\", max_size=20), value=st.text(alphabet="ab\\*", max_size=20)
)
def test_a_plain_pattern_matches_itself_and_any_pattern_any_text(pattern, value):
    compiled = compile_pattern(parse(pattern))
    assert compiled(value) in (True, False)
    plain = parse(pattern).plain
    if plain is not None:
        assert compiled(plain)


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=300) | st.text().map(str.encode))
def test_any_bytes_as_a_policy_are_read_or_refused(data):
    with contextlib.suppress(InputError):
        parse_policy(data, "fuzz")


@settings(max_examples=200, deadline=None)
@given(data=st.binary(max_size=100))
def test_any_bytes_as_a_state_are_restored_or_refused(data):
    detector = ScanDetector(ScanConfig())
    with contextlib.suppress(ValueError):
        detector.restore(data)


@pytest.mark.parametrize("bomb", [b"[" * 500_000, b"{a: " * 100_000, b"- " * 100_000])
def test_nesting_does_not_bring_the_parser_down(bomb):
    with pytest.raises(Refused):
        read_rule(bomb, "bomb")
