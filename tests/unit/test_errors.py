"""Errors say what happened, what to do, and whose doing it was."""

import pytest

from cronos.errors import (
    CronosError,
    DeniedError,
    ExtraMissingError,
    InputError,
    UnreachableError,
)


@pytest.mark.parametrize(
    ("kind", "blame"), [(InputError, "input"), (DeniedError, "input"), (UnreachableError, "peer")]
)
def test_each_kind_knows_whom_to_blame(kind, blame):
    error = kind("room.reason", "It broke.", "Mend it.")

    assert isinstance(error, CronosError)
    assert (error.code, error.blame, str(error)) == ("room.reason", blame, "It broke. Mend it.")


def test_ours_is_the_default():
    assert CronosError("room.reason", "It broke.", "Report it.").blame == "ours"


def test_a_missing_extra_says_what_to_install():
    assert "pip install 'cronos[demo]'" in str(ExtraMissingError("demo", "The demo"))
