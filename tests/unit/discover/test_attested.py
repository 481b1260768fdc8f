"""Claims become relations where they hold on the rows at hand, and nothing where they do not."""

import struct

import pytest
from tests.unit.discover.drafts import attested, blocked, draft, stations

from cronos.discover import ir
from cronos.discover.attested import (
    ends_in_blocks,
    holds,
    said_blocks,
    said_checksum,
    said_items,
    said_of,
    said_order,
    said_records,
    said_rest,
    standing,
)
from cronos.discover.checksums import function_of
from cronos.discover.model import Claim, Sem
from cronos.discover.rows import Column, rows_of


def claim(kind, sem, spans, **terms):
    return Claim(kind, Sem(sem), tuple(spans), 1.0, 1e-9, terms)


def rows(messages, claims, fields=((0, 1, Sem.VALUE),)):
    return rows_of([(m, fields) for m in messages], said_of(claims, len(messages)))


def test_claims_are_found_where_they_stand_and_blocks_where_their_data_begins():
    plain = claim("counter", "id_seq", [(4, 2), None])
    first = claim("checksum.sum8", "checksum", [(9, 1), (9, 1)], cover="block", number=0, start=3)
    later = claim("checksum.sum8", "checksum", [(19, 1), None], cover="block", number=1, start=10)

    assert said_of([plain, first, later], 2) == [{4: (plain,), 3: (first,)}, {3: (first,)}]


def test_what_most_rows_do_not_have_does_not_stand():
    messages = [b"ab"] * 10
    most = claim("counter", "id_seq", [(0, 1)] * 10, choice=1)
    some = claim("counter", "id_seq", [(0, 1)] * 9 + [None])
    likely = claim("counter", "id_seq", [(0, 1)] * 10, choice=0)

    assert standing(rows(messages, [most, some, likely]), "counter") == [likely, most]


def test_one_size_is_enough_for_a_length_that_detectors_vouch_for():
    messages = [b"\x06\0abcd"] * 5
    said = claim(
        "length.whole", "length", [(0, 2)] * 5, endian="le", width=2, mask=0, unit=1, plus=0
    )

    found = said_rest(rows(messages, [said]), 2)
    assert found is not None
    assert (found.endian, found.constant) == ("le", -2)
    assert said_rest(rows([b"\x06\0abc"] * 5, [said]), 2) is None  # it does not hold here
    assert said_rest(rows(messages, [said]), 1) is None  # cut elsewhere
    assert said_order(rows(messages, [said]), 2) == "le"


def test_a_checksum_counts_that_holds_in_most_rows():
    def framed(body, good):
        value = function_of("crc16-arc")(body) ^ (0 if good else 1)
        return body + value.to_bytes(2, "big")

    messages = [framed(bytes([n, 7, n ^ 5]), good=n % 4 > 0) for n in range(20)]
    said = claim("checksum.crc16-arc", "checksum", [(3, 2)] * 20, algorithm="crc16-arc",
                 endian="be", width=2, at=3, start=0, cover="before")  # fmt: skip
    some = rows(messages, [said], ((0, 3, Sem.VALUE), (3, 2, Sem.VALUE)))
    for row in some:
        row.skip(3)

    leaf = said_checksum(some, 2)
    assert leaf == ir.Checksum("", "crc16-arc", "be")
    assert [holds(row, leaf, 2) for row in some[:5]] == [False, True, True, True, False]
    broken = rows([framed(bytes([n, 7]), good=False) + b"?" for n in range(20)], [said])
    assert said_checksum(broken, 2) is None


def test_items_that_are_claimed_need_no_cuts():
    messages = [bytes([n]) + bytes(3 * n) for n in range(1, 7)]
    said = claim("count.items", "count", [(0, 1)] * 6, endian="be", width=1, item=3, plus=1)
    some = rows(messages, [said])
    column = Column("t1", Sem.COUNT, 1, "be")
    column.claims = standing(some, "count.")
    for row in some:
        row.env["t1"] = row.data[0]
        row.skip(1)

    found = said_items(some, column)
    assert found is not None
    assert found.lengths[2] == (3, 3, 3)
    some[0].env["t1"] = 9
    assert said_items(some, column) is None


RECORDS = [[b"a", b"bcd"], [b"", b"xy", b"z"], [b"hello"]]


@pytest.mark.parametrize(
    ("form", "stop", "whole"),
    [("fixed", -1, 0), ("fixed", 255, 0), ("fixed", -1, 1), ("ber", -1, 0)],
)
def test_records_are_walked_as_they_are_claimed(form, stop, whole):
    messages = []
    for values in RECORDS:
        parts = [bytes([7, len(value) + 2 * whole]) + value for value in values]
        messages.append(b"".join(parts) + (b"\xff\0" if stop >= 0 else b""))
    terms = {"tag_width": 1, "width": int(form == "fixed"), "endian": "be", "form": form}
    terms |= {"align": 1, "whole": whole, "stop": stop, "trailer": 0, "number": 0}
    said = claim("tlv.tag", "enum_flags", [(0, 1)] * 3, **terms)

    found = said_records(rows(messages, [said]))
    assert found is not None
    assert found.sizes == ((3, 5), (2, 4, 3), (7,))
    assert (
        said_records(rows([one[:-1] + b"" for one in messages[:2]] + [b"\7\xf0"], [said])) is None
    )


def test_data_in_blocks_becomes_rows_of_its_own_with_cut_fields_joined():
    whole = [one for one in stations() if len(one.data) > 26]
    some = rows_of([(one.data, one.fields) for one in whole], [one.said for one in whole])
    assert ends_in_blocks(some)
    for row in some:
        row.skip(8)

    cut = said_blocks(some)
    assert cut is not None
    assert (cut.size, cut.leaf.algorithm) == (16, "crc16-dnp")
    assert all(set(row.widths(99)) == {1, 4} for row in cut.rows)
    assert all(blocked(row.data) == one.data[8:] for row, one in zip(cut.rows, whole, strict=True))


def test_what_is_no_blocks_is_left_alone():
    some = rows_of([(b"x" * 40, ((0, 40, Sem.BYTES),))] * 5)
    assert said_blocks(some) is None
    assert not ends_in_blocks(some)
    said = claim("checksum.crc16-dnp", "checksum", [(16, 2)] * 5, algorithm="crc16-dnp",
                 endian="le", cover="block", block=16, number=0, start=0)  # fmt: skip
    assert said_blocks(rows([b"x" * 40] * 5, [said])) is None  # no checksum holds
    assert said_blocks(rows([b"x" * 19] * 5, [said])) is None  # the last block has no data


def test_drawn_messages_keep_their_claims():
    samples = attested([draft((struct.pack(">H", n + 2), "length"), (bytes(n), "bytes"))
                        for n in range(3, 40)])  # fmt: skip
    assert any(c.kind.startswith("length.") for c in samples[0].said[0])
