"""Messages read as records."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from cronos.discover.evidence import Corpus
from cronos.discover.messages import Message
from cronos.discover.walks import SHAPES, marked, nested, numbers, tagged


def corpus(*payloads):
    return Corpus([Message(bytes(p)) for p in payloads])


def test_numbers_are_read_in_both_orders_and_not_over_the_end():
    c = corpus(b"\1\2\3")

    assert numbers(c, 0, 2, big=True).tolist() == [0x102, 0x203, -1]
    assert numbers(c, 0, 2, big=False).tolist() == [0x201, 0x302, -1]


def test_records_that_end_with_the_message_are_marked():
    c = corpus(b"HH" + b"\x10\1a" + b"\x20\2bc" + b"\x30\0")
    role, length = marked(c, (1, 1, True, 0), 3)

    assert role.tolist() == [0, 0, 1, 2, 3, 1, 2, 3, 0, 1, 2]
    assert set(length[role > 0].tolist()) == {3}


def test_records_may_stop_at_a_terminator_before_padding():
    c = corpus(b"\x10\1a" + b"\x20\2bc" + b"\x30\1d" + b"\xff\0\0\0\0")
    role, _ = marked(c, (1, 1, True, 0), 3)

    assert np.flatnonzero(role == 1).tolist() == [0, 3, 7, 10]


def test_nested_records_are_found_behind_a_header():
    inner = b"\x02\1\5" + b"\x04\3abc"
    payload = b"\0\0\0\x0a" + b"\x30" + bytes((len(inner),)) + inner
    role = nested(corpus(payload))

    assert role[4:].tolist() == [1, 2, 1, 2, 4, 1, 2, 4, 0, 0]


def test_what_does_not_nest_is_refused():
    assert tagged(b"\x30\3\x02\5\1", 0, 5) is None
    assert tagged(b"\x30\x80", 0, 2) is None
    assert tagged(b"\x30\x85" + bytes(9), 0, 11) is None


@given(st.lists(st.binary(max_size=60), min_size=1, max_size=6))
def test_any_bytes_can_be_walked(payloads):
    c = corpus(*payloads)

    for shape in SHAPES:
        role, _ = marked(c, shape, 3)
        assert len(role) == len(c.data)
    assert len(nested(c)) == len(c.data)
