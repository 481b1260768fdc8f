"""Sealed files: one purpose, one root key, whole or not at all."""

import multiprocessing
import os
import pathlib
import signal

import pytest
from tests.unit.crypto.pki.plant import passphrase_root

from cronos.crypto.pki import sealed
from cronos.errors import CronosError, DeniedError, InputError


@pytest.fixture
def root(tmp_path):
    return passphrase_root(tmp_path)


def test_what_was_sealed_opens_for_its_purpose(root):
    assert sealed.unseal(root, sealed.seal(root, b"plain", b"this"), b"this") == b"plain"


def test_the_secret_is_not_in_the_file(root):
    assert b"plain secret" not in sealed.seal(root, b"plain secret", b"this")


def test_another_purpose_or_another_passphrase_is_refused(tmp_path, root):
    made = sealed.seal(root, b"plain", b"this")
    other = passphrase_root(tmp_path, "another passphrase")

    for key, purpose in ((root, b"that"), (other, b"this")):
        with pytest.raises(DeniedError) as refused:
            sealed.unseal(key, made, purpose)
        assert refused.value.code == "crypto.refused"


def test_every_changed_byte_and_every_cut_is_refused(root):
    made = sealed.seal(root, b"plain", b"this")

    for at in range(len(made)):
        changed = bytearray(made)
        changed[at] ^= 1
        for data in (bytes(changed), made[:at]):
            with pytest.raises(CronosError):
                sealed.unseal(root, data, b"this")


def test_a_file_is_replaced_whole_and_only_for_its_owner(tmp_path):
    path = tmp_path / "file"
    sealed.replace(path, b"one")
    sealed.replace(path, b"two")

    assert path.read_bytes() == b"two"
    assert path.stat().st_mode & 0o777 == 0o600
    assert [one.name for one in tmp_path.iterdir()] == ["file"]


def test_a_full_disk_leaves_the_old_file(tmp_path, file_size_limit):
    path = tmp_path / "file"
    sealed.replace(path, b"old")

    with file_size_limit(4096), pytest.raises(DeniedError) as refused:
        sealed.replace(path, b"x" * 100_000)

    assert refused.value.code == "crypto.unwritable"
    assert path.read_bytes() == b"old"


def test_a_missing_file_is_told_with_what_it_was(tmp_path):
    with pytest.raises(InputError, match="no backup"):
        sealed.read(tmp_path / "none", "backup")


def test_a_link_is_not_followed(tmp_path):
    (tmp_path / "target").write_bytes(b"x")
    (tmp_path / "link").symlink_to("target")

    with pytest.raises(DeniedError):
        sealed.read(tmp_path / "link", "backup")


def _hold(folder, ready, done):
    with sealed.locked(pathlib.Path(folder)):
        ready.set()
        done.wait(30)


def test_two_commands_at_once_wait_for_each_other_and_a_killed_one_frees_the_folder(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(sealed, "_LOCK_TRIES", 2)
    context = multiprocessing.get_context("spawn")
    ready, done = context.Event(), context.Event()
    other = context.Process(target=_hold, args=(str(tmp_path), ready, done))
    other.start()
    assert ready.wait(30)
    try:
        with pytest.raises(DeniedError) as refused, sealed.locked(tmp_path):
            pass
        assert refused.value.code == "crypto.pki_in_use"
    finally:
        os.kill(other.pid, signal.SIGKILL)
        other.join(30)

    with sealed.locked(tmp_path):
        pass
