import json
import os

import pytest
from tests.unit.respond.playbooks import simple

from cronos.errors import DeniedError, InputError
from cronos.respond.playbook_files import PlaybookFolder, read_owned


def write(path, written):
    data = written if isinstance(written, bytes) else json.dumps(written).encode()
    path.write_bytes(data)
    path.chmod(0o644)


@pytest.fixture
def folder(tmp_path):
    tmp_path.chmod(0o755)
    write(tmp_path / "one.json", simple(number=1))
    return tmp_path


def names(watched):
    return [one.name for one in watched.playbooks]


def test_playbooks_are_taken_up_changed_and_dropped_as_their_files_are(folder):
    watched = PlaybookFolder(folder, 8)

    assert watched.poll()
    assert names(watched) == ["Playbook 1"]
    assert not watched.poll()

    write(folder / "two.json", simple(number=2))
    assert watched.poll()
    assert names(watched) == ["Playbook 1", "Playbook 2"]

    write(folder / "two.json", simple(number=2) | {"name": "Another"})
    assert watched.poll()
    assert names(watched) == ["Playbook 1", "Another"]

    (folder / "one.json").unlink()
    assert watched.poll()
    assert names(watched) == ["Another"]
    assert watched.refused == ()


def test_a_broken_change_leaves_the_old_playbook_in_force_and_says_why(folder):
    watched = PlaybookFolder(folder, 8)
    watched.poll()
    (before,) = watched.playbooks

    write(folder / "one.json", simple(number=1) | {"spec_version": "cacao-9"})
    assert not watched.poll()
    assert watched.playbooks == (before,)
    (refusal,) = watched.refused
    assert refusal.source.endswith("one.json")
    assert "spec_version" in refusal.reason
    assert refusal.remedy

    assert not watched.poll()
    assert watched.refused == (refusal,)
    write(folder / "one.json", simple(number=1))
    assert not watched.poll()
    assert watched.refused == ()


def test_a_writer_that_truncates_and_goes_on_never_shows_half_a_playbook(folder):
    """Cut at every length: what is read is the old playbook or the new one, whole."""
    watched = PlaybookFolder(folder, 8)
    watched.poll()
    old = watched.playbooks
    path = folder / "one.json"
    whole = json.dumps(simple(number=1) | {"name": "Rewritten"}).encode()
    seen = []
    for length in range(0, len(whole), 7):
        with path.open("r+b") as file:
            file.truncate(0)
            file.write(whole[:length])
        watched.poll()
        seen.append(watched.playbooks)
    path.write_bytes(whole)
    watched.poll()

    assert all(one == old for one in seen)
    assert names(watched) == ["Rewritten"]
    assert watched.refused == ()


def test_a_change_that_no_stamp_tells_of_is_found_at_the_next_look(folder):
    """Two writes within one tick of the file system's clock look alike; the bytes do not."""
    path = folder / "one.json"
    watched = PlaybookFolder(folder, 8)
    watched.poll()
    held = watched._files["one.json"]
    write(path, simple(number=1) | {"name": "Playbook X"})
    found = path.stat()
    stamp = held.stamp._replace(
        inode=found.st_ino, modified_ns=found.st_mtime_ns, changed_ns=found.st_ctime_ns
    )
    watched._files["one.json"] = held._replace(stamp=stamp)

    assert stamp.size == found.st_size
    assert watched.poll()
    assert names(watched) == ["Playbook X"]


def test_a_settled_file_is_not_read_again(folder, monkeypatch):
    watched = PlaybookFolder(folder, 8)
    for _ in range(3):
        watched.poll()
    monkeypatch.setattr("cronos.respond.playbook_files.read_owned", None)

    assert not watched.poll()


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646])
def test_a_file_that_others_may_write_is_refused(folder, mode):
    (folder / "one.json").chmod(mode)
    watched = PlaybookFolder(folder, 8)
    watched.poll()

    assert watched.playbooks == ()
    assert "written by others" in watched.refused[0].reason


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused(folder):
    os.chown(folder / "one.json", 65_534, 65_534)
    watched = PlaybookFolder(folder, 8)
    watched.poll()

    assert watched.playbooks == ()


def test_a_folder_that_others_may_write_is_refused(folder):
    folder.chmod(0o777)
    with pytest.raises(DeniedError, match="written by others"):
        PlaybookFolder(folder, 8).poll()


def test_a_folder_that_is_gone_keeps_what_was_read(folder):
    watched = PlaybookFolder(folder / "sub", 8)
    with pytest.raises(InputError, match="cannot be read"):
        watched.poll()

    watched = PlaybookFolder(folder, 8)
    watched.poll()
    folder.rename(folder.with_name("moved"))
    with pytest.raises(InputError):
        watched.poll()
    assert names(watched) == ["Playbook 1"]
    folder.with_name("moved").rename(folder)


def test_links_pipes_and_folders_are_no_playbooks(folder):
    (folder / "link.json").symlink_to(folder / "one.json")
    os.mkfifo(folder / "pipe.json")
    (folder / "sub.json").mkdir()
    (folder / ".hidden.json").write_text("{")
    (folder / "notes.txt").write_text("{")
    watched = PlaybookFolder(folder, 8)
    watched.poll()

    assert names(watched) == ["Playbook 1"]
    assert sorted(one.source.rpartition("/")[2] for one in watched.refused) == [
        "link.json",
        "pipe.json",
        "sub.json",
    ]


def test_two_files_with_one_playbook_are_told(folder):
    write(folder / "zwei.json", simple(number=1))
    watched = PlaybookFolder(folder, 8)
    watched.poll()

    assert names(watched) == ["Playbook 1"]
    assert "another file" in watched.refused[0].reason


def test_the_number_of_files_is_bounded(folder):
    write(folder / "two.json", simple(number=2))
    watched = PlaybookFolder(folder, 1)
    watched.poll()

    assert names(watched) == ["Playbook 1"]
    assert "more than 1" in watched.refused[0].reason


def test_a_file_beyond_a_mebibyte_is_not_read(folder):
    write(folder / "long.json", b" " * ((1 << 20) + 1))
    with pytest.raises(InputError, match="1 MiB"):
        read_owned(folder / "long.json")
