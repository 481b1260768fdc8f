"""What the threat lane says: read back as written, and refused when it is not."""

import pytest

from cronos.errors import InputError
from cronos.mesh.copywire import (
    MAX_PARTS,
    Answer,
    Part,
    Whole,
    pack_answer,
    pack_parts,
    pack_whole,
    unpack,
)


@pytest.mark.parametrize("size", [0, 1, 900, 1_000, 10_000])
def test_what_is_cut_into_parts_comes_together_again(size):
    message = Whole(7, 9, 3, bytes(range(256)) * (size // 256 + 1))

    parts = [unpack(part) for part in pack_parts(message, 1_000)]

    assert b"".join(part.data for part in parts) == message.data
    assert [part.part for part in parts] == list(range(len(parts)))
    assert {(part.session, part.number, part.floor) for part in parts} == {(7, 9, 3)}
    assert all(len(part) <= 1_000 for part in pack_parts(message, 1_000))


def test_what_would_be_too_many_parts_is_none():
    assert pack_parts(Whole(1, 1, 1, bytes(MAX_PARTS * 1_000)), 1_000) == []


def test_all_three_are_read_back():
    assert unpack(pack_whole(1, 2, 3, b"x")) == Whole(1, 2, 3, b"x")
    assert unpack(pack_answer(Answer(1, 2, 1 << 63))) == Answer(1, 2, 1 << 63)
    assert unpack(pack_parts(Whole(1, 2, 3, b"x"), 100)[0]) == Part(1, 2, 3, 0, 1, b"x")


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\x00",
        b"\x04" + bytes(40),
        b"\x01" + bytes(23),
        b"\x02" + bytes(20),
        b"\x03" + bytes(25),
    ],
)
def test_anything_else_is_refused(data):
    with pytest.raises(InputError) as refused:
        unpack(data)

    assert refused.value.code == "mesh.bad_copy"


def test_a_part_beyond_its_parts_is_refused():
    good = bytearray(pack_parts(Whole(1, 2, 3, b"x"), 100)[0])
    good[25:27] = (5).to_bytes(2, "big")

    with pytest.raises(InputError):
        unpack(bytes(good))


@pytest.mark.parametrize("highest", [(1 << 64) - 1, 1 << 62])
def test_numbers_that_could_not_be_answered_for_are_refused(highest):
    for message in (Whole(1, highest, 0, b"x"), Whole(1, 0, highest, b"x")):
        with pytest.raises(InputError):
            unpack(pack_whole(*message))
        (part,) = pack_parts(message, 1_000)
        with pytest.raises(InputError):
            unpack(part)
