"""The state folder: private, locked, and a session that leaves only its ledger behind."""

import errno
import os
import shutil
import stat
import tempfile
from pathlib import Path

import pytest

from cronos.errors import DeniedError, InputError
from cronos.front.layout import Layout, default_state

WALL_NS = 1_790_000_000_000_000_000


@pytest.fixture
def short():
    """A folder whose sockets have room for their names, wherever pytest keeps its own."""
    folder = Path(tempfile.mkdtemp(prefix="cr-"))
    yield folder
    shutil.rmtree(folder)


def mode(path):
    return stat.S_IMODE(path.stat().st_mode)


def test_the_folders_and_files_are_this_users_alone(short):
    layout = Layout(short / "state", "local", session=False)
    layout.incarnation(WALL_NS)
    layout.close()
    assert mode(short / "state") == 0o700
    assert mode(short / "state" / "local") == 0o700
    assert mode(layout.run) == 0o700
    assert mode(short / "state" / "local" / "lock") == 0o600
    assert mode(short / "state" / "local" / "incarnation") == 0o600


def test_two_processes_cannot_use_one_folder_and_the_next_one_can(short):
    first = Layout(short, "local", session=False)
    with pytest.raises(DeniedError) as refused:
        Layout(short, "local", session=True)
    assert refused.value.code == "state.in_use"
    assert str(short / "local") in refused.value.sentence
    Layout(short, "other", session=False).close()
    first.close()
    Layout(short, "local", session=False).close()


def test_a_refused_process_leaves_no_descriptor_open(short):
    first = Layout(short, "local", session=False)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(5):
        with pytest.raises(DeniedError):
            Layout(short, "local", session=False)
    assert len(list(Path("/proc/self/fd").iterdir())) == before
    first.close()


def test_a_session_leaves_only_its_ledger_behind(tmp_path):
    layout = Layout(tmp_path, "local", session=True)
    assert tmp_path not in layout.run.parents
    layout.enforcer.mkdir()
    (layout.enforcer / "book").write_bytes(b"x")
    layout.close()
    assert not layout.run.exists()
    assert layout.ledger == tmp_path / "local" / "ledger"


def test_what_outlives_a_session_is_found_again_by_the_next(short):
    first = Layout(short, "local", session=False)
    first.close()
    second = Layout(short, "local", session=False)
    second.close()
    assert first.enforcer_socket == second.enforcer_socket == short / "enforcer/enforcer.sock"
    assert first.run == second.run
    assert first.run.is_dir()


def test_a_deep_folder_serves_a_session_and_is_refused_to_what_must_be_found_again(tmp_path):
    deep = tmp_path / ("deep" * 40)
    layout = Layout(deep, "local", session=True)
    assert len(os.fsencode(layout.enforcer_socket)) < 100
    layout.close()

    with pytest.raises(InputError, match="shorter folder"):
        Layout(deep, "local", session=False)


@pytest.mark.parametrize("bits", [0o720, 0o702, 0o777])
def test_a_folder_that_others_may_write_is_refused(tmp_path, bits):
    state = tmp_path / "state"
    state.mkdir()
    state.chmod(bits)

    with pytest.raises(DeniedError, match="chmod 700"):
        Layout(state, "local", session=True)


def test_each_start_has_a_higher_incarnation_even_after_damage(short):
    layout = Layout(short, "local", session=False)
    assert [layout.incarnation(WALL_NS), layout.incarnation(WALL_NS)] == [1, 2]
    for later, damage in enumerate(("", "not a number", "-7"), 1):
        before = layout.incarnation(WALL_NS)
        (layout.home / "incarnation").write_text(damage)
        assert layout.incarnation(WALL_NS + later * 10**12) > before
    layout.close()


def test_a_node_that_peers_remember_begins_above_all_that_its_lost_folder_counted(short):
    layout = Layout(short, "local", session=False)
    first = layout.incarnation(WALL_NS, remembered=True)
    assert first == WALL_NS // 10**9
    assert layout.incarnation(WALL_NS, remembered=True) == first + 1
    (layout.home / "incarnation").unlink()
    assert layout.incarnation(WALL_NS + 3 * 10**9, remembered=True) > first + 1
    layout.close()


def test_a_file_in_the_folders_place_is_a_sentence_with_a_remedy(tmp_path):
    (tmp_path / "state").write_text("in the way")
    with pytest.raises(DeniedError) as refused:
        Layout(tmp_path / "state", "local", session=True)
    assert refused.value.code == "state.unwritable"
    assert "--state" in refused.value.remedy


def test_what_cannot_be_written_is_a_sentence_with_its_path(short):
    layout = Layout(short, "local", session=False)
    with pytest.raises(DeniedError) as refused:
        layout.write(layout.home / "missing" / "file", b"x")
    assert "missing/file" in refused.value.sentence
    layout.close()


def test_the_default_is_the_systems_folder_for_root_and_the_users_own_elsewhere(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert default_state() == Path("/var/lib/cronos")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_STATE_HOME", "/somewhere")
    assert default_state() == Path("/somewhere/cronos")
    monkeypatch.delenv("XDG_STATE_HOME")
    assert default_state() == Path.home() / ".local/state/cronos"


def test_without_room_for_a_run_there_is_a_sentence_and_the_state_is_free_again(
    tmp_path, monkeypatch
):
    def full(**_given):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(tempfile, "mkdtemp", full)
    with pytest.raises(DeniedError, match="No space left on device"):
        Layout(tmp_path, "local", session=True)
    monkeypatch.undo()
    (tmp_path / "local" / "run").write_text("in the way")
    with pytest.raises(DeniedError, match="No folder for this run"):
        Layout(tmp_path, "local", session=False)
    Layout(tmp_path, "local", session=True).close()


def test_a_session_ends_though_something_is_written_into_it_meanwhile(tmp_path, monkeypatch):
    layout = Layout(tmp_path, "local", session=True)
    (layout.run / "enforcer").mkdir()
    real = os.rmdir

    def late(path, **given):
        if str(path).endswith("enforcer"):
            (layout.run / "enforcer" / "late").write_text("an enforcer that is leaving")
        real(path, **given)

    monkeypatch.setattr(os, "rmdir", late)
    layout.close()
    monkeypatch.undo()
    shutil.rmtree(layout.run)
