"""Time and identifiers of the shell keep the promises of their ports."""

from cronos.runtime.world import SequenceIds, SystemClock


def test_boot_time_never_goes_back_and_the_boot_has_one_name():
    clock = SystemClock()
    readings = [clock.now().boot_ns for _ in range(100)]

    assert readings == sorted(readings)
    assert clock.boot_id() == clock.boot_id() != ""


def test_identifiers_carry_instance_and_incarnation_and_never_repeat():
    ids = SequenceIds("north", 7)
    drawn = [ids.next("q") for _ in range(100)]

    assert drawn[0] == "north-7-q1"
    assert len(set(drawn)) == 100
