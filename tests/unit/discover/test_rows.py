"""Rows: a message with its cuts, read from the front."""

from cronos.discover.model import Sem
from cronos.discover.rows import MAX_CUTS, Column, common, rows_of

V, T = Sem.VALUE, Sem.TEXT


def row(data, *fields):
    return rows_of([(data, fields)])[0]


def test_fields_and_the_gaps_between_them_tile_the_message():
    one = row(b"abcdefgh", (2, 2, V), (5, 1, T))

    assert list(one.cuts) == [0, 2, 4, 5, 6, 8]
    assert list(one.sems) == [Sem.BYTES, V, Sem.BYTES, T, Sem.BYTES]
    assert (one.left, one.width, one.sem, one.head()) == (5, 2, Sem.BYTES, b"ab")
    assert one.widths(3) == (2, 2, 1)


def test_broken_evidence_is_passed_over():
    one = row(b"abcd", (0, 2, V), (1, 2, V), (3, 9, V), (2, 0, V), (-1, 1, V))

    assert list(one.cuts) == [0, 2, 4]
    assert row(b"").left == 0
    many = row(bytes(MAX_CUTS + 100), *[(n, 1, V) for n in range(MAX_CUTS + 100)])
    assert many.left == MAX_CUTS + 1


def test_the_cursor_moves_by_bytes_and_cuts_what_it_lands_in():
    one = row(b"abcdefgh", (0, 2, V), (2, 4, T), (6, 2, V))
    one.skip(2)
    assert one.head() == b"cdef"
    one.skip(1)
    assert (one.head(), one.sem, list(one.rest())) == (b"def", T, [6, 8])
    one.skip(5)
    assert (one.left, one.width) == (0, 0)


def test_a_part_is_a_region_of_its_own():
    one = row(b"abcdefgh", (0, 2, V), (2, 4, T), (6, 2, V))
    one.env["n"] = 5
    part = one.part(6)

    assert (part.start, part.end, part.left, part.env) == (0, 6, 2, {"n": 5})
    assert one.head() == b"gh"
    part.env["n"] = 6
    assert one.env["n"] == 5
    assert one.part(0).left == 0
    assert one.part(2).head() == b"gh"
    assert one.at == one.end == 8


def test_what_most_say_is_common():
    assert common([V, T, V]) is V
    assert common([]) is Sem.BYTES
    assert common([T, V]) is common([V, T])
    assert Column("n", V, 2, "be").width == 2
