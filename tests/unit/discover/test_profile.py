"""Profiles as files."""

import msgspec
import pytest
from tests.unit.discover.pump import PROFILE

from cronos.discover.profile import from_bytes, named, read_profile, to_bytes
from cronos.errors import InputError


def test_a_profile_is_read_from_its_file_or_from_its_folder(tmp_path):
    (tmp_path / "profile.json").write_bytes(to_bytes(PROFILE))

    assert read_profile(tmp_path) == read_profile(tmp_path / "profile.json") == PROFILE
    assert to_bytes(PROFILE) == to_bytes(from_bytes(to_bytes(PROFILE), "x"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[" * 100_000,
        to_bytes(PROFILE).replace(b'"pump"', b'"../../etc"'),
        to_bytes(PROFILE).replace(b'"size"', b'"nowhere"', 1),
        to_bytes(PROFILE)[:-40],
        b"\xff\xfe",
    ],
)
def test_what_is_no_profile_or_may_not_run_is_refused(tmp_path, data):
    (tmp_path / "profile.json").write_bytes(data)

    with pytest.raises(InputError):
        read_profile(tmp_path)


def test_what_is_not_there_or_too_long_is_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="cannot be read"):
        read_profile(tmp_path)
    monkeypatch.setattr("cronos.discover.profile._MAX_BYTES", 10)
    (tmp_path / "profile.json").write_bytes(to_bytes(PROFILE))
    with pytest.raises(InputError, match="too long"):
        read_profile(tmp_path)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("tcp/502", "tcp_502"),
        ("Plant A", "plant_a"),
        ("88", "p_88"),
        ("", "p_"),
        ("ß/\u202e", "___"),
    ],
)
def test_any_text_makes_a_name(text, name):
    assert named(text) == name
    msgspec.convert({"name": named(text)}, dict[str, str])
