"""`cronos incidents`: live from a running node, and what its ledger tells besides."""

import json

import pytest
from tests.unit.front.recorded import story, write
from tests.unit.govern.test_outcomes import Ledger
from tests.unit.link.desk import question

from cronos.config import Config
from cronos.front.keyring import open_keystore
from cronos.front.sealed import sealer_of
from cronos.runtime.world import SystemClock
from cronos.types import Verdict


def test_all_are_listed_page_by_page(office):
    for number in range(2, 451):
        office.add(f"local-1-i{number}")
    with office.open():
        document = office.document("incidents")
    assert document["schema"] == "cronos.incidents/1"
    assert document["total"] == 450
    assert [one["incident_id"] for one in document["incidents"][-2:]] == [
        "local-1-i449",
        "local-1-i450",
    ]


def test_the_kind_that_is_wanted_is_asked_for(office):
    asked = []
    listing = office.desk.listing

    def hear(which, first, count):
        asked.append(which)
        return listing(which, first, count)

    office.desk.listing = hear
    with office.open():
        for option in ((), ("--open",), ("--waiting",)):
            office.document("incidents", *option)
    assert asked == ["all", "open", "waiting"]


def test_one_is_shown_with_its_path_and_what_it_asks(office):
    office.desk.waiting = [question()]
    with office.open():
        code, out, _ = office.run("incidents", "local-1-i1")
    assert code == 0
    assert "because" in out
    assert "contain host plc-1 at world" in out
    assert "cronos approve local-1-q1" in out


def test_what_it_was_in_the_end_is_told_to_the_node(office):
    with office.open():
        document = office.document("incidents", "verdict", "local-1-i1", "benign")
        _, out, _ = office.run("incidents", "verdict", "local-1-i1", "malicious")
    assert (document["malicious"], document["signed"]) == (False, False)
    assert "was malicious" in out
    assert [type(one) for one in office.desk.heard] == [Verdict, Verdict]
    assert office.desk.heard[0].malicious is False


def test_where_no_node_runs_the_ledger_is_named(office):
    code, _, err = office.run("incidents")
    assert code == 3
    assert "cronos audit" in err


def test_an_unknown_one_and_wrong_words_are_refused(office):
    with office.open():
        assert office.run("incidents", "nobody")[0] == 2
        assert office.run("incidents", "a", "b")[0] == 2
        assert office.run("incidents", "verdict", "local-1-i1", "harmless")[0] == 2
    assert office.desk.heard == []


def test_no_text_of_a_stranger_steers_the_terminal(office):
    office.add("local-1-i1", title="\x1b[2Jgone", state="waiting")
    office.desk.waiting = [question()]
    with office.open():
        _, out, _ = office.run("incidents")
    assert "\x1b" not in out


# --- why ----------------------------------------------------------------------------------------


def test_one_is_shown_with_why_it_was_decided_so(office):
    write(office.state, story("local-1-i1"))
    with office.open():
        code, out, _ = office.run("incidents", "local-1-i1")
        document = office.document("incidents", "local-1-i1")
    assert code == 0
    assert "Cell 0.95-1.00/medium" in out
    assert "Would have asked an analyst below 0.85." in out
    assert document["live"] is True
    assert document["decision"]["disposition"] == "auto_approve"
    assert document["unexplained"] == ""


def test_without_a_ledger_it_is_shown_all_the_same_and_said(office):
    with office.open():
        code, out, _ = office.run("incidents", "local-1-i1")
    assert code == 0
    assert "Why it was decided so cannot be told: There is no ledger" in out


def test_a_ledger_that_does_not_hold_explains_nothing(office):
    write(office.state, story("local-1-i1"))
    ledger = office.state / "local" / "ledger" / "ledger.db"
    data = bytearray(ledger.read_bytes())
    at = data.rindex(b"brute-force")
    data[at] ^= 1
    ledger.write_bytes(data)
    with office.open():
        document = office.document("incidents", "local-1-i1")
    assert document["decision"] is None
    assert document["unexplained"]


