"""Everyone is told, and an incident is confirmed when everyone who lives has said so."""

from cronos.testing.story import Story, finding
from cronos.types import (
    Bulletin,
    BulletinKind,
    Confirm,
    Members,
    Note,
    Publish,
    Receipt,
    State,
)

THREE = Members(("b", "c", "d"))


def bulletin(sequence=1, origin="b"):
    return Bulletin(
        f"{origin}-1-{sequence}-isolated", BulletinKind.ISOLATED, origin, f"{origin}-1-{sequence}",
        sequence, None, None, ("T0855",), 0.97, None, 300,
    )  # fmt: skip


def receipt(peer, count):
    """Give a peer's word on the bulletins of the first incarnation."""
    return Receipt(peer, "local", (1 << 32) + count)


def confirmed(story):
    return [effect for effect in story.effects if isinstance(effect, Confirm)]


def test_a_lone_node_confirms_alone_and_says_so():
    story = Story()

    story.tell(finding())

    assert [one.view for one in confirmed(story)] == [1]


def test_four_nodes_confirm_when_the_last_receipt_is_in():
    story = Story()
    story.tell(THREE)
    story.tell(finding())

    for peer in ("b", "c"):
        story.tell(receipt(peer, 1))
    assert confirmed(story) == []
    assert story.only_incident().state is State.ISOLATED
    story.tell(receipt("d", 1))

    assert [one.view for one in confirmed(story)] == [4]
    assert story.only_incident().state is State.CONFIRMED


def test_a_member_that_dies_need_not_confirm():
    story = Story()
    story.tell(THREE)
    story.tell(finding())
    story.tell(receipt("b", 1))
    story.tell(receipt("c", 1))

    story.tell(Members(("b", "c")))

    assert [one.view for one in confirmed(story)] == [3]


def test_receipts_are_cumulative():
    story = Story()
    story.tell(Members(("b",)))
    for number in range(3):
        story.tell(finding(number, attacker=f"192.0.2.{number + 1}"))

    story.tell(receipt("b", 3))

    assert len(confirmed(story)) == 3


def test_a_stranger_cannot_confirm_nor_a_member_what_was_never_sent():
    story = Story()
    story.tell(Members(("b",)))
    story.tell(Receipt("b", "local", 10**9))
    story.tell(finding())

    story.tell(Receipt("mallory", "local", 1))
    story.tell(Receipt("b", "someone-else", 1))

    assert confirmed(story) == []


def test_silent_peers_do_not_hold_the_case_up():
    story = Story()
    story.tell(THREE)
    story.tell(finding())

    story.wait(5.1)

    assert story.only_incident().state is State.CONFIRMED
    assert story.only_incident().view == 0


def test_a_peers_bulletin_is_recorded_once_and_acknowledged_every_time():
    story = Story()

    first = story.tell(bulletin())
    second = story.tell(bulletin())

    assert [type(effect) for effect in first] == [Note, Publish]
    assert [type(effect) for effect in second] == [Publish]
    assert second[0] == Publish(Receipt("local", "b", 1), "b")
