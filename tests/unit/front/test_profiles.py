"""Where profiles are found."""

import argparse

import pytest
from tests.unit.discover.pump import PROFILE

from cronos.crypto.epochfile import EpochFile
from cronos.discover.profile import to_bytes
from cronos.errors import InputError
from cronos.front.profiles import profile_of, store_of


@pytest.fixture
def options(tmp_path):
    return argparse.Namespace(config=None, state=tmp_path / "state")


def test_a_file_or_a_folder_is_read_where_it_lies(options, tmp_path):
    (tmp_path / "profile.json").write_bytes(to_bytes(PROFILE))

    assert profile_of(options, str(tmp_path)) == PROFILE
    assert profile_of(options, str(tmp_path / "profile.json")) == PROFILE
    assert not (tmp_path / "state").exists()


def test_a_name_is_looked_up_in_the_sealed_store(options, tmp_path):
    with store_of(options) as store:
        store.add(PROFILE)

    assert profile_of(options, "pump").grammar == PROFILE.grammar
    data = (tmp_path / "state" / "local" / "profiles" / "profiles.db").read_bytes()
    assert b"pump" not in data


def test_epochs_that_no_record_names_any_more_go(options, tmp_path, monkeypatch):
    monkeypatch.setattr("cronos.crypto.sealer._FORGET_EVERY", 3)
    with store_of(options) as store:
        store.add(PROFILE)
    for _ in range(8):  # as a node does once a minute
        with store_of(options) as store:
            store.note("pump", 1, parsed=1, failed=0)

    folder = tmp_path / "state" / "local" / "profiles"
    assert len(EpochFile(folder).packets()) <= 4
    with store_of(options) as store:
        assert store.versions("pump")[0].parsed == 8


def test_what_is_neither_is_refused(options):
    with pytest.raises(InputError, match="no profile pump"):
        profile_of(options, "pump")
    with pytest.raises(InputError, match="cannot be read"):
        profile_of(options, "./pump")
