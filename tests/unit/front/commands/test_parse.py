"""`cronos parse`: lines, a table, columns; and what it refuses."""

import json

import pytest
from tests.unit.discover.pump import PROFILE, note, reading

from cronos.discover.profile import to_bytes
from cronos.front.cli import main


@pytest.fixture
def given(tmp_path):
    profile, lines = tmp_path / "profile.json", tmp_path / "in.jsonl"
    profile.write_bytes(to_bytes(PROFILE))
    payloads = [reading(1.5), note(), reading(2.5, tag=b"\x1b[2J")]
    lines.write_bytes(
        b"".join(json.dumps({"payload_hex": one.hex()}).encode() + b"\n" for one in payloads)
    )
    return [str(profile), str(lines)]


def parse(*words):
    return main(["parse", *map(str, words)])


def test_messages_are_json_lines_and_the_count_goes_beside(given, capsys):
    assert parse(*given) == 0
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]

    assert [row["type"] for row in rows] == ["reading", "note", "reading"]
    assert rows[0]["fields"][2] == {"name": "level", "offset": 3, "length": 4, "value": 1.5}
    assert "3 of 3 messages parsed." in err
    assert "\x1b" not in out


def test_a_table_has_a_line_for_each_and_nothing_in_it_steers_a_terminal(given, capsys):
    assert parse(*given, "--format", "table") == 0
    out = capsys.readouterr().out

    assert len(out.splitlines()) == 3
    assert "level=1.5" in out
    assert "\x1b" not in out


def test_a_refused_message_is_a_row_and_an_exit_code(given, tmp_path, capsys):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"payload_hex": "09"}\n{"payload_hex": "0200"}\n')
    assert parse(given[0], bad) == 1
    first, second = map(json.loads, capsys.readouterr().out.splitlines())

    assert first["refused"]
    assert second["type"] == "note"
    assert parse(given[0], bad, "--format", "table") == 1
    assert "refused at" in capsys.readouterr().out


def test_the_document_counts(given, capsysbinary):
    assert parse(*given, "--json") == 0
    document = json.loads(capsysbinary.readouterr().out)

    assert document["schema"] == "cronos.parse/1"
    assert (document["messages"], document["parsed"], document["refused"]) == (3, 3, 0)
    assert document["types"] == {"note": 1, "reading": 2}


@pytest.mark.parametrize("form", ["arrow", "parquet"])
def test_columns_go_to_a_file_that_is_not_replaced_unasked(given, tmp_path, form, capsys):
    pytest.importorskip("pyarrow")
    out = tmp_path / f"out.{form}"
    assert parse(*given, "--format", form, "-o", out) == 0
    assert out.stat().st_size > 100
    assert parse(*given, "--format", form, "-o", out) == 2
    assert parse(*given, "--format", form, "-o", out, "--force", "--json") == 0
    assert "messages" in capsys.readouterr().out


def test_parquet_needs_a_file(given):
    assert parse(*given, "--format", "parquet") == 2


def test_lines_go_to_a_file_too(given, tmp_path):
    out = tmp_path / "out.jsonl"
    assert parse(*given, "-o", out) == 0

    assert len(out.read_bytes().splitlines()) == 3


def test_what_is_no_profile_or_no_input_is_refused(given, tmp_path):
    assert parse(given[1], given[1]) == 2
    assert parse(given[0], tmp_path / "nowhere") == 2
    assert parse("nobody", given[1], "--state", tmp_path / "state") == 2
