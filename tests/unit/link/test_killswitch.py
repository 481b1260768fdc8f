"""The kill switch: the file, the orders, and which of two is the later."""

import os
import pathlib
import threading

import pytest

from cronos.link.killswitch import KillFile, KillSwitch
from cronos.types import Kill, decode, encode

NOW_NS = 1_790_000_000_000_000_000
NOW_MS = NOW_NS // 1_000_000
DAY_MS = 86_400_000


@pytest.fixture
def file(tmp_path):
    return tmp_path / "KILL"


def test_no_file_asks_for_nothing(file):
    assert KillFile(file).look() == Kill(0, engaged=False)


def test_touch_is_enough_and_counts_by_its_time(file):
    file.touch()
    os.utime(file, ns=(NOW_NS, NOW_NS))
    assert KillFile(file).look() == Kill(NOW_MS, engaged=True)


@pytest.mark.parametrize(
    ("text", "generation", "release_all"),
    [
        ("7", 7, False),
        (" 7 \n", 7, False),
        ("7 release-all\n", 7, True),
        ("release-all", NOW_MS, True),
        ("stop!", NOW_MS, False),
        ("7 release-all please", NOW_MS, False),
        ("9" * 16, NOW_MS + DAY_MS, False),
        ("9" * 200, NOW_MS, False),
        ("\0" * 5000, NOW_MS, False),
    ],
)
def test_whatever_it_says_it_stops_everything(file, text, generation, release_all):
    file.write_text(text)
    os.utime(file, ns=(NOW_NS, NOW_NS))
    assert KillFile(file).look() == Kill(generation, engaged=True, release_all=release_all)


def test_a_number_that_was_mistyped_leaves_the_switch_to_later_orders(file):
    switch = KillSwitch(file)
    file.write_text("9" * 16)
    os.utime(file, ns=(NOW_NS, NOW_NS))
    known = switch.state().generation
    assert switch.take(Kill(known + 1, engaged=True), NOW_NS)
    file.unlink()
    assert switch.take(Kill(known + 2, engaged=False), NOW_NS)
    assert not switch.state().engaged


def test_what_could_not_be_read_is_read_at_the_next_look(file, monkeypatch):
    file.write_text("7 release-all")
    switch = KillSwitch(file)
    opened = os.open

    def no_more(path, *given):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr("os.open", no_more)
    assert switch.state().engaged
    assert switch.token() is None
    monkeypatch.setattr("os.open", opened)
    assert switch.token() is not None
    assert switch.state() == Kill(7, True, True, subject=f"the file {file}")


def descriptors():
    return len(list(pathlib.Path("/proc/self/fd").iterdir()))


def test_many_orders_take_one_thread_and_two_descriptors(file, tmp_path, monkeypatch):
    entered, go_on, synced = threading.Event(), threading.Event(), []

    def slow(descriptor):
        entered.set()
        assert go_on.wait(30)
        synced.append(pathlib.Path(f"/proc/self/fd/{descriptor}").read_bytes())

    monkeypatch.setattr("os.fsync", slow)
    switch = KillSwitch(file, tmp_path / "kill")
    before = threading.active_count(), descriptors()
    assert switch.take(Kill(1, engaged=True), NOW_NS)
    assert entered.wait(30)
    for number in range(2, 300):
        assert switch.take(Kill(number, engaged=True), NOW_NS)
    assert threading.active_count() - before[0] <= 1
    assert descriptors() - before[1] <= 2
    (syncing,) = [one for one in threading.enumerate() if one.name == "kill-sync"]
    go_on.set()
    syncing.join(30)
    assert [decode(data).generation for data in synced] == [1, 299]


