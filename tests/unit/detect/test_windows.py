import pytest

from cronos.detect.windows import MAX_MEMBERS, Member, Recent, Window, pack, unpack


def seen(time_ns, failed=True):
    return Member(time_ns, failed, 0, f"s#{time_ns}")


def test_the_least_recently_used_leaves_first():
    table = Recent(2)
    for key in ("a", "b"):
        table.touch(key, list)
    table.touch("a", list)
    table.touch("c", list)
    assert [key for key, _ in table.items()] == ["a", "c"]
    assert table.get("b") is None
    assert len(table) == 2


def test_members_leave_the_window_with_time():
    window = Window()
    for time_ns in (0, 5, 12):
        window.add(str(time_ns), seen(time_ns), 10, 100)
    assert list(window.members) == ["5", "12"]
    assert window.failed == 2
    assert window.span_ns() == 7
    assert window.marks(1) == ("s#12",)


def test_a_member_that_ever_answered_counts_as_answered():
    window = Window()
    for failed in (True, False, True):
        window.add("a", seen(1, failed), 10, 100)
    assert window.failed == 0


def test_a_flood_keeps_the_window_bounded():
    window = Window()
    for n in range(1000):
        window.add(str(n), seen(1), 10, 100)
    assert len(window.members) == window.failed == MAX_MEMBERS


def test_levels_are_told_once_each():
    window = Window()
    told = []
    for n in range(9):
        window.add(str(n), seen(1), 10, 100)
        told.append(window.reached((2, 8)))
    assert told == [0, 1, 0, 0, 0, 0, 0, 2, 0]
    assert window.reached(()) == 0


def test_an_empty_window_spans_nothing():
    window = Window()
    window.clear()
    assert window.span_ns() == 0
    assert window.marks(3) == ()


def test_state_survives_packing():
    window = Window()
    window.add("a", seen(3), 10, 100)
    assert unpack(pack(window), Window) == window
    with pytest.raises(ValueError, match="not a saved Window"):
        unpack(b"\x00", Window)
