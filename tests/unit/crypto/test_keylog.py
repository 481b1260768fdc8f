"""The key log holds up to the first line that does not belong there."""

import hmac

import pytest

from cronos.crypto import keylog
from cronos.crypto.keylog import NO_HEAD, KeyEvent

EVENTS = [KeyEvent("created", f"state.{n}", "00", n, n) for n in range(1, 5)]


def mac(data):
    return hmac.digest(b"key", data, "sha384")


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "events"
    written, _ = keylog.lines(EVENTS, NO_HEAD, mac)
    keylog.append(path, written, 0)
    return path


def test_events_come_back_with_a_head_after_each(log):
    read = keylog.read(log, mac)
    assert list(read.events) == EVENTS
    assert (len(read.heads), read.ends[-1]) == (5, log.stat().st_size)
    assert not read.torn
    assert not read.broken
    assert read.holds(4, keylog.lines(EVENTS, NO_HEAD, mac)[1])
    assert not read.holds(5, read.heads[4])
    assert not read.holds(3, read.heads[4])


def test_a_log_that_is_not_there_is_empty(tmp_path):
    read = keylog.read(tmp_path / "none", mac)
    assert read.holds(0, NO_HEAD)
    assert read.events == ()


def test_every_flipped_bit_ends_it_there(log):
    data = log.read_bytes()
    ends = keylog.read(log, mac).ends
    for at in range(len(data)):
        log.write_bytes(data[:at] + bytes((data[at] ^ 1,)) + data[at + 1 :])
        read = keylog.read(log, mac)
        whole = sum(end <= at for end in ends[1:])
        assert list(read.events) == EVENTS[:whole]
        assert read.broken or read.torn


def test_a_cut_at_every_byte_leaves_whole_events(log):
    data = log.read_bytes()
    ends = keylog.read(log, mac).ends
    for end in range(len(data)):
        log.write_bytes(data[:end])
        read = keylog.read(log, mac)
        assert len(read.events) == sum(one <= end for one in ends[1:])
        assert read.torn == (end not in ends)
        assert not read.broken


def test_lines_in_another_order_twice_or_of_another_keystore_do_not_belong(log):
    lines = log.read_bytes().splitlines(keepends=True)
    foreign, _ = keylog.lines(EVENTS[:1], NO_HEAD, lambda data: hmac.digest(b"2", data, "sha384"))
    for forged in (
        [lines[1], lines[0]],
        [lines[0], lines[0]],
        [lines[0], lines[2]],
        [foreign],
        [b"\n"],
        [b"x" * 5000 + b"\n"],
    ):
        log.write_bytes(b"".join(forged))
        assert keylog.read(log, mac).broken


def test_appending_cuts_what_a_crash_left_half_written(log):
    whole = log.read_bytes()
    head = keylog.read(log, mac).heads[-1]
    log.write_bytes(whole + b"half a li")
    more, _ = keylog.lines(EVENTS[:1], head, mac)
    keylog.append(log, more, len(whole))
    assert len(keylog.read(log, mac).events) == 5


def test_a_log_is_for_its_owner_alone(log):
    assert log.stat().st_mode & 0o777 == 0o600
    keylog.cut(log, 3)
    assert log.stat().st_size == 3


def test_a_log_that_grew_beyond_all_bounds_is_not_read(log):
    with log.open("r+b") as file:
        file.truncate(keylog.MAX_LOG_BYTES + 1)
    read = keylog.read(log, mac)
    assert (read.events, read.broken) == ((), 1)
    assert not read.holds(4, b"")
