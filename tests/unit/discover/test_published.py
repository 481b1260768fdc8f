"""Published protocols that are known again, and others that are not taken for them."""

import numpy as np
import pytest
from tests.unit.discover.begun import MAGIC, OTHER, known, lesson

from cronos.discover.lessons import drawn
from cronos.discover.messages import Message
from cronos.discover.published import HEAD, SYMBOLS, Published, beginnings, tally
from cronos.discover.published_train import beginnings_of
from cronos.errors import InputError


def test_what_begins_as_a_protocol_does_is_known_again_in_other_messages():
    assert known().recognise(lesson("x", b"\x7fMAG\x01\x00", seed=3).messages) == "magic"
    assert known().recognise(lesson("x", b"\x03\x00\x00\x10\x0e\xd0", seed=4).messages) == "other"


@pytest.mark.parametrize("magic", [b"\x7fNBG\x02\x00", b"", b"\x00" * 6, b'{"id": 1'])
def test_what_a_column_never_held_speaks_against_a_protocol(magic):
    assert known().recognise(lesson("x", magic, seed=5).messages) == ""


def test_few_messages_many_others_among_them_or_none_are_of_no_protocol():
    few = lesson("x", b"\x7fMAG\x01\x00", 7, seed=6).messages
    mixed = [*few, *lesson("x", b"zz", 9, seed=7).messages]

    assert known().recognise(few) == known().recognise(mixed) == known().recognise([]) == ""
    assert known().recognise([Message(b"")] * 40) == ""


def test_drawn_grammars_are_taken_for_no_protocol():
    taken = [known().recognise(one.messages) for one in drawn(range(4_001, 4_061, 2))]

    assert set(taken) == {""}


def test_messages_that_are_short_end_in_a_value_of_their_own():
    heads = beginnings([Message(b"\x01\x02"), Message(bytes(99))])

    assert heads[0].tolist() == [1, 2] + [256] * (HEAD - 2)
    assert heads[1].tolist() == [0] * HEAD
    assert tally([Message(b"\x01")])[1][256] == 1


@pytest.mark.parametrize(
    "wrong",
    [
        {"seen": np.zeros((3, HEAD, SYMBOLS))},
        {"seen": np.zeros((2, 4, SYMBOLS))},
        {"usual": np.zeros((HEAD, SYMBOLS))},
        {"usual": np.ones((2, 2))},
        {"protocols": np.array(["one"])},
    ],
)
def test_a_damaged_file_is_refused(wrong):
    parts = beginnings_of([MAGIC, OTHER], ())

    with pytest.raises(InputError):
        Published(parts | wrong)
    with pytest.raises(InputError):
        Published({})
