"""What numbers say about lengths: found where it holds, and not where chance would do."""

import random

import pytest

from cronos.discover.checksums import function_of
from cronos.discover.model import Sem
from cronos.discover.relations import (
    Relation,
    checksum_relation,
    inner_relation,
    order_of,
    rest_relation,
)  # fmt: skip
from cronos.discover.rows import rows_of

LENGTHS = [3, 9, 40, 17, 9, 120]


def raw(values, width=2, order="big"):
    return [value.to_bytes(width, order) for value in values]


@pytest.mark.parametrize(
    ("numbers", "found"),
    [
        (raw(LENGTHS), Relation("be")),
        (raw(LENGTHS, 4, "little"), Relation("le")),
        (raw([n + 6 for n in LENGTHS]), Relation("be", 0, 1, -6)),
        (raw([0xA000 | n for n in LENGTHS]), Relation("be", 0x7FFF, 1, 0) and None),
    ],
)
def test_a_length_of_the_rest(numbers, found):
    assert rest_relation(numbers, LENGTHS, Sem.LENGTH, 6) == found or found is None


def test_a_masked_length_and_one_in_words():
    masked = rest_relation(raw([0x5000 | n for n in LENGTHS]), LENGTHS, Sem.LENGTH, 6)
    words = rest_relation(raw(LENGTHS), [4 * n for n in LENGTHS], Sem.LENGTH, 6)

    assert masked == Relation("be", 0x0FFF, 1, 0)
    assert masked.of(0x5009) == 9
    assert words == Relation("be", 0, 4, 0)
    assert words.size("n").scale == 4


def test_random_numbers_say_no_length_and_a_constant_one_only_if_it_is_likely():
    source = random.Random(1)
    for _ in range(300):
        values = raw([source.randrange(256) for _ in LENGTHS], 1)
        assert rest_relation(values, LENGTHS, Sem.VALUE, 6) is None
    assert rest_relation(raw([8, 8, 8]), [8, 8, 8], Sem.LENGTH, 6) == Relation("be")
    assert rest_relation(raw([9, 9, 9]), [8, 8, 8], Sem.LENGTH, 6) is None
    assert rest_relation(raw([8, 8, 8]), [8, 8, 8], Sem.VALUE, 6) is None


def texts(counts, sem=Sem.LENGTH):
    rows = rows_of(
        [(bytes([n]) + b"t" * n + b"zz", ((0, 1, sem), (1, n, Sem.TEXT), (1 + n, 2, Sem.VALUE)))
         for n in counts]
    )  # fmt: skip
    for row, n in zip(rows, counts, strict=True):
        row.skip(1)
        row.env["n"] = n
    return rows


def test_a_number_that_says_where_a_later_boundary_lies():
    assert inner_relation(texts([3, 5, 9, 4]), "n", True, 0) == Relation("be")
    assert inner_relation(texts([3, 5, 9, 4]), "n", False, 0) == Relation("be")
    assert inner_relation(texts([3, 3, 3]), "n", True, 0) is None
    rows = texts([3, 5, 9, 4])
    for row, wrong in zip(rows, (200, 17, 90, 33), strict=True):
        row.env["n"] = wrong
    assert inner_relation(rows, "n", True, 0) is None


@pytest.mark.parametrize("name", ["crc16-modbus", "internet", "crc32", "sum8"])
def test_a_checksum_is_found_by_what_it_covers(name):
    source = random.Random(2)
    width = {"crc32": 4, "sum8": 1}.get(name, 2)
    rows = []
    for length in (9, 14, 11, 30, 9):
        data = source.randbytes(length)
        total = data + function_of(name)(data[2:]).to_bytes(width, "little")
        rows += rows_of([(total, ((0, 2, Sem.VALUE), (2, length - 2, Sem.BYTES)))])
        rows[-1].skip(length)
    found = checksum_relation(rows, width)

    assert (found.algorithm, found.start) == (name, 2)
    rows[0].data = rows[0].data[:3] + b"!" + rows[0].data[4:]
    assert checksum_relation(rows, width) is None


def test_the_order_of_a_number_is_that_in_which_its_high_bytes_rest():
    assert order_of(raw([1, 300, 77, 5]), Sem.VALUE) == "be"
    assert order_of(raw([1, 300, 77, 5], 4, "little"), Sem.VALUE) == "le"
    assert order_of(raw([1, 2], 2, "little"), Sem.ADDRESS) == "be"
