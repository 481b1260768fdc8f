"""`cronos release`: the safe direction."""

from cronos.types import Release


def test_an_isolation_ends_because_a_person_says_so(office):
    with office.open():
        document = office.document("release", "local-1-i1")
        _, out, _ = office.run("release", "local-1-i1")
    assert (document["incident"], document["state"]) == ("local-1-i1", "confirmed")
    assert "released: incident local-1-i1" in out
    assert all(isinstance(one, Release) for one in office.desk.heard)


def test_an_unknown_incident_and_a_node_that_is_away_are_told(office):
    with office.open():
        assert office.run("release", "nobody")[0] == 2
    assert office.run("release", "local-1-i1")[0] == 3
