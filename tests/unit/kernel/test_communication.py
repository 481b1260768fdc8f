"""Everyone is told, and an incident is confirmed when everyone who lives has said so."""

from hashlib import blake2b

from msgspec.structs import replace

from cronos.kernel import communication
from cronos.testing.story import Story, finding
from cronos.types import (
    Bulletin,
    BulletinKind,
    Confirm,
    Members,
    Note,
    Publish,
    Recalled,
    Receipt,
    State,
    encode,
)

THREE = Members(("b", "c", "d"))


def bulletin(sequence=1, origin="b"):
    return Bulletin(
        f"{origin}-1-{sequence}-isolated", BulletinKind.ISOLATED, origin, f"{origin}-1-{sequence}",
        sequence, None, None, ("T0855",), 0.97, None, 300,
    )  # fmt: skip


def recorded(bulletin):
    """Say of a bulletin that the ledger holds it."""
    return bulletin.origin, blake2b(encode(bulletin), digest_size=16).hexdigest()


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
    assert confirmed(story) == [Confirm(story.only_incident().incident_id, 1, ("b", "c", "d"))]


def test_one_that_withholds_its_receipts_is_named_and_waited_for_once():
    story = Story()
    story.tell(THREE)
    for number in range(3):
        story.tell(finding(number, attacker=f"192.0.2.{number + 1}"))
    for peer in ("b", "c"):
        story.tell(receipt(peer, 3))
    assert confirmed(story) == []

    story.wait(5.1)

    assert [(one.view, one.silent) for one in confirmed(story)] == [(3, ("d",))] * 3
    notes = [one for one in story.effects if isinstance(one, Note) and one.kind == "confirmed"]
    assert [one.body for one in notes] == confirmed(story)
    story.tell(finding(3, attacker="192.0.2.4"))
    story.tell(receipt("b", 4))
    assert len(confirmed(story)) == 3
    story.tell(receipt("c", 4))
    assert (confirmed(story)[3].view, confirmed(story)[3].silent) == (3, ("d",))


def test_who_holds_what_the_others_hold_is_waited_for_again():
    story = Story()
    story.tell(THREE)
    story.tell(finding())
    story.tell(receipt("b", 1))
    story.tell(receipt("c", 1))
    story.wait(5.1)
    story.tell(receipt("d", 1))

    story.tell(finding(1, attacker="192.0.2.2"))
    for peer in ("b", "c"):
        story.tell(receipt(peer, 2))
    assert len(confirmed(story)) == 1
    story.tell(receipt("d", 2))

    assert [one.view for one in confirmed(story)] == [3, 4]


def test_a_bulletin_that_an_earlier_life_recorded_is_weighed_and_not_recorded_again():
    story = Story()
    known = bulletin()
    story.tell(Recalled(1, (), (), bulletins=(recorded(known),)))

    again, other = story.tell(known), story.tell(bulletin(2))

    assert [type(effect) for effect in again] == [Publish]
    assert [type(effect) for effect in other] == [Note, Publish]


def test_a_peers_bulletin_is_recorded_once_and_acknowledged_every_time():
    story = Story()

    first = story.tell(bulletin())
    second = story.tell(bulletin())

    assert [type(effect) for effect in first] == [Note, Publish]
    assert [type(effect) for effect in second] == [Publish]
    assert second[0] == Publish(Receipt("local", "b", 1), "b")


def test_what_an_earlier_life_told_and_did_not_record_is_recorded_once():
    story = Story()
    known, lost = bulletin(1, "local"), bulletin(2, "local")
    story.tell(Recalled(1, (), (), bulletins=(recorded(known),)))

    assert story.tell(known) == []
    assert story.tell(lost) == [Note("bulletin", lost.incident_id, lost)]
    assert story.tell(lost) == []


def test_what_this_life_told_is_not_recorded_again_when_the_mesh_process_was_restarted():
    story = Story()
    story.tell(finding())
    (told,) = [one.message for one in story.effects if isinstance(one, Publish)]

    assert story.tell(told) == []


def test_another_story_under_an_id_that_an_earlier_life_recorded_is_recorded():
    story = Story()
    known = bulletin()
    story.tell(Recalled(1, (), (), bulletins=(recorded(known),)))

    other = story.tell(replace(known, incident_id="b-1-9", confidence=0.5))

    assert [type(effect) for effect in other] == [Note, Publish]


def test_a_node_that_nobody_answers_remembers_no_more_of_its_own_than_of_others(monkeypatch):
    monkeypatch.setattr(communication, "_REMEMBERED", 10)
    talks = communication.Communication("local", 1)

    for n in range(50):
        talks.number(bulletin(n, "local"))

    assert not talks.is_new(bulletin(49, "local"))
    assert talks.is_new(bulletin(1, "local"))
