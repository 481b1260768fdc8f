"""Items that repeat: found where every row falls into them, and only there."""

import random

from tests.unit.discover.drafts import draft

from cronos.discover.items import ber_cuts, ber_fits, counted, to_the_end
from cronos.discover.rows import rows_of


def rows(*samples):
    return rows_of((one.data, one.fields) for one in samples)


def tlv(*values, wide=1):
    parts = []
    for value in values:
        parts += [
            (b"\x07", "enum_flags"),
            (len(value).to_bytes(wide, "big"), "length"),
            (value, "bytes"),
        ]
    return draft(*parts)


def test_items_that_say_their_own_length():
    found = to_the_end(rows(tlv(b"abc", b"", b"xyzxyz"), tlv(b"a"), tlv(b"four", b"2b"), draft()))

    assert found.lengths == ((5, 2, 8), (3,), (6, 4), ())
    assert (found.header, found.length_at, found.relation.constant) == (2, 1, 0)
    wide = to_the_end(rows(tlv(b"abc", b"de", wide=2), tlv(b"a", wide=2)))
    assert wide.lengths == ((6, 5), (4,))


def test_items_of_one_shape_when_rows_have_different_numbers_of_them():
    pair = [(b"\1\2", "value"), (b"\3", "enum_flags")]
    found = to_the_end(rows(draft(*pair * 3), draft(*pair), draft(*pair * 2)))

    assert found.lengths == ((3, 3, 3), (3,), (3, 3))
    assert to_the_end(rows(draft(*pair * 2), draft(*pair * 2))) is None
    assert to_the_end(rows(draft(*pair * 2), draft(*pair, (b"1", "text")))) is None


def with_count(row, number):
    row.env["n"] = number
    return row


def test_items_that_a_number_counts():
    registers = [(b"\0\1", "value")]
    some = rows(draft(*registers * 3, (b"x", "text")), draft(*registers, (b"x", "text")))
    with_count(some[0], 3)
    with_count(some[1], 1)

    assert counted(some, "n", sure=True).lengths == ((2, 2, 2), (2,))
    with_count(some[1], 2)
    assert counted(some, "n", sure=True) is None
    with_count(some[0], 1 << 30)
    assert counted(some, "n", sure=True) is None


def ber(depth, source):
    if not depth:
        value = source.randbytes(source.randint(0, 5))
        return [(b"\x04", "enum_flags"), (bytes([len(value)]), "length"), (value, "bytes")]
    inner = [part for _ in range(source.randint(1, 3)) for part in ber(depth - 1, source)]
    size = sum(len(raw) for raw, _ in inner)
    length = bytes([size]) if size < 128 else b"\x81" + bytes([size])
    return [(b"\x30", "enum_flags"), (length, "length"), *inner]


def test_ber_is_known_by_its_nesting():
    source = random.Random(3)
    some = rows(*[draft(*ber(3, source)) for _ in range(6)])

    assert ber_fits(some)
    assert ber_cuts(some[0].data, 0, some[0].end, set(), 0) == 3
    flat = rows(
        *[draft((source.randbytes(1), "value"), (source.randbytes(9), "bytes")) for _ in range(6)]
    )
    assert not ber_fits(flat)
    assert ber_cuts(b"\x30\x7f\x00", 0, 3, set(), 0) == -1
    assert ber_cuts(b"\x30\x80" * 40, 0, 80, set(), 0) == -1
