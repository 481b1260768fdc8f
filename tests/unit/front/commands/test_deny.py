"""`cronos deny`: a no is a word, too."""

from tests.unit.link.desk import question


def test_a_no_reaches_the_node_without_being_asked_twice(office):
    office.desk.waiting = [question()]
    with office.open():
        document = office.document("deny", "local-1-q1")
        _, out, _ = office.run("deny", "local-1-i1")
    assert document["question"]["target"] == "plc-1"
    assert "denied: incident local-1-i1" in out
    assert [one.granted for one in office.desk.heard] == [False, False]


def test_where_nothing_waits_that_is_said(office):
    with office.open():
        code, _, err = office.run("deny", "local-1-q1")
    assert code == 2
    assert "None waits" in err
