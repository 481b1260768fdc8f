"""A peer that does the same wrong without end fills no log, and what it did is counted."""

from cronos.link.hushed import Hushed
from cronos.testing.clock import VirtualClock

SECOND = 1_000_000_000


def made():
    lines = []
    clock = VirtualClock()
    report = Hushed(lambda level, event, **more: lines.append((level, event, more)), clock)
    return report, lines, clock


def test_of_one_peer_so_many_lines_of_a_kind_pass_and_then_a_count():
    report, lines, clock = made()
    for _ in range(100_000):
        report("warning", "mesh.bad_frame", peer="mallory", detail="rubbish")
    assert len(lines) == 5
    clock.advance(11 * SECOND)
    report("warning", "mesh.bad_frame", peer="mallory", detail="rubbish")
    assert lines[-1][2]["left_out"] == 99_995
    clock.advance(11 * SECOND)
    report("warning", "mesh.bad_frame", peer="mallory", detail="rubbish")
    assert "left_out" not in lines[-1][2]


def test_others_and_other_things_are_told_all_the_same():
    report, lines, _ = made()
    for _ in range(50):
        report("warning", "mesh.bad_frame", peer="mallory")
        report("error", "mesh.journal_unwritable", detail="The disk is full.")
    report("warning", "mesh.bad_frame", peer="b")
    report("warning", "mesh.forged", peer="mallory")
    assert len(lines) == 5 + 50 + 2


def test_memory_is_bounded():
    report, lines, _ = made()
    for number in range(10_000):
        report("info", "mesh.refused", peer=f"n{number}")
    assert len(report._said) == 4_096
    assert len(lines) == 10_000
