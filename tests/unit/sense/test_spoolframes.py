"""Frames of a spool open in their place only, and what is lost leaves a trace."""

import os
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.sealers import Away, Scrambler

from cronos.errors import UnreachableError
from cronos.sense import spoolframes
from cronos.sense.spoolframes import PlainStore, SealedStore, Walk

STORE = SealedStore(Scrambler(), "spool")
ONE = STORE.beginning(1, 0) + STORE.pack(b"one\n", 1, 0)
TWO = STORE.pack(b"two\nthree\n", 2, 4)
FOUR = STORE.pack(b"four\n", 4, 14)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "segment", os.O_RDWR | os.O_CREAT, 0o600)
    yield descriptor
    os.close(descriptor)


def put(file: int, data: bytes) -> None:
    os.ftruncate(file, 0)
    os.pwrite(file, data, 0)


def read(file: int, data: bytes, store: SealedStore = STORE) -> bytes:
    put(file, data)
    segment = store.segment(os.dup(file), 1)
    parts = list(iter(lambda: segment.read(3), b""))
    segment.close()
    segment.close()
    return b"".join(parts)


def test_frames_are_read_in_any_pieces(file: int) -> None:
    assert read(file, ONE + TWO + FOUR) == b"one\ntwo\nthree\nfour\n"


def test_nothing_of_the_lines_is_readable() -> None:
    assert b"three" not in TWO


def test_a_frame_that_was_damaged_or_removed_is_named_and_the_numbers_hold(file: int) -> None:
    damaged = bytearray(TWO)
    damaged[40] ^= 1
    read_now = read(file, ONE + bytes(damaged) + FOUR)
    assert read_now == b"one\n(up to 2 lines were damaged in the spool)\n\nfour\n"
    assert read(file, ONE + FOUR) == read_now


def test_frames_that_were_repeated_or_moved_are_not_read_again(file: int) -> None:
    assert read(file, ONE + TWO + TWO + FOUR + ONE) == b"one\ntwo\nthree\nfour\n"
    assert b"two" not in read(file, ONE + FOUR + TWO)


def test_pieces_of_one_line_that_were_repeated_or_moved_are_not_read_again(file: int) -> None:
    a, b, c = (STORE.pack(piece, 1, at) for piece, at in ((b"a", 0), (b"b", 1), (b"c\n", 2)))
    begun = STORE.beginning(1, 0)
    assert read(file, begun + a + b + c) == b"abc\n"
    assert read(file, begun + a + a + b + a + b + c) == b"abc\n"
    moved = read(file, begun + b + a + c, SealedStore(Scrambler(), "spool", pieces=True))
    assert moved == b"\xff(1 bytes were damaged in the spool)bc\n"


def test_frames_of_another_spool_or_another_key_are_not_read(file: int) -> None:
    for store in (SealedStore(Scrambler(), "other"), SealedStore(Scrambler(b"other"), "spool")):
        foreign = store.beginning(1, 0) + store.pack(b"forged\n", 1, 0)
        assert read(file, foreign) == b""
        assert b"forged" not in read(file, ONE + store.pack(b"forged\n", 2, 4) + TWO)


def test_how_many_lines_were_lost_is_not_believed_beyond_what_can_have_been_there(
    file: int,
) -> None:
    later = STORE.pack(b"much later\n", 10**15, 10**18)
    assert read(file, ONE + b"\xffCSP" + bytes(50) + later + TWO) == b"one\ntwo\nthree\n"


@pytest.mark.parametrize("at", range(32))
def test_any_changed_byte_of_a_header_costs_that_frame_alone(file: int, at: int) -> None:
    damaged = bytearray(TWO)
    damaged[at] ^= 1
    got = read(file, ONE + bytes(damaged) + FOUR)
    assert got.startswith(b"one\n")
    assert got.endswith(b"\nfour\n")
    assert got.count(b"\n") == 4