def test_where_no_node_runs_the_ledger_tells_of_one_as_it_stood_last(office):
    ledger = Ledger()
    ledger.closed("local-1-9")
    write(office.state, [*story("local-1-9"), *ledger.records])
    code, out, _ = office.run("incidents", "local-1-9")
    document = office.document("incidents", "local-1-9")
    assert code == 0
    assert "how the ledger held it last" in out
    assert "Would have asked an analyst below 0.85." in out
    assert document["live"] is False
    assert document["incidents"][0]["state"] == "closed"
    assert document["incidents"][0]["ledger"] == {"first": 1, "last": 5}
    assert office.run("incidents", "local-1-8")[0] == 3


def test_one_that_the_running_node_does_not_know_any_more_is_read_from_the_ledger(office):
    ledger = Ledger()
    ledger.closed("local-0-9")
    write(office.state, [*story("local-0-9"), *ledger.records])
    with office.open():
        document = office.document("incidents", "local-0-9")
        assert office.run("incidents", "local-0-8")[0] == 2
    assert document["live"] is False


# --- statistics ---------------------------------------------------------------------------------


@pytest.fixture
def judged():
    """Tell of three incidents that were isolated alone, of which one was none."""
    ledger = Ledger()
    for name in "abc":
        ledger.found(name)
        ledger.decided(name)
        ledger.applied(name)
        ledger.judged(name, name != "c")
        ledger.closed(name)
    return ledger.records


def test_what_became_of_them_is_counted_without_a_node(office, judged):
    write(office.state, judged)
    code, out, _ = office.run("incidents", "--stats")
    document = office.document("incidents", "--stats")
    assert code == 0
    assert "carried out without asking: 3 of 3, 100.0% (29.2% to 100.0%)" in out
    assert "would have been right 2 of 3" in out
    assert "T0855: 3 incidents, isolated 3 of 3, verified 3 of 3, false alarms 1 of 3" in out
    assert document["schema"] == "cronos.outcomes/1"
    assert (document["shadow"]["right"], document["shadow"]["of"]) == (2, 3)


def test_a_sealed_ledger_is_counted_with_the_keys_of_its_node(office, judged):
    config, clock = Config(), SystemClock()
    keys = open_keystore(config, office.state / "local" / "keys", clock, ensure=True)
    folder = office.state / "local" / "ledger"
    write(office.state, judged, config, sealer_of(config, folder, clock, "ledger", lambda: keys))
    keys.close()

    assert office.document("incidents", "--stats")["incidents"] == 3

    for file in (office.state / "local" / "keys").iterdir():
        file.unlink()
    code, out, err = office.run("incidents", "--stats")
    assert (code, out) == (2, "")
    assert "keystore" in err


def test_candidates_are_written_to_a_new_file_and_calibrate_nothing(office, judged, tmp_path):
    write(office.state, judged)
    file = tmp_path / "candidates.json"
    _, out, _ = office.run("incidents", "--stats", "--candidates", str(file))
    assert "1 calibration candidate written" in out
    written = json.loads(file.read_bytes())
    assert written["candidate"] is True
    assert [(one["right"], one["n"]) for one in written["rows"]] == [(2, 3)]
    assert file.stat().st_mode & 0o777 == 0o600

    before = file.read_bytes()
    code, _, err = office.run("incidents", "--stats", "--candidates", str(file))
    assert code == 2
    assert "already" in err
    assert file.read_bytes() == before


def test_statistics_are_of_all_and_candidates_of_statistics(office, judged, tmp_path):
    write(office.state, judged)
    file = tmp_path / "candidates.json"
    assert office.run("incidents", "a", "--stats")[0] == 2
    assert office.run("incidents", "--candidates", str(file))[0] == 2
    assert not file.exists()


def test_without_a_ledger_there_is_nothing_to_count(office):
    code, _, err = office.run("incidents", "--stats")
    assert code == 2
    assert "no ledger" in err


def test_that_nothing_new_is_done_is_told_while_it_is_so(office):
    with office.open():
        assert office.document("incidents")["killed"] is False
        _, out, _ = office.run("incidents")
        assert "kill switch" not in out
        office.run("kill")
        assert office.document("incidents")["killed"] is True
        _, out, _ = office.run("incidents")
        assert "The kill switch is engaged" in out


def test_a_verdict_that_says_too_little_or_nothing_known_is_told_how(office):
    with office.open():
        for words in ((), ("local-1-i1",), ("local-1-i1", "dubious"), ("a", "b", "benign")):
            code, _, err = office.run("incidents", "verdict", *words)
            assert code == 2
            assert "verdict INCIDENT malicious|benign" in err
