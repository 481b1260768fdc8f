"""What is said of trouble: a few times in the log, once in the ledger, and what was left out."""

from cronos.mesh.remarks import Remarks
from cronos.testing.clock import VirtualClock
from cronos.types import Defect


def remarks():
    logged, told = [], []
    clock = VirtualClock()
    one = Remarks(lambda *said, **more: logged.append((said, more)), clock)
    one.tell = told.append
    return one, clock, logged, told


def test_trouble_is_logged_and_recorded_with_its_sentence():
    one, _, logged, told = remarks()
    one.report("warning", "mesh.revoked", peer="east", detail="east was revoked.")

    assert logged == [
        (("warning", "mesh.revoked"), {"peer": "east", "detail": "east was revoked."})
    ]
    ((defect),) = told
    assert isinstance(defect, Defect)
    assert (defect.source, defect.position) == ("mesh east", 0)
    assert defect.reason == "mesh.revoked: east was revoked."


def test_what_is_said_again_and_again_is_counted_and_told_with_the_next_minutes_first():
    one, clock, logged, told = remarks()
    for _ in range(600):
        one.report("warning", "mesh.blamed", peer="east", detail="No message.")
    assert (len(logged), len(told)) == (5, 1)
    clock.advance(60 * 10**9)
    one.report("warning", "mesh.blamed", peer="east", detail="No message.")

    assert logged[-1][1]["left_out"] == 595
    assert (len(told), told[-1].position) == (2, 595)


def test_each_kind_and_each_peer_is_heard():
    one, _, _, told = remarks()
    for peer in ("east", "west"):
        for event in ("mesh.forged", "mesh.flooding"):
            for _ in range(9):
                one.report("error", event, peer=peer, detail="It was caught.")

    assert len(told) == 4


def test_kinds_are_bounded_whatever_peers_are_called():
    one, _, logged, told = remarks()
    for n in range(5_000):
        one.report("warning", "mesh.blamed", peer=f"p{n}", detail="No message.")

    assert len(logged) == 256 + 5
    assert len(told) == 256 + 1
    assert len(one._counts) == 257


def test_what_is_no_trouble_and_who_is_only_away_is_not_recorded():
    one, _, logged, told = remarks()
    one.report("info", "mesh.listening", detail="127.0.0.1:7443")
    one.report("warning", "mesh.peer_away", peer="east", detail="east cannot be reached.")

    assert len(logged) == 2
    assert told == []


def test_before_anybody_can_be_told_it_is_logged_and_recorded_when_it_comes_again():
    one, _, logged, told = remarks()
    tell, one.tell = one.tell, None
    one.report("warning", "mesh.revoked", peer="east", detail="east was revoked.")
    one.tell = tell
    one.report("warning", "mesh.revoked", peer="east", detail="east was revoked.")

    assert (len(logged), len(told)) == (2, 1)


def test_a_strangers_words_steer_no_viewer_and_are_short():
    one, _, _, told = remarks()
    one.report("warning", "mesh.refused", peer="\x1b[2J", detail="\u202e" + "x" * 5_000)

    assert "\x1b" not in told[0].source
    assert len(told[0].reason) < 500
