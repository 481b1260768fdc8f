"""What is shared is what counts now: not what ran out, nor what was taken back."""

from cronos.mesh.shared import Board
from cronos.testing.clock import VirtualClock
from cronos.types import Bulletin, BulletinKind, Entity, EntityKind

S = 10**9


def bulletin(number=1, kind=BulletinKind.ISOLATED, *, origin="b", ttl_s=300, confidence=0.97):
    return Bulletin(
        f"{origin}-1-{number}-{kind.value}", kind, origin, f"{origin}-1-{number}", number,
        Entity(EntityKind.ADDRESS, f"192.0.2.{number % 250}"), None, (), confidence, None,
        ttl_s * S,
    )  # fmt: skip


def patterns(board, first=0):
    objects = board.indicators(first)["objects"]
    return [one["pattern"] for one in objects if one["type"] == "indicator"]


def test_what_was_told_counts_until_it_runs_out():
    clock = VirtualClock()
    board = Board(clock)
    board.put(bulletin(1))
    board.put(bulletin(2, ttl_s=10))
    assert len(patterns(board)) == 2
    clock.advance(11 * S)

    assert patterns(board) == ["[ipv4-addr:value = '192.0.2.1']"]


def test_who_told_it_may_take_it_back_and_nobody_else():
    board = Board(VirtualClock())
    board.put(bulletin(1))
    board.put(bulletin(1, BulletinKind.RELEASED, origin="c"))
    assert patterns(board)
    board.put(bulletin(1, BulletinKind.RELEASED))

    assert patterns(board) == []


def test_what_only_repeats_others_is_not_shared_again():
    board = Board(VirtualClock())
    board.put(bulletin(1, confidence=0.0))

    assert patterns(board) == []


def test_an_answer_fits_a_frame_and_goes_on_where_the_last_ended():
    board = Board(VirtualClock())
    for number in range(700):
        board.put(bulletin(number))

    assert [len(patterns(board, first)) for first in (0, 500)] == [500, 200]
    assert board.indicators()["x_total"] == 700


def test_a_flood_of_one_hides_nothing_of_another_and_ends_with_the_day(monkeypatch):
    monkeypatch.setattr("cronos.mesh.shared._MOST", 10)
    clock = VirtualClock()
    board = Board(clock)
    board.put(bulletin(7, origin="c"))
    for number in range(50):
        board.put(bulletin(number, origin="mallory", ttl_s=1 << 33))

    assert board.indicators()["x_total"] == 11
    assert "[ipv4-addr:value = '192.0.2.7']" in patterns(board)
    clock.advance(86_400 * S)
    assert patterns(board) == []
