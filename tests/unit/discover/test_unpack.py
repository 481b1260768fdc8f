"""Gzip in bounded pieces."""

import gzip
import io

import pytest

from cronos.discover.unpack import Unpacked
from cronos.errors import InputError


def everything(source):
    pieces = []
    while piece := source.read(1 << 20):
        pieces.append(piece)
    return pieces


def test_members_follow_one_another_and_what_was_read_ahead_is_used():
    packed = gzip.compress(b"one") + gzip.compress(b"two")
    source = io.BytesIO(packed[3:])

    assert b"".join(everything(Unpacked(source, packed[:3]))) == b"onetwo"


def test_no_piece_is_larger_than_asked_for_or_than_the_bound():
    packed = gzip.compress(bytes(3 << 20))

    assert len(Unpacked(io.BytesIO(packed)).read(4)) == 4
    assert max(len(piece) for piece in everything(Unpacked(io.BytesIO(packed)))) <= 1 << 18


def test_a_cut_file_gives_what_is_there():
    packed = gzip.compress(bytes(range(256)) * 4096, compresslevel=0)

    assert len(b"".join(everything(Unpacked(io.BytesIO(packed[: len(packed) // 2]))))) > 400_000


def test_what_follows_the_last_member_is_left_out():
    assert everything(Unpacked(io.BytesIO(gzip.compress(b"one") + b"\0" * 512))) == [b"one"]


def test_what_is_no_gzip_is_refused():
    with pytest.raises(InputError, match="cannot be unpacked"):
        Unpacked(io.BytesIO(b"\x1f\x8bnothing of the kind")).read()
