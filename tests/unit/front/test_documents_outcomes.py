"""What is tracked becomes a document and sentences; an unknown share is never shown as 0 %."""

import msgspec
from tests.unit.govern.test_outcomes import Ledger

from cronos.front.documents_outcomes import OutcomesDocument, say_outcomes, show_outcomes
from cronos.front.plugins import load


def shown(ledger):
    return show_outcomes(load("entry", "track-outcomes")(ledger.records))


def test_the_document_is_what_was_tracked_and_survives_json():
    ledger = Ledger()
    for name in "abc":
        ledger.found(name)
        ledger.decided(name)
        ledger.applied(name)
        ledger.judged(name, name != "c")
        ledger.closed(name)

    document = shown(ledger)

    assert document.schema == "cronos.outcomes/1"
    assert (document.shadow.right, document.shadow.of) == (2, 3)
    assert document.techniques[0].technique == "T0855"
    assert msgspec.json.decode(msgspec.json.encode(document), type=OutcomesDocument) == document
    told = say_outcomes(document)
    assert "judged a false alarm: 1 of 3, 33.3% (0.8% to 90.6%)" in told
    assert any("would have been right 2 of 3" in one for one in told)
    assert any(one.startswith("resolved: 3") for one in told)


def test_each_technique_is_said_and_no_more_than_a_screen_of_them():
    ledger = Ledger()
    for n in range(30):
        ledger.found(str(n), techniques=(f"T{n:04}\x1b[2J",))
    ledger.applied("0")

    told = say_outcomes(shown(ledger))

    assert told[0] == "30 incidents."
    assert any(one.endswith(": 1 incident, isolated 1 of 1, verified 1 of 1") for one in told)
    assert "10 more techniques: --json shows all." in told
    assert "\x1b" not in "".join(told)


def test_what_was_never_counted_is_unknown():
    told = say_outcomes(shown(Ledger()))

    assert told[0] == "0 incidents."
    assert sum("unknown" in one for one in told) == 6
    assert not any("%" in one for one in told)
