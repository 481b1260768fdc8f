"""Where commands of people meet the incidents of a running node."""

from cronos.front.desk import Desk
from cronos.front.result import show
from cronos.testing.story import Story, finding
from cronos.types import EvidenceClass, Release


def desk():
    story, taken = Story(), []
    story.tell(finding(1))
    story.tell(finding(2, attacker="192.0.2.2", confidence=0.6))
    story.tell(finding(3, attacker="192.0.2.3", evidence=EvidenceClass.STATISTICAL))
    story.wait(301)
    story.tell(finding(4, attacker="192.0.2.4"))
    cases = story.kernel.cases

    def view(incident):
        return show(incident, [], [], None, (0, 0, 0))

    return Desk(cases.open, cases.closed, view, list, taken.append), taken


def named(listed):
    return [one["actor"] for one in listed]


def test_incidents_are_listed_by_kind_and_page():
    ours, _ = desk()

    assert ours.listing("open", 0, 10)[0] == 3
    total, page = ours.listing("all", 1, 2)
    assert (total, named(page)) == (4, ["address 192.0.2.66", "address 192.0.2.2"])
    assert named(ours.listing("waiting", 0, 10)[1]) == ["address 192.0.2.2"]


def test_one_is_shown_open_or_closed():
    ours, _ = desk()
    closed = ours.listing("all", 0, 1)[1][0]

    assert ours.shown(closed["incident_id"])["state"] == "closed"
    assert ours.shown("nobody") is None


def test_what_people_say_is_handed_over():
    ours, taken = desk()
    ours.take(Release("i", "eve"))
    ours.state = lambda: {"node": "n"}
    ours.reread = lambda: "Read anew."

    assert taken == [Release("i", "eve")]
    assert (ours.status(), ours.reload("eve"), ours.questions()) == (
        {"node": "n"},
        "Read anew.",
        [],
    )
