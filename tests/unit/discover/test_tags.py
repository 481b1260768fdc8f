"""Tags: the number that tells rows apart, if it is worth its cases."""

import random

from tests.unit.discover.drafts import draft

from cronos.discover.model import Sem
from cronos.discover.rows import Column, rows_of
from cronos.discover.tags import best_tag


def rows_with(tag_of, count=60):
    source = random.Random(4)
    samples = [source.choice((2, 4)) for _ in range(count)]
    rows = rows_of(
        (one.data, one.fields)
        for one in [draft((bytes(w), "value"), (b"x", "value")) for w in samples]
    )
    for row, width in zip(rows, samples, strict=True):
        row.env["tag"] = tag_of(width, source)
    return rows


COLUMN = Column("tag", Sem.ENUM_FLAGS, 1, "be")


def test_values_after_which_rows_go_on_alike_are_one_case():
    rows = rows_with(lambda width, source: width * 10 + source.randrange(2))
    column, groups = best_tag(rows, [COLUMN])

    assert column is COLUMN
    assert [values for values, _ in groups] == [(20, 21), (40, 41)]
    assert all(len({row.width for row in some}) == 1 for _, some in groups)


def test_a_number_that_decides_nothing_is_no_tag():
    assert best_tag(rows_with(lambda _, source: source.randrange(3)), [COLUMN]) is None
    assert (
        best_tag(rows_with(lambda width, source: width + source.getrandbits(30)), [COLUMN]) is None
    )
    assert best_tag(rows_with(lambda width, _: width), []) is None
