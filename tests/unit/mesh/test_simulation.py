"""The simulation does what it says: loss, silence, resets and the same again from one seed."""

import pytest

from cronos.mesh.membership import Terms
from cronos.mesh.simulation import Simulation
from cronos.types import PeerStatus

SECOND = 1_000_000_000


def test_loss_is_what_was_asked_for():
    world = Simulation(3)
    world.loss = 300

    lost = sum(world._is_lost() for _ in range(10_000))

    assert 2_800 < lost < 3_200


def test_a_killed_process_resets_its_streams_and_a_cut_network_says_nothing():
    world = Simulation()
    world.acquaint("abcd")
    world.run(SECOND)
    heard = []
    for name in "abc":
        machine = world.member(name)
        was = machine.linked
        machine.linked = lambda other, up, now, was=was, name=name: (
            heard.append((name, other, up)) or was(other, up, now)
        )

    world.partition(frozenset("abc"), frozenset("d"))
    world.run(SECOND // 10)
    cut = list(heard)
    world.kill("d")
    world.run(SECOND // 10)

    assert cut == []
    assert sorted(heard) == [("a", "d", False), ("b", "d", False), ("c", "d", False)]


def test_a_paused_process_gets_what_waited():
    world = Simulation()
    world.acquaint("ab")
    world.pause("b", SECOND)

    world.run(SECOND // 2)
    waiting = len(world._nodes["b"].waiting)
    world.run(SECOND)

    assert waiting > 0
    assert world._nodes["b"].waiting == []


@pytest.mark.slow
def test_a_thousand_members_bury_one_and_suspect_nobody_else():
    names = [f"n{n:03}" for n in range(1000)]
    # One probe of one neighbour each 400 ms, so that the gate stays short; `bench` has the default.
    world = Simulation(11, Terms(probe_ns=400_000_000, at_once=2))
    world.acquaint(names)
    world.run(SECOND)
    settled = len(world.changes)
    world.kill("n500")
    killed_ns = world.boot_ns

    world.run(3 * SECOND)

    later = world.changes[settled:]
    buried = {one.observer: one.at_ns for one in later if one.peer.status is PeerStatus.DEAD}
    assert {one.peer.instance for one in later} == {"n500"}
    assert len(buried) == 999
    assert max(buried.values()) - killed_ns <= 2 * SECOND
    assert max(len(world.member(name).near()) for name in names if name != "n500") <= 16
    assert sum(world.sent.values()) / 1000 / 4 < 40


def test_many_that_share_two_slow_processors_meet_all_the_same():
    world = Simulation()
    world.work_ns, world.free_ns = 1_500_000, [0, 0]
    names = [f"n{n:02}" for n in range(20)]
    for name in names:
        world.start(name, () if name == names[0] else names[:1])

    world.run(15 * SECOND)

    assert {world.status(one, other) for one in names for other in names if one != other} == {
        "alive"
    }


def test_what_happens_waits_for_a_processor():
    world = Simulation()
    world.work_ns = SECOND // 10
    world.acquaint("ab")

    world.run(3 * SECOND)

    # A ping is sent, worked on, answered and the answer worked on, with the ticks between them.
    assert world.member("a").rtt_ns.get("b", SECOND) >= 2 * world.work_ns
    assert world.free_ns[0] > world.boot_ns - SECOND
