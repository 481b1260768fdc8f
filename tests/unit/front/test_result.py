"""The documents that the faces show: told from incidents, and stable as JSON."""

import json

import pytest

from cronos.front.result import AuditDocument, DefectView, ErrorDocument, print_json, show, to_json
from cronos.testing.story import Story, finding
from cronos.types import EvidenceClass, Note, Outcome, Question


def isolated():
    story = Story()
    story.tell(finding())
    outcomes = [one.body for one in story.said(Note) if isinstance(one.body, Outcome)]
    return story.only_incident(), outcomes


def test_an_incident_shows_what_was_done_why_and_where_it_is_on_record():
    incident, outcomes = isolated()
    ended_ns = incident.moments[0].boot_ns + 7_000_000
    shown = show(incident, [finding()], outcomes, None, (3, 9, ended_ns))
    assert shown.actor == "address 192.0.2.66"
    assert shown.target == "address 198.51.100.2"
    assert shown.done.action == "deny address 192.0.2.66 at recording"
    assert shown.done.result == "done"
    assert shown.done.lease_s == 300
    assert shown.detectors == ("modbus-policy",)
    assert (shown.ledger.first, shown.ledger.last) == (3, 9)
    assert (shown.timeline[0].moment, shown.timeline[0].ms) == ("detected", 0.0)
    assert (shown.timeline[-1].moment, shown.timeline[-1].ms) == ("recorded", 7.0)


def test_an_action_that_nobody_carried_out_says_so():
    story = Story()
    story.tell(finding(evidence=EvidenceClass.STATISTICAL))
    shown = show(story.only_incident(), [finding()], [], None, (0, 0, 0))
    assert shown.done.result == "not executed"
    assert shown.done.reasons


def test_a_question_is_shown_only_while_it_waits():
    incident, outcomes = isolated()
    action = incident.decision.action
    question = Question("q", incident.incident_id, "analyst", "May we?", action, 1)
    assert show(incident, [], outcomes, question, (0, 0, 0)).question == ""


def test_documents_are_json_with_a_named_schema_and_a_last_newline():
    error = to_json(ErrorDocument("a.b", "What happened.", "What to do.", "input"))
    assert error.endswith(b"}\n")
    assert json.loads(error)["schema"] == "cronos.error/1"
    audit = json.loads(to_json(AuditDocument("path", 3, "00", "unsealed", verified=True)))
    assert (audit["records"], audit["schema"]) == (3, "cronos.audit/1")


def test_foreign_text_survives_json_whole():
    shown = json.loads(to_json(ErrorDocument("a.b", 'ü "\x1b\u202e', "", "input")))
    assert shown["sentence"] == 'ü "\x1b\u202e'


@pytest.mark.parametrize("text", ["\x9b31m", "\u202eevil", "\x7f", "\u200b", "\U000e0041"])
def test_json_for_a_terminal_carries_nothing_that_steers_it(text):
    printed = to_json(DefectView(text, 1, "x", "y"))

    assert all(c == "\n" or c.isprintable() for c in printed.decode())
    assert json.loads(printed)["source"] == text


def test_a_write_that_is_cut_short_is_gone_on_with(monkeypatch):
    class Reluctant:
        def __init__(self):
            self.taken = b""

        def write(self, data):
            self.taken += bytes(data[:7])
            return min(7, len(data))

        def flush(self):
            return None

    class Stdout:
        buffer = Reluctant()

    monkeypatch.setattr("sys.stdout", Stdout())
    print_json(DefectView("log", 1, "x", "y"))

    assert Stdout.buffer.taken == to_json(DefectView("log", 1, "x", "y"))


def test_the_name_of_a_file_that_is_no_text_is_shown_all_the_same():
    document = ErrorDocument("a.b", "The file \udcff.log is odd.", "Rename it.", "input")

    shown = json.loads(to_json(document))

    assert shown["sentence"] == "The file \ufffd.log is odd."
