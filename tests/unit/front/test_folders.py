"""A folder is filled through no link, and each file is there whole."""

import pytest

from cronos.errors import DeniedError
from cronos.front.folders import fill


def names(folder):
    return sorted(one.name for one in folder.iterdir())


def test_files_are_written_and_their_paths_given(tmp_path):
    written = fill(tmp_path / "a" / "b", "", {"two.md": b"2", "one.json": b"1"})

    assert written == (str(tmp_path / "a/b/one.json"), str(tmp_path / "a/b/two.md"))
    assert (tmp_path / "a/b/two.md").read_bytes() == b"2"
    assert names(tmp_path / "a/b") == ["one.json", "two.md"]


def test_what_is_there_is_replaced_and_what_a_killed_command_left_is_gone(tmp_path):
    (tmp_path / "one").write_bytes(b"old and longer")
    (tmp_path / ".cronos-one").write_bytes(b"half")
    fill(tmp_path, "", {"one": b"new"})

    assert names(tmp_path) == ["one"]
    assert (tmp_path / "one").read_bytes() == b"new"


@pytest.mark.parametrize("name", ["one", ".cronos-one"])
def test_a_link_is_replaced_and_what_it_leads_to_stays(tmp_path, name):
    victim, folder = tmp_path / "victim", tmp_path / "out"
    victim.write_bytes(b"mine")
    folder.mkdir()
    (folder / name).symlink_to(victim)
    fill(folder, "", {"one": b"new"})

    assert victim.read_bytes() == b"mine"
    assert not (folder / "one").is_symlink()
    assert (folder / "one").read_bytes() == b"new"


def test_a_folder_within_that_is_a_link_is_refused(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "tcp_502").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DeniedError) as error:
        fill(tmp_path / "out", "tcp_502", {"one": b"new"})

    assert error.value.code == "output.unwritable"
    assert names(tmp_path / "elsewhere") == []


def test_the_folder_that_was_named_may_be_a_link_and_hold_others(tmp_path):
    (tmp_path / "real").mkdir()
    (tmp_path / "out").symlink_to(tmp_path / "real")
    fill(tmp_path / "out", "udp_53", {"one": b"new"})

    assert (tmp_path / "real" / "udp_53" / "one").read_bytes() == b"new"


def test_what_cannot_be_written_is_a_sentence_and_leaves_nothing(tmp_path):
    (tmp_path / "one").mkdir()
    with pytest.raises(DeniedError) as error:
        fill(tmp_path, "", {"one": b"new"})
    assert "one" in error.value.sentence
    assert names(tmp_path) == ["one"]

    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DeniedError):
        fill(tmp_path / "file", "", {"one": b"new"})
