"""Whatever lies in a sealed spool: it opens, in bounded work, and gives no line that is not its."""

import os
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from tests.unit.sealers import Scrambler

from cronos.sense.spool import Spool

NAME = f"{1:016d}.sealed"
LINES = [b"line %d of five\n" % number for number in range(1, 6)]


def good() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder) / "spool", 1 << 20, Scrambler())
        for line in LINES:
            spool.append(line)
        spool.close()
        return (Path(folder) / "spool" / NAME).read_bytes()


GOOD = good()


def read(data: bytes, *, pipe: bool = False) -> list[bytes]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "spool"
        path.mkdir()
        (path / NAME).write_bytes(data)
        spool = Spool(path, 1 << 20, Scrambler(), keep_torn=pipe)
        spool.append(b"the next\n")
        lines = b"".join(iter(lambda: spool.read(50) or b"", b"")).splitlines(keepends=True)
        spool.close()
        # What follows torn bytes of a pipe goes on in their line.
        assert lines[-1].endswith(b"the next\n") if pipe else lines[-1] == b"the next\n"
        return [*lines[:-1], *([lines[-1][:-9]] if pipe else [])]


def test_the_undamaged_spool_is_read_whole() -> None:
    assert read(GOOD) == LINES


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=2000))
def test_any_bytes_open_as_a_spool_and_give_no_line(data: bytes) -> None:
    assert not any(line.startswith(b"line") for line in read(data))


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.integers(1, 255), st.integers(0, 2 * len(GOOD)))
def test_damage_never_invents_moves_or_renumbers_a_line(at: int, flip: int, cut: int) -> None:
    data = bytearray(GOOD)
    data[at] ^= flip
    for number, line in enumerate(read(bytes(data[:cut]))):
        # A damaged frame at the end is believed to have held more lines than it did.
        assert line == b"\n" or b"damaged in the spool" in line or line == LINES[number]


def piped() -> bytes:
    """Give a segment of lines that came through a pipe in pieces of seven bytes."""
    reading, writing = os.pipe()
    os.write(writing, b"".join(LINES))
    os.close(writing)
    with tempfile.TemporaryDirectory() as folder:
        spool = Spool(Path(folder) / "spool", 1 << 20, Scrambler(), keep_torn=True)
        while spool.take_from(reading, 7):
            pass
        spool.close()
        os.close(reading)
        return (Path(folder) / "spool" / NAME).read_bytes()


PIPED = piped()


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, len(PIPED) - 1), st.integers(1, 255)), max_size=3),
    st.tuples(st.integers(0, len(PIPED)), st.integers(0, len(PIPED))),
)
def test_damage_never_joins_parts_of_lines_that_came_in_pieces(
    flips: list[tuple[int, int]], removed: tuple[int, int]
) -> None:
    data = bytearray(PIPED)
    for at, flip in flips:
        data[at] ^= flip
    del data[min(removed) : max(removed)]
    *lines, last = read(bytes(data), pipe=True)
    for line in lines:
        # After lost lines the end of one may stand alone.
        assert any(line in (one, b"\n") or one.endswith(line) for one in LINES) or (
            b"damaged in the spool" in line
        )
    assert any(last in one for one in LINES) or b"damaged in the spool" in last
