from cronos.sense.zeek_tsv import TsvReader


def table(*headers):
    reader = TsvReader()
    for header in headers:
        reader.header(header)
    return reader


def test_a_row_before_any_header_is_refused():
    assert "before any #fields" in TsvReader().row(b"a\tb")


def test_separators_and_marks_are_those_of_the_header():
    reader = table(
        b"#separator |",
        b"#set_separator|;",
        b"#empty_field|EMPTY",
        b"#unset_field|NONE",
        b"#fields|a|b|c|d",
        b"#types|set[count]|string|string|vector[string]",
    )
    assert reader.row(b"1;2|EMPTY|NONE|EMPTY") == {"a": [1, 2], "b": "", "d": []}


def test_unset_elements_stay_in_their_place():
    reader = table(b"#fields\ta", b"#types\tvector[count]")
    assert reader.row(b"1,-,3") == {"a": [1, None, 3]}


def test_without_types_everything_is_text_and_old_types_are_not_kept():
    reader = table(b"#fields\ta\tb", b"#types\tcount\tcount", b"#fields\tc")
    assert reader.row(b"7") == {"c": "7"}


def test_types_of_another_width_are_refused():
    assert "#types" in table(b"#fields\ta\tb", b"#types\tcount").row(b"1\t2")


def test_numbers_that_are_none_stay_text():
    reader = table(b"#fields\ta\tb\tc", b"#types\tcount\tdouble\tdouble")
    assert reader.row(b"x\tnan\t1e999") == {"a": "x", "b": "nan", "c": "1e999"}


def test_escapes_become_bytes_and_bad_ones_do_no_harm():
    reader = table(b"#fields\ta\tb", b"#types\tstring\tstring")
    row = reader.row("\\xc3\\xbc\\x0a\t☃\\xff".encode())
    assert row == {"a": "ü\n", "b": "☃\xff"}


def test_an_unknown_header_is_a_comment():
    reader = table(b"#open\t2020", b"#path\tconn")
    assert reader.path == "conn"
    assert not reader.begun
