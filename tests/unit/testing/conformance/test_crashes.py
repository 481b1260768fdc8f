from pathlib import Path

import pytest

from cronos.testing.conformance.crashes import count_lines, folder_of, killed_at, spread

HERE = str(Path(__file__).parent)


def write_three(path):
    with path.open("a") as file:
        file.write("one")
        file.flush()
        file.write("two")
        file.flush()
        file.write("three")


def test_lines_of_the_folder_are_counted_and_no_others(tmp_path):
    lines = count_lines(lambda: write_three(tmp_path / "out"), HERE)
    assert 6 <= lines <= 10
    assert count_lines(lambda: write_three(tmp_path / "out"), "/nowhere") == 0


def test_killed_at_each_line_it_has_done_a_little_more(tmp_path):
    lines = count_lines(lambda: write_three(tmp_path / "counted"), HERE)
    done = []
    for line in range(1, lines + 2):
        killed_at(lambda line=line: write_three(tmp_path / str(line)), HERE, line)
        path = tmp_path / str(line)
        done.append(path.read_text() if path.exists() else "")
    assert [len(text) for text in done] == sorted(len(text) for text in done)
    assert {"", "one", "onetwo", "onetwothree"} == set(done)


def test_what_breaks_by_itself_is_no_crash_point():
    def broken():
        raise ValueError

    with pytest.raises(AssertionError, match="unharmed"):
        count_lines(broken, HERE)
    with pytest.raises(AssertionError, match="killed at its line"):
        killed_at(broken, HERE, 100)


def test_a_few_places_are_spread_over_all():
    assert list(spread(3, 10)) == [1, 2, 3]
    assert list(spread(100, 4)) == [1, 34, 67, 100]


def test_the_folder_of_a_class_is_where_it_is_written():
    class Here:
        pass

    assert folder_of(Here()) == HERE