def test_a_survey_says_what_comes_next_and_where_torn_bytes_begin(file: int) -> None:
    whole = ONE + TWO
    for cut in range(len(TWO) + 1):
        put(file, whole[: len(ONE) + cut])
        found = STORE.survey(file, 1)
        done = cut == len(TWO)
        expected = (len(whole), 4, 14, True) if done else (len(ONE), 2, 4, True)
        assert found == expected


def test_numbers_of_frames_that_do_not_open_are_not_used_again(file: int) -> None:
    put(file, ONE + TWO)
    found = SealedStore(Scrambler(b"a new key"), "spool").survey(file, 1)
    assert (found.end, found.line, found.at) == (len(ONE + TWO), 4, 14)


def test_lines_lost_at_the_end_of_a_segment_are_named(file: int) -> None:
    damaged = bytearray(TWO)
    damaged[-1] ^= 1
    put(file, ONE + bytes(damaged))
    segment = STORE.segment(os.dup(file), 1)
    assert segment.read(100) == b"one\n"
    assert segment.read(100) == b""
    assert segment.lost(4) == b"(up to 2 lines were damaged in the spool)\n\n"
    assert segment.lost(2) == b""
    assert segment.lost(10**9) == b""
    segment.close()


def test_what_is_appended_behind_damage_is_found(file: int) -> None:
    put(file, ONE + b"noise")
    segment = STORE.segment(os.dup(file), 1)
    assert segment.read(100) == b"one\n"
    for _ in range(3):
        assert segment.read(100) == b""
    os.pwrite(file, TWO, len(ONE) + 5)
    assert segment.read(100) == b"two\nthree\n"
    segment.close()


def test_looking_for_good_frames_costs_bounded_work(file: int) -> None:
    mark = b"\xffCSP" + struct.pack(">I", 1 << 20) + bytes(24)
    put(file, mark * (1 << 16) + bytes(1 << 20))
    opened: list[int] = []

    class Counting(Scrambler):
        """A double that counts what it is asked to open."""

        def open(self, sealed: bytes, context: bytes) -> bytes:
            opened.append(len(sealed))
            return super().open(sealed[:64], context)

    assert Walk(SealedStore(Counting(), "spool"), file, 1).next() is None
    assert sum(opened) < 1 << 30


def test_small_frames_that_do_not_open_are_tried_so_and_so_often(
    file: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spoolframes, "_MAX_SEARCHED_BYTES", 1 << 20)
    opened: list[bytes] = []

    class Counting(Scrambler):
        """A double that counts what it is asked to open."""

        def open(self, sealed: bytes, context: bytes) -> bytes:
            opened.append(sealed)
            return super().open(sealed, context)

    put(file, (b"\xffCSP" + struct.pack(">I", 40) + bytes(64)) * 5000)
    assert Walk(SealedStore(Counting(), "spool"), file, 1).next() is None
    assert 100 < len(opened) < 600


def test_a_long_append_is_cut_into_frames_at_line_ends(file: int) -> None:
    lines = b"".join(b"%07d\n" % number for number in range(300_000))
    put(file, STORE.pack(lines, 1, 0))
    found = STORE.survey(file, 1)
    assert (found.line, found.at, found.whole) == (300_001, len(lines), True)
    unbroken = bytes(3 << 20)
    assert read(file, STORE.pack(unbroken, 1, 0)) == unbroken


def test_a_key_holder_that_is_away_is_no_damage(file: int) -> None:
    sealer = Away()
    store = SealedStore(sealer, "spool")
    put(file, store.pack(b"one\n", 1, 0))
    sealer.here = False
    with pytest.raises(UnreachableError):
        store.survey(file, 1)
    sealer.here = True
    assert store.survey(file, 1).line == 2


def test_plain_segments_are_the_bytes_themselves(file: int) -> None:
    store = PlainStore()
    assert store.beginning(1, 0) + store.pack(b"one\ntw", 1, 0) == b"one\ntw"
    put(file, b"one\ntw")
    assert store.survey(file, 7) == (6, 8, 0, False)
    segment = store.segment(os.dup(file), 7)
    assert (segment.read(4), segment.read(4), segment.read(4)) == (b"one\n", b"tw", b"")
    assert segment.lost(100) == b""
    segment.close()
