"""A spool keeps what was read until somebody says that it is safe."""

import os
from pathlib import Path

import pytest

from cronos.errors import InputError
from cronos.sense.spool import Spool


def read_all(spool: Spool) -> bytes:
    parts: list[bytes] = []
    while (data := spool.read(7)) is not None:
        parts.append(data)
    return b"".join(parts)


def test_what_was_appended_is_read_again_by_the_next_process(tmp_path: Path) -> None:
    first = Spool(tmp_path / "spool", 1 << 20)
    first.append(b"one\ntwo\n")
    assert read_all(first) == b"one\ntwo\n"
    assert first.read(10) is None
    first.append(b"three\n")
    second = Spool(tmp_path / "spool", 1 << 20)  # the first one was killed: never closed
    assert second.first_line == 1
    assert read_all(second) == b"one\ntwo\nthree\n"
    first.close()
    second.close()
    second.close()


def test_acknowledging_frees_whole_segments_and_keeps_the_line_numbers(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 800)  # segments of 100 bytes
    for number in range(1, 41):
        spool.append(b"line %05d\n" % number)
    spool.acknowledge(15)
    assert 1 < spool.first_line <= 16
    kept = read_all(spool)
    assert kept.startswith(b"line %05d\n" % spool.first_line)
    assert kept.endswith(b"line 00040\n")
    spool.close()
    again = Spool(tmp_path, 800)
    assert again.first_line == spool.first_line
    again.acknowledge(40)
    assert again.first_line == 41
    assert again.room == 800
    assert read_all(again) == b""
    again.append(b"next\n")
    assert read_all(again) == b"next\n"
    again.close()
    assert Spool(tmp_path, 800).first_line == 41


def test_trimming_what_was_not_read_yet_goes_on_at_the_oldest_kept_line(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 160)
    for number in range(1, 11):
        spool.append(b"line %d\n" % number)
    spool.read(3)
    spool.acknowledge(6)
    assert read_all(spool).startswith(b"line %d\n" % spool.first_line)
    spool.close()


def test_a_full_spool_refuses_with_a_remedy_and_loses_nothing(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 20)
    spool.append(b"0123456789\n")
    with pytest.raises(InputError, match="limit of 20 bytes") as refused:
        spool.append(b"0123456789\n")
    assert refused.value.code == "sense.spool_full"
    assert spool.room == 9
    assert read_all(spool) == b"0123456789\n"
    spool.acknowledge(1)
    spool.append(b"0123456789\n")
    spool.close()


def test_an_append_without_a_newline_is_refused(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 100)
    with pytest.raises(InputError, match="newline"):
        spool.append(b"half a line")
    spool.close()


def test_a_line_torn_by_a_crash_is_dropped_and_its_number_is_used_again(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1000)
    spool.append(b"one\n")
    spool.close()
    with next(tmp_path.glob("*.spool")).open("ab") as file:
        file.write(b"tw")
    again = Spool(tmp_path, 1000)
    again.append(b"two\n")
    assert read_all(again) == b"one\ntwo\n"
    again.acknowledge(2)
    assert again.first_line == 3
    again.close()


def test_a_torn_line_of_a_pipe_is_completed_by_what_the_pipe_still_holds(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    os.write(writing, b"one\ntw")
    first = Spool(tmp_path, 1000, keep_torn=True)
    assert first.take_from(reading, 100) == 6
    os.write(writing, b"o\n")
    os.close(writing)
    again = Spool(tmp_path, 1000, keep_torn=True)
    assert again.take_from(reading, 100) == 2
    assert again.take_from(reading, 100) == 0
    assert read_all(again) == b"one\ntwo\n"
    again.acknowledge(1)
    assert again.first_line == 1
    again.acknowledge(2)
    assert again.first_line == 3
    os.close(reading)
    first.close()
    again.close()


def test_a_folder_that_cannot_be_made_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(InputError, match="file/spool cannot be used"):
        Spool(tmp_path / "file" / "spool", 1000)
