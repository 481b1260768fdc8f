"""A keystore's folder opens as it was or as it was to be, wherever a change was cut off."""

import errno
import itertools
import os
import shutil
import tempfile
from pathlib import Path

import msgspec
import pytest
from tests.unit.crypto.keystores import (
    DATA_KEY,
    disk_is_large_again,
    killed_at,
    opened,
    passphrase_root,
    states,
    with_disk_of,
)

from cronos.crypto import keyfile
from cronos.crypto.keyfolder import copies_of
from cronos.crypto.refusal import REFUSED
from cronos.crypto.roots.machine import MachineConfig, MachineRoot
from cronos.errors import DeniedError, InputError


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "keys"


@pytest.fixture
def scratch(tmp_path):
    """Give a folder in memory where there is one: who is killed loses nothing that he wrote."""
    memory = Path("/dev/shm")
    if not os.access(memory, os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir=memory) as made:
        yield Path(made)


@pytest.fixture
def store(folder):
    store = opened(folder, suite="rate")
    store.ensure()
    yield store
    store.close()


# --- crashes and full disks -----------------------------------------------------------------------

CHANGES = {
    "rotate": lambda store: store.rotate("state"),
    "create": lambda store: store.create("fresh", "rate"),
    "destroy": lambda store: store.destroy("node.1"),
    "protect": lambda store: store.protect(passphrase_root()),
    "export": lambda store: store.export("", bytes(16), passphrase_root().wrap),
}


@pytest.mark.parametrize("change", CHANGES)
def test_killed_at_any_step_a_change_is_made_or_not_made(scratch, change):
    first = scratch / "first"
    store = opened(first, suite="rate")
    store.ensure()
    wrapped = store.wrap("state", DATA_KEY, b"c")
    before = {info.key_id: info for info in store.listed()}
    store.close()
    for step in itertools.count():
        folder = scratch / str(step)
        shutil.copytree(first, folder)

        def work(folder=folder):
            CHANGES[change](opened(folder, suite="rate"))

        died = killed_at(step, work)
        _check_after_crash(folder, before, wrapped)
        if not died:
            break
    assert step > 10


def _check_after_crash(folder, before, wrapped):
    try:
        store = opened(folder, suite="rate")
    except InputError:  # the root was changed already
        store = opened(folder, root=passphrase_root(), suite="rate")
    assert store.remarks == ()
    now = {info.key_id: info for info in store.listed()}
    assert store.unwrap("state.1", wrapped, b"c") == DATA_KEY
    assert before.keys() <= now.keys()
    assert all(now[key_id].kid == info.kid for key_id, info in before.items())
    new = store.rotate("state")
    assert new not in now
    assert all(key.endswith((".1", ".2", ".3")) for key in now)
    store.close()
    again = opened(folder, root=store_root(folder), suite="rate")
    assert again.remarks == ()
    assert not list(folder.glob("*.new"))
    assert (folder / "keystore").read_bytes() == (folder / "keystore.bak").read_bytes()
    again.close()


def store_root(folder):
    if copies_of(folder).root == "passphrase":
        return passphrase_root()
    return MachineRoot(MachineConfig(), folder)


def test_killed_at_any_step_of_its_founding_a_keystore_is_founded_again(scratch):
    for step in itertools.count():
        folder = scratch / str(step)
        died = killed_at(step, lambda folder=folder: opened(folder, suite="rate").ensure())
        store = opened(folder, suite="rate")
        store.ensure()
        assert set(states(store).values()) == {"active"}
        assert not list(folder.glob("*.new"))
        assert store.remarks == ()
        store.close()
        if not died:
            break
    assert step > 10


def test_killed_while_recovering_it_recovers_the_next_time(scratch):
    first = scratch / "first"
    store = opened(first, suite="rate")
    store.ensure()
    store.close()
    left = set()
    for step in itertools.count():
        folder = scratch / f"left-{step}"
        shutil.copytree(first, folder)
        if not killed_at(step, lambda folder=folder: opened(folder, suite="rate").rotate("state")):
            break
        found = (*sorted(path.name for path in folder.glob("*.new")), _size(folder / "events"))
        if len(found) > 1 and found not in left:
            left.add(found)
            _killed_while_opening(scratch / str(step), folder)
    assert len(left) >= 4


