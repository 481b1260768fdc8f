import codecs

import pytest

from cronos.sense.lines import LineReader, first_line, too_long
from cronos.testing.memory_sense import MemorySource


def cut(data, cuts=(), limit=100, first=1):
    reader = LineReader(MemorySource(data, cuts, first=first), limit)
    return [line for chunk in reader for line in chunk], reader


def test_lines_are_numbered_from_the_first_and_blank_ones_count_but_are_left_out():
    lines, _ = cut(b"one\r\n\n  \nfour\n", first=7)
    assert lines == [(7, b"one"), (10, b"four")]


def test_a_last_line_without_a_newline_is_a_line():
    assert cut(b"one\ntwo")[0] == [(1, b"one"), (2, b"two")]


@pytest.mark.parametrize("cuts", [(), (1,), (2, 0), (3, 1, 0, 7)])
def test_where_the_source_cuts_makes_no_difference(cuts):
    data = "größe\nzwei\n".encode() + b"x" * 120 + b"\nlast"
    assert cut(data, cuts)[0] == [
        (1, "größe".encode()),
        (2, b"zwei"),
        (3, None),
        (4, b"last"),
    ]


def test_an_idle_source_yields_an_empty_chunk():
    reader = LineReader(MemorySource(b"one\n", (2, 0)), 100)
    assert [] in list(reader)


@pytest.mark.parametrize(
    ("mark", "encoding"),
    [
        (codecs.BOM_UTF8, "utf-8"),
        (codecs.BOM_UTF16_LE, "utf-16-le"),
        (codecs.BOM_UTF16_BE, "utf-16-be"),
    ],
)
@pytest.mark.parametrize("cuts", [(), (1,), (3,)])
def test_a_byte_order_mark_tells_the_encoding(mark, encoding, cuts):
    data = mark + "eins\r\nzwölf 😀\n".encode(encoding)
    assert cut(data, cuts)[0] == [(1, b"eins"), (2, "zwölf 😀".encode())]
    assert first_line(data) == b"eins"


def test_invalid_bytes_are_replaced_and_counted_and_the_line_lives():
    lines, reader = cut(b"a\xff\xfeb\ngood\n")
    assert lines == [(1, "a\ufffd\ufffdb".encode()), (2, b"good")]
    assert reader.replaced == 2


def test_zero_bytes_around_a_line_are_padding():
    assert cut(b"\0\0\0one\0\n\0\0\n")[0] == [(1, b"one")]


def test_an_overlong_line_is_one_none_and_is_not_held():
    reader = LineReader(MemorySource(b"x" * 100_000 + b"\nok\n", (50,)), 100)
    lines = []
    for chunk in reader:
        lines += chunk
        assert reader._held <= 100 + 52
        if reader._skipping:
            assert not reader._pieces
    assert lines == [(1, None), (2, b"ok")]


def test_a_line_of_exactly_the_limit_is_whole_and_one_byte_more_is_not():
    assert cut(b"x" * 100 + b"\r\n")[0] == [(1, b"x" * 100)]
    assert cut(b"x" * 101 + b"\n")[0] == [(1, None)]


def test_the_defect_of_a_long_line_names_it_and_the_remedy():
    defect = too_long(MemorySource(b"", name="a.log"), 3, 100)
    assert (defect.source, defect.position) == ("a.log", 3)
    assert "max_line_bytes" in defect.remedy
