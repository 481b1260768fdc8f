"""Strangers' text steers nothing, and costs little."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cronos.link.text import plain


@pytest.mark.parametrize(
    "text",
    ["\x1b[31mred", "a\u202eb", "zero\u200bwidth", "line\nfeed", "nul\x00", "\ud800", "\u2028"],
)
def test_what_hides_or_steers_is_replaced(text):
    assert "\ufffd" in plain(text)


def test_ordinary_text_stays_as_it_is():
    assert plain("Grüße, 世界 ✓") == "Grüße, 世界 ✓"


@given(st.text(max_size=60), st.integers(1, 40))
def test_nothing_dangerous_is_left_and_the_length_is_kept(text, most):
    shown = plain(text, most)

    assert len(shown) <= most
    assert not any(unicodedata.category(c) in ("Cc", "Cf", "Cs", "Zl", "Zp") for c in shown)


def test_it_is_cut_before_it_is_cleaned():
    assert plain("a" * 100, 10) == "a" * 9 + "…"
