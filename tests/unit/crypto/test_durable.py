"""Files are whole or not there, for their owner alone, and never reached through a link."""

import os

import pytest

from cronos.crypto import durable
from cronos.errors import DeniedError, InputError


def test_a_written_file_is_private_and_replaces_what_was_there(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"old")
    path.chmod(0o644)
    durable.write_synced(path, b"new")
    assert path.read_bytes() == b"new"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_link_is_not_followed(tmp_path):
    target = tmp_path / "target"
    target.write_bytes(b"precious")
    link = tmp_path / "link"
    link.symlink_to(target)
    durable.write_synced(link, b"new")
    assert target.read_bytes() == b"precious"
    link.unlink()
    link.symlink_to(target)
    with pytest.raises(DeniedError, match="it is a link"):
        durable.read_bounded(link, 100)


@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_what_is_no_file_is_refused_without_waiting(tmp_path, kind):
    path = tmp_path / kind
    path.mkdir() if kind == "folder" else os.mkfifo(path)
    with pytest.raises(DeniedError, match="no regular file"):
        durable.read_bounded(path, 100)


def test_a_long_file_is_refused_and_a_missing_one_is_none(tmp_path):
    path = tmp_path / "f"
    assert durable.read_bounded(path, 3) is None
    path.write_bytes(b"1234")
    assert durable.read_bounded(path, 4) == b"1234"
    with pytest.raises(DeniedError, match="longer than 3"):
        durable.read_bounded(path, 3)


def test_a_secret_that_others_may_read_is_refused(tmp_path):
    path = tmp_path / "secret"
    assert durable.read_secret(path, 100) is None
    path.write_bytes(b"x")
    path.chmod(0o640)
    with pytest.raises(DeniedError, match="chmod 600"):
        durable.read_secret(path, 100)
    path.chmod(0o400)
    assert durable.read_secret(path, 100) == b"x"


@pytest.mark.parametrize("kind", ["below a file", "loop", "long name", "folder", "link"])
def test_a_secret_at_an_impossible_place_is_refused_in_a_sentence(tmp_path, kind):
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "file").chmod(0o600)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "folder").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to("file")
    name = {"below a file": "file/x", "long name": "a" * 300}.get(kind, kind)
    with pytest.raises(DeniedError) as caught:
        durable.read_secret(tmp_path / name, 100)
    assert caught.value.code == "crypto.unreadable"


def test_a_folder_is_made_private_and_a_shared_one_refused(tmp_path):
    folder = tmp_path / "a" / "b"
    durable.private_folder(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o770)
    with pytest.raises(DeniedError, match="chmod 700"):
        durable.private_folder(folder)
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(DeniedError, match="cannot be written"):
        durable.private_folder(tmp_path / "file" / "below")


def test_what_is_made_above_a_folder_is_writable_for_its_owner_alone_under_any_umask(tmp_path):
    before = os.umask(0)
    try:
        durable.private_folder(tmp_path / "a" / "b" / "c")
    finally:
        os.umask(before)
    modes = [path.stat().st_mode & 0o777 for path in (tmp_path / "a", tmp_path / "a" / "b")]
    assert modes == [0o755, 0o755]
    assert (tmp_path / "a" / "b" / "c").stat().st_mode & 0o777 == 0o700


def test_publishing_never_replaces_and_leaves_nothing_beside(tmp_path):
    path = tmp_path / "backup"
    durable.publish(path, b"one")
    with pytest.raises(InputError, match="already"):
        durable.publish(path, b"two")
    assert path.read_bytes() == b"one"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(DeniedError):
        durable.publish(tmp_path / "nowhere" / "f", b"x")


def test_what_lost_its_name_is_overwritten_and_what_kept_it_is_not(tmp_path):
    path, other = tmp_path / "f", tmp_path / "other"
    path.write_bytes(b"secret" * 20_000)
    other.write_bytes(b"kept")
    with path.open("rb") as old:
        with durable.blotted_after(path, other, tmp_path / "missing"):
            durable.write_synced(tmp_path / "new", b"fresh")
            (tmp_path / "new").replace(path)
        assert set(old.read()) == {0}
    assert path.read_bytes() == b"fresh"
    assert other.read_bytes() == b"kept"
