"""What leaves a pipe lies in a file until it is sealed, and is sealed once."""

import os
import stat
from pathlib import Path

import pytest

from cronos.sense.pipetail import PipeTail


def piped(data: bytes) -> int:
    reading, writing = os.pipe()
    os.write(writing, data)
    os.close(writing)
    return reading


def test_what_was_taken_is_there_for_the_next_process_from_the_place_it_asks(
    tmp_path: Path,
) -> None:
    first, pipe = PipeTail(tmp_path), piped(b"0123456789")
    assert first.take(pipe, 6, 100) == 6
    second = PipeTail(tmp_path)  # the first was killed
    assert second.left(100) == b"012345"
    assert second.left(104) == b"45"
    assert second.left(106) == b""
    second.clear()
    assert second.left(100) == b""
    assert second.take(pipe, 6, 106) == 4
    assert first.left(106) == b"6789"
    assert stat.S_IMODE((tmp_path / "tail").stat().st_mode) == 0o600
    for one in (first, second, second):
        one.close()
    os.close(pipe)


def test_places_turn_over_without_a_byte_twice_or_lost(tmp_path: Path) -> None:
    tail, pipe = PipeTail(tmp_path), piped(b"0123456789")
    turn = 1 << 40
    assert tail.take(pipe, 10, turn - 4) == 4
    assert tail.left(turn - 4) == b"0123"
    assert tail.left(turn) == b""  # sealed, and killed before it was forgotten
    tail.clear()
    assert tail.take(pipe, 10, turn) == 6
    assert tail.left(turn) == b"456789"
    tail.close()
    os.close(pipe)


def test_what_is_no_pipe_is_refused_and_nothing_taken(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"data")
    tail = PipeTail(tmp_path)
    with (tmp_path / "file").open("rb") as file, pytest.raises(OSError, match="Invalid"):
        tail.take(file.fileno(), 10, 0)
    assert tail.left(0) == b""
    tail.close()