def test_without_a_thread_left_an_order_is_taken_all_the_same(file, tmp_path, monkeypatch):
    def none_left(_thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", none_left)
    switch = KillSwitch(file, tmp_path / "kill")
    assert switch.take(Kill(5, engaged=True), NOW_NS)
    assert KillSwitch(file, tmp_path / "kill").state().engaged


def test_a_folder_a_pipe_or_a_dangling_link_of_that_name_stops_everything_too(tmp_path):
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    for name in ("folder", "pipe", "link"):
        assert KillFile(tmp_path / name).look().engaged


def test_who_cannot_look_goes_on_believing_what_was_there(file, monkeypatch):
    kill_file = KillFile(file)
    kill_file.put(3, release_all=False)
    assert kill_file.look().engaged

    def broken(_path):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("os.lstat", broken)
    assert kill_file.look() == Kill(3, engaged=True)


def test_what_is_put_is_read_again_and_goes_with_remove(file):
    kill_file = KillFile(file)
    assert kill_file.put(NOW_MS, release_all=True) == ""
    assert kill_file.look() == Kill(NOW_MS, engaged=True, release_all=True)
    assert kill_file.put(NOW_MS + 1, release_all=False) == ""
    assert KillFile(file).look() == Kill(NOW_MS + 1, engaged=True)
    assert file.stat().st_mode & 0o777 == 0o600
    assert kill_file.remove() == ""
    assert kill_file.remove() == ""
    assert not kill_file.look().engaged


def test_on_a_full_disk_an_empty_file_still_stops_everything(file, monkeypatch):
    def full(_file, _data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.write", full)
    assert "No space" in KillFile(file).put(3, release_all=True)
    assert KillFile(file).look().engaged


def test_a_folder_that_is_not_there_is_made_and_one_that_cannot_be_is_told(tmp_path):
    assert KillFile(tmp_path / "new" / "KILL").put(3, release_all=False) == ""
    (tmp_path / "file").touch()
    assert "not written" in KillFile(tmp_path / "file" / "KILL").put(3, release_all=False)


def test_orders_count_by_generation(file):
    switch = KillSwitch(file)
    assert switch.take(Kill(5, engaged=True), NOW_NS)
    assert switch.take(Kill(5, engaged=True), NOW_NS)
    for stale in (Kill(5, engaged=False), Kill(4, engaged=False), Kill(-1, engaged=False)):
        assert not switch.take(stale, NOW_NS)
        assert switch.state().engaged
    assert switch.take(Kill(6, engaged=False), NOW_NS)
    assert not switch.state().engaged


def test_one_number_out_of_the_world_does_not_end_the_switch(file):
    switch = KillSwitch(file)
    assert not switch.take(Kill(NOW_MS * 2, engaged=False), NOW_NS)
    assert not switch.take(Kill(1 << 63, engaged=False), NOW_NS)
    assert switch.take(Kill(NOW_MS + 1000, engaged=True), NOW_NS)
    assert switch.take(Kill(NOW_MS + 1001, engaged=False), NOW_NS)


def test_the_file_holds_though_an_order_says_otherwise(file):
    switch = KillSwitch(file)
    file.write_text("7")
    assert switch.take(Kill(8, engaged=False), NOW_NS)
    assert switch.state() == Kill(8, engaged=True, subject=f"the file {file}")
    file.unlink()
    assert switch.state() == Kill(8, engaged=False)


def test_an_order_older_than_the_file_is_over(file):
    switch = KillSwitch(file)
    file.write_text("7")
    assert not switch.take(Kill(6, engaged=False), NOW_NS)
    assert switch.take(Kill(7, engaged=True), NOW_NS)


def test_what_asks_for_a_release_has_a_token_that_changes_with_each(file):
    switch = KillSwitch(file)
    assert switch.token() is None
    switch.take(Kill(5, engaged=True), NOW_NS)
    assert switch.token() is None
    switch.take(Kill(6, engaged=True, release_all=True), NOW_NS)
    first = switch.token()
    assert first is not None
    assert switch.token() == first
    file.write_text("7 release-all")
    assert switch.token() not in (None, first)


def test_a_restart_stays_killed(file, tmp_path):
    switch = KillSwitch(file, tmp_path / "kill")
    switch.take(Kill(5, engaged=True, subject="eve\x1b[2J"), NOW_NS)
    again = KillSwitch(file, tmp_path / "kill")
    assert again.state() == Kill(5, engaged=True, subject="eve\ufffd[2J")
    again.take(Kill(6, engaged=False), NOW_NS)
    assert not KillSwitch(file, tmp_path / "kill").state().engaged


@pytest.mark.parametrize(
    "data", [b"", b"nonsense", encode(Kill(-5, engaged=False)), b"\xff" * 9999]
)
def test_a_damaged_memory_counts_as_engaged_and_is_told(file, tmp_path, data):
    said = []
    (tmp_path / "kill").write_bytes(data)
    switch = KillSwitch(file, tmp_path / "kill", said.append)
    assert switch.state().engaged
    assert "cronos kill --off" in said[0]
    assert switch.take(Kill(1, engaged=False), NOW_NS)
    assert not switch.state().engaged


def test_without_room_it_is_told_and_kept_in_memory(file, tmp_path):
    said = []

    def say(sentence):
        said.append(sentence)
        raise OSError(28, "No space left on device")

    switch = KillSwitch(file, tmp_path / "no-folder" / "kill", say)
    assert switch.take(Kill(5, engaged=True), NOW_NS)
    assert switch.state().engaged
    assert "could not be written down" in said[0]


def test_a_poll_gives_each_change_once_with_rising_numbers(file):
    switch = KillSwitch(file)
    assert switch.poll() is None
    file.write_text("7")
    assert switch.poll() == Kill(7, engaged=True, subject=f"the file {file}")
    assert switch.poll() is None
    file.unlink()
    assert switch.poll() == Kill(8, engaged=False)
    assert switch.poll() is None
    switch.take(Kill(5, engaged=True, release_all=True), NOW_NS)
    assert switch.poll() == Kill(9, engaged=True, release_all=True)
    assert switch.poll() is None
