"""Time and identifiers that a test holds in its hand."""

import pytest

from cronos.testing.clock import SequenceIds, VirtualClock


def test_time_stands_still_until_it_is_told_to_pass():
    clock = VirtualClock(boot_ns=10, wall_ns=100)
    assert clock.now() == clock.now()
    clock.advance(5)
    assert (clock.now().boot_ns, clock.now().wall_ns) == (15, 105)


def test_wall_time_can_be_set_back_and_boot_time_cannot():
    clock = VirtualClock(boot_ns=10, wall_ns=100)
    clock.set_wall(50)
    assert (clock.now().boot_ns, clock.now().wall_ns) == (10, 50)
    with pytest.raises(ValueError, match="cannot go back"):
        clock.advance(-1)


def test_a_reboot_starts_boot_time_anew_under_another_name():
    clock = VirtualClock(boot_ns=10, wall_ns=100, boot_id="one")
    clock.reboot("two")
    assert (clock.boot_id(), clock.now().boot_ns, clock.now().wall_ns) == ("two", 1, 100)


def test_uncertainty_is_told():
    clock = VirtualClock()
    clock.wall_uncertainty_ns = 7
    assert clock.now().wall_uncertainty_ns == 7


def test_each_kind_is_counted_for_itself():
    ids = SequenceIds("plant", 3)
    assert [ids.next("i"), ids.next("b"), ids.next("i")] == [
        "plant-3-i1",
        "plant-3-b1",
        "plant-3-i2",
    ]
