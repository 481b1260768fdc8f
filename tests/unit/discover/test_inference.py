"""From rows to nodes: each explanation where it explains, bytes where nothing does."""

import random
import struct

from tests.unit.discover.drafts import draft, requests

from cronos.discover import ir
from cronos.discover.checksums import function_of
from cronos.discover.explained import bits_of
from cronos.discover.inference import Inference
from cronos.discover.ir import (
    Checksum,
    Data,
    Maybe,
    Number,
    Repeat,
    Seq,
    Sized,
    Switch,
    Until,
    Varint,
)
from cronos.discover.model import Sem
from cronos.discover.namer import Names
from cronos.discover.rows import rows_of

SOURCE = random.Random(5)


def body(samples, work=100_000):
    inference = Inference(Names(), work)
    rows = rows_of([(s.data, s.fields) for s in samples], [s.said for s in samples])
    return Seq(tuple(inference.body(rows).nodes))


def kinds(node):
    return [type(one) for one in ir.walk(node)]


def test_a_plant_protocol_is_a_header_a_sized_part_and_a_union():
    nodes = body(requests())
    switch = next(one for one in ir.walk(nodes) if isinstance(one, Switch))

    assert [type(one) for one in nodes.items] == [Number, Number, Number, Sized]
    assert sorted(value for case in switch.cases for value in case.values) == [1, 2, 3]
    assert Repeat in kinds(nodes)
    assert Until in kinds(nodes)


def test_a_text_after_its_length_and_fields_behind_it():
    def one():
        text = SOURCE.randbytes(SOURCE.randint(1, 20))
        return draft((bytes([len(text)]), "length"), (text, "text"), (SOURCE.randbytes(2), "value"))

    nodes = body([one() for _ in range(40)])

    assert [type(n) for n in nodes.items] == [Number, Data, Number]
    assert nodes.items[1].size == ir.Size("field", 0, nodes.items[0].name)


def test_a_field_of_unknown_length_before_a_trailer_is_counted_from_the_end():
    def one():
        return draft(
            (SOURCE.randbytes(SOURCE.randint(1, 9)), "bytes"), (SOURCE.randbytes(2), "value")
        )

    nodes = body([one() for _ in range(40)])

    assert nodes.items[0].size == ir.Size("rest", 2)


def test_a_checksum_at_the_end_of_messages_of_any_length():
    def one():
        data = b"\xaa" + SOURCE.randbytes(SOURCE.randint(2, 12))
        crc = struct.pack("<H", function_of("crc16-modbus")(data))
        return draft((data[:1], "value"), (data[1:], "bytes"), (crc, "checksum"))

    nodes = body([one() for _ in range(40)])

    assert [type(n) for n in nodes.items] == [Sized, Checksum]
    assert (nodes.items[1].algorithm, nodes.items[1].endian) == ("crc16-modbus", "le")


def test_a_varint_that_sizes_what_follows():
    def one():
        data = SOURCE.randbytes(SOURCE.choice((5, 90, 200, 300)))
        size = (
            bytes([len(data)])
            if len(data) < 128
            else bytes([len(data) & 127 | 128, len(data) >> 7])
        )
        return draft((size, "length"), (data, "bytes"))

    nodes = body([one() for _ in range(40)])

    assert [type(n) for n in nodes.items] == [Varint, Sized]


def test_what_only_some_messages_have_is_there_if_bytes_are_left():
    def one(index):
        more = [(SOURCE.randbytes(2), "value"), (SOURCE.randbytes(4), "value")] if index % 2 else []
        return draft((SOURCE.randbytes(2), "id_seq"), *more)

    assert Maybe in kinds(body([one(index) for index in range(40)]))


def test_what_nothing_explains_is_bytes():
    def one():
        cuts = [
            (SOURCE.randbytes(SOURCE.randint(1, 7)), "value") for _ in range(SOURCE.randint(1, 6))
        ]
        return draft((SOURCE.randbytes(2), "id_seq"), *cuts)

    nodes = body([one() for _ in range(30)])

    assert [type(n) for n in nodes.items] == [Number, Data]
    assert nodes.items[1].size == ir.Size("rest")


def test_without_work_left_everything_is_bytes():
    nodes = body(requests(), work=-1)

    assert [type(n) for n in nodes.items] == [Data]
    assert bits_of(nodes) < bits_of(body(requests()))


def test_bytes_that_none_can_cut_are_text_where_all_of_them_are():
    lines = [draft((b"%d;" % n + b"pressure" * (n % 5 + 1), Sem.BYTES)) for n in range(40)]
    binary = [draft((SOURCE.randbytes(8 + n), Sem.BYTES)) for n in range(40)]

    assert [one.sem for one in ir.walk(body(lines)) if isinstance(one, Data)] == [Sem.TEXT]
    assert [one.sem for one in ir.walk(body(binary)) if isinstance(one, Data)] == [Sem.BYTES]


def test_numbers_of_an_explanation_that_was_given_up_are_forgotten():
    rows = rows_of((s.data, s.fields) for s in requests(20))
    inference = Inference(Names(), 100_000)

    def given_up():
        for row in rows:
            row.env.update({f"gone{n}": n for n in range(400)})
            row.skip(2)

    assert inference._first(rows, (given_up,)) is None
    assert all(not row.env and row.at == 0 for row in rows)
