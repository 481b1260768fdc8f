"""`cronos incidents`: live from a running node."""

from tests.unit.link.desk import question

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
