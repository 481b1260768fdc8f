"""What a terminal is shown: nothing in a stranger's string may steer it."""

import unicodedata

import msgspec
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.front.views import incident_view

from cronos.front.result import Step
from cronos.front.text import console, plain, print_incidents


def test_control_and_bidirectional_characters_are_replaced():
    assert plain("a\x1b[31mb\r\nc\u202ed\u2066e\x9bf") == "a�[31mb��c�d�e�f"


def test_a_long_text_is_cut_and_says_so():
    assert plain("x" * 50, 10) == "x" * 9 + "…"
    assert plain("x" * 10, 10) == "x" * 10


@given(st.text())
def test_no_text_keeps_a_character_that_could_steer(text):
    assert all(unicodedata.category(c)[0] != "C" for c in plain(text))
    assert len(plain(text, 20)) <= 20


def test_markup_in_a_title_is_shown_and_not_obeyed(capsys):
    console().print("[red]not red[/red]")
    assert "[red]not red[/red]" in capsys.readouterr().out


def test_incidents_are_a_table_and_the_path_of_each(capsys):
    print_incidents((incident_view(title="Evil \x1b[2J write", actor="address 192.0.2.66"),))
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert "inc-1" in shown
    assert "detected +0.00 ms" in shown
    assert "why     because" in shown
    assert "undo    it ends" in shown
    assert "records 1 to 4" in shown
    assert "dry run" in " ".join(shown.split())


def test_no_field_of_an_incident_steers_not_even_one_read_back_from_a_ledger(capsys):
    evil = "\x1b[2J\u202e"
    shown = incident_view(f"inc{evil}", state=evil, techniques=(evil,), why=evil, target=evil)
    done = msgspec.structs.replace(shown.done, disposition=evil, action=evil, undo=evil)
    print_incidents((msgspec.structs.replace(shown, done=done, timeline=(Step(evil, 0.0),)),))
    said = capsys.readouterr().out
    assert "inc" in said
    assert "\x1b" not in said
    assert "\u202e" not in said


def test_no_incidents_are_one_line(capsys):
    print_incidents(())
    assert capsys.readouterr().out == "No incidents.\n"


def test_more_than_ten_paths_are_left_to_json(capsys):
    print_incidents(tuple(incident_view(f"inc-{n}") for n in range(13)))
    assert "… and 3 more" in capsys.readouterr().out