def _size(path):
    return path.stat().st_size


def _killed_while_opening(scratch, left):
    announced = b'"rotated"' in (left / "events").read_bytes()
    for step in itertools.count():
        folder = scratch / str(step)
        shutil.copytree(left, folder)
        died = killed_at(step, lambda folder=folder: opened(folder, suite="rate"))
        again = opened(folder, suite="rate")
        assert ("state.2" in states(again)) == announced
        assert again.remarks == ()
        again.close()
        if not died:
            break


@pytest.mark.parametrize("change", ["rotate", "create", "destroy", "protect"])
def test_on_a_full_disk_nothing_is_changed_and_nothing_lost(tmp_path, change):
    folder = tmp_path / "keys"
    store = opened(folder, suite="rate")
    store.ensure()
    size = (folder / "keystore").stat().st_size
    logged = (folder / "events").stat().st_size
    store.close()
    for limit in (0, 1, logged, logged + 1, logged + 100, size // 2, size - 1):
        assert with_disk_of(limit, lambda: _fails_then_works(folder, change)) == 0


def _fails_then_works(folder, change):
    store = opened(folder, suite="rate")
    before, log = states(store), (folder / "events").read_bytes()
    wrapped = store.wrap("state", DATA_KEY, b"c")
    with pytest.raises(DeniedError) as caught:
        CHANGES[change](store)
    assert caught.value.code == "crypto.unwritable"
    assert states(store) == before
    assert (folder / "events").read_bytes() == log
    assert not list(folder.glob("*.new"))
    assert store.unwrap("state", wrapped, b"c") == DATA_KEY
    disk_is_large_again()
    assert store.rotate("identity") not in before
    assert store.unwrap("state", wrapped, b"c") == DATA_KEY
    store.close()
    return 0


@pytest.mark.parametrize(("name", "call"), [("replace", 0), ("replace", 1), ("fsync", 5)])
def test_on_a_disk_that_fails_after_the_log_was_written_the_change_is_made(
    store, folder, monkeypatch, name, call
):
    wrapped = store.wrap("state", DATA_KEY, b"c")
    _fails(monkeypatch, name, call)
    assert store.rotate("state") == "state.2"
    # Whatever else fails on this disk, nobody goes back behind it.
    _fails(monkeypatch, "fsync", 0)
    with pytest.raises(DeniedError):
        store.rotate("state")
    assert states(store)["state.2"] == "active"
    monkeypatch.undo()
    kid = store._image.find("state").kid
    store.close()
    again = opened(folder, suite="rate")
    assert again.remarks == ()
    assert again._image.find("state.2").kid == kid
    assert again.unwrap("state.1", wrapped, b"c") == DATA_KEY
    assert again.rotate("state") == "state.3"
    assert not list(folder.glob("*.new"))
    again.close()


def _fails(monkeypatch, name, first):
    """Let a system call fail from its call number `first` on, 0 the next one."""
    monkeypatch.undo()
    calls, original = itertools.count(), getattr(os, name)

    def call(*args, **more):
        if next(calls) >= first:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return original(*args, **more)

    monkeypatch.setattr(os, name, call)


def test_what_cannot_be_written_and_not_be_cleaned_up_is_told_in_a_sentence(store, folder):
    (folder / "keystore.bak.new").mkdir()
    with pytest.raises(DeniedError) as caught:
        store.rotate("state")
    assert caught.value.code == "crypto.unwritable"
    (folder / "keystore.bak.new").rmdir()
    assert store.rotate("state") == "state.2"


def test_a_keystore_too_large_to_be_read_again_is_not_written(store, folder):
    before = (folder / "keystore").read_bytes()
    large = tuple("ä" * 60 + str(n) for n in range(16))
    one = msgspec.structs.replace(store._image.find("identity"), contexts=large)
    keys = tuple(msgspec.structs.replace(one, version=n) for n in range(1, 4097))
    image = msgspec.structs.replace(store._image, keys=keys)
    with pytest.raises(InputError) as caught:
        store._folder.commit(image, [])
    assert caught.value.code == "crypto.keystore_full"
    assert (folder / "keystore").read_bytes() == before
    assert store.rotate("state") == "state.2"


# --- tampering ------------------------------------------------------------------------------------


def test_a_key_log_that_was_cut_is_reported_and_laid_aside(store, folder):
    store.close()
    log = folder / "events"
    lines = log.read_bytes().splitlines(keepends=True)
    log.write_bytes(b"".join(lines[:-1]))
    again = opened(folder)
    assert "cut or changed" in again.remarks[0]
    assert list(folder.glob("events.broken-*"))
    assert len(again.listed()) == 3
    again.close()
    assert b"log-broken" in log.read_bytes()


def test_a_key_log_that_was_cut_after_a_crash_keeps_nobody_from_his_keys(store, folder):
    old, log = (folder / "keystore").read_bytes(), (folder / "events").read_bytes()
    assert store.rotate("state") == "state.2"
    kid = store._image.find("state").kid
    store.close()
    # As a crash leaves it between the two names, and then the log is cut to where it was.
    (folder / "keystore.bak").write_bytes(old)
    (folder / "events").write_bytes(log)
    again = opened(folder, suite="rate")
    assert "cut or changed" in again.remarks[0]
    assert again._image.find("state").kid == kid
    again.close()
    after = opened(folder, suite="rate")
    assert (after.remarks, after._image.find("state").kid) == ((), kid)
    after.close()


def test_a_key_log_that_grew_beyond_all_bounds_keeps_nobody_from_his_keys(store, folder):
    wrapped = store.wrap("state", DATA_KEY, b"c")
    store.close()
    with (folder / "events").open("r+b") as log:
        log.truncate(65 << 20)
    again = opened(folder)
    assert "cut or changed" in again.remarks[0]
    assert again.unwrap("state", wrapped, b"c") == DATA_KEY
    again.close()


@pytest.mark.parametrize("kind", ["bit", "swap", "gone", "junk"])
def test_a_key_log_that_was_changed_is_reported(store, folder, kind):
    store.close()
    log = folder / "events"
    data = log.read_bytes()
    lines = data.splitlines(keepends=True)
    forged = {
        "bit": bytes((data[200] ^ 1,)).join((data[:200], data[201:])),
        "swap": b"".join((lines[1], lines[0], *lines[2:])),
        "gone": b"",
        "junk": data + lines[0],
    }[kind]
    log.write_bytes(forged)
    again = opened(folder)
    assert "cut or changed" in again.remarks[0]
    again.close()
    after = opened(folder)
    assert after.remarks == ()
    after.close()


def test_an_older_keystore_beside_its_log_is_noticed_and_revives_nothing(store, folder):
    wrapped = store.wrap("state", DATA_KEY, b"c")
    old = (folder / "keystore").read_bytes()
    store.destroy("node.1")
    first = store.rotate("state")
    lost = {info.key_id: info.kid for info in store.listed()}
    store.close()
    (folder / "keystore").write_bytes(old)
    (folder / "keystore.bak").write_bytes(old)
    again = opened(folder, suite="rate")
    assert "older than its key log" in again.remarks[0]
    assert states(again)["node.1"] == "destroyed"
    assert states(again)["state.1"] == "decrypt-only"
    assert again.unwrap("state.1", wrapped, b"c") == DATA_KEY
    assert all(info.kid == lost[info.key_id] for info in again.listed() if info.key_id in lost)
    assert first not in states(again)
    assert states(again)["state.3"] == "active"
    again.close()


def test_a_forged_new_file_does_not_hide_that_the_keystore_was_rolled_back(store, folder):
    old = (folder / "keystore").read_bytes()
    store.destroy("node.1")
    store.close()
    image = keyfile.read(old, "x").image
    forged = msgspec.structs.replace(image, generation=image.generation + 1, log_size=99)
    for name in ("keystore", "keystore.bak"):
        (folder / name).write_bytes(old)
    (folder / "keystore.new").write_bytes(keyfile.write(forged) + bytes(48))
    again = opened(folder)
    assert "older than its key log" in again.remarks[0]
    assert states(again)["node.1"] == "destroyed"
    again.close()


@pytest.mark.parametrize("harm", [b"", b"CRKS", "half", "flip"])
def test_a_keystore_that_tore_comes_back_from_its_second_copy(store, folder, harm):
    wrapped = store.wrap("state", DATA_KEY, b"c")
    store.close()
    path = folder / "keystore"
    data = path.read_bytes()
    torn = {"half": data[: len(data) // 2], "flip": data[:99] + b"\0\0" + data[101:]}
    path.write_bytes(torn.get(harm, harm))
    again = opened(folder)
    assert again.unwrap("state", wrapped, b"c") == DATA_KEY
    again.close()
    assert path.read_bytes() == data


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_of_the_version_is_damage_and_not_a_newer_cronos(store, folder, bit):
    store.close()
    path = folder / "keystore"
    data = path.read_bytes()
    path.write_bytes(data[:4] + bytes((data[4] ^ 1 << bit,)) + data[5:])
    again = opened(folder)
    assert len(again.listed()) == 3
    again.close()
    assert path.read_bytes() == data


def test_a_folder_on_a_file_system_without_locks_is_refused_with_the_reason(folder, monkeypatch):
    def flock(_handle, _how):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr("fcntl.flock", flock)
    with pytest.raises(DeniedError, match="No locks available"):
        opened(folder)


def test_a_keystore_that_is_damaged_in_both_copies_says_so(store, folder):
    store.close()
    for name in ("keystore", "keystore.bak"):
        path = folder / name
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError) as caught:
        opened(folder)
    assert caught.value.code == "crypto.keystore_damaged"


def test_a_keystore_that_is_gone_is_not_silently_replaced(store, folder):
    store.close()
    (folder / "keystore").unlink()
    (folder / "keystore.bak").unlink()
    with pytest.raises(InputError) as caught:
        opened(folder)
    assert caught.value.code == "crypto.keystore_missing"


def test_a_forged_state_with_a_right_checksum_is_refused(store, folder):
    store.close()
    data = (folder / "keystore").read_bytes()
    sheet = keyfile.read(data, "x")
    keys = (msgspec.structs.replace(sheet.image.keys[0], contexts=("",)), *sheet.image.keys[1:])
    forged = keyfile.write(msgspec.structs.replace(sheet.image, keys=keys)) + sheet.mac
    for name in ("keystore", "keystore.bak"):
        (folder / name).write_bytes(forged)
    with pytest.raises(DeniedError) as caught:
        opened(folder)
    assert caught.value.code == REFUSED


def test_the_secret_of_one_entry_does_not_serve_another(store):
    one, other = store._image.find("state.1"), store._image.find("node.1")
    with pytest.raises(DeniedError):
        store._folder.master.open(msgspec.structs.replace(one, sealed=other.sealed))


def test_two_processes_do_not_hold_one_keystore(store, folder):
    with pytest.raises(DeniedError) as caught:
        opened(folder)
    assert caught.value.code == "crypto.keystore_in_use"
    assert store.wrap("state", DATA_KEY, b"c")


@pytest.mark.parametrize("left", ["removed", "remade"])
def test_who_lost_the_lock_changes_nothing_of_what_others_did(store, folder, left):
    (folder / "lock").unlink()
    if left == "remade":
        other = opened(folder, suite="rate")
        made = other.create("theirs", "rate")
        other.close()
    with pytest.raises(DeniedError) as caught:
        store.rotate("state")
    assert caught.value.code == "crypto.keystore_lock_gone"
    assert store.wrap("state", DATA_KEY, b"c")
    store.close()
    again = opened(folder, suite="rate")
    assert again.remarks == ()
    if left == "remade":
        assert made in again.listed()
    again.close()


def test_a_folder_that_others_may_write_is_refused(tmp_path):
    folder = tmp_path / "keys"
    folder.mkdir(mode=0o700)
    folder.chmod(0o777)
    with pytest.raises(DeniedError, match="chmod 700"):
        opened(folder)


def test_all_files_are_for_their_owner_alone(store, folder):
    assert folder.stat().st_mode & 0o077 == 0
    assert {path.stat().st_mode & 0o177 for path in folder.iterdir()} == {0}
