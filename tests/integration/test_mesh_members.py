"""Real processes in network namespaces of their own: loss, SIGKILL, SIGSTOP and silence.

The bounds are wide, for a busy machine; `bench/bench_mesh_members.py` and `bench_mesh_loss.py` have
the figures.
"""

import signal
import time

import pytest
from bench.members_node import boot_ns
from bench.mesh_world import World, why_not

NAMES = ("alpha", "beta", "gamma")
SECOND = 1_000_000_000


def wait_for(holds, within_s=20.0):
    until = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.fixture(scope="module")
def world():
    if reason := why_not():
        pytest.skip(reason)
    with World(NAMES) as made:
        made.start_all(within_s=120)
        yield made


@pytest.mark.slow
def test_bulletins_pass_a_network_that_loses_a_third_in_order_and_all(world):
    world.lose(0.3)
    for node in world.nodes.values():
        node.say("send 100 10")
    wait_for(lambda: all(node.told("sent") for node in world.nodes.values()))
    came, share = world.lost()
    got = {}

    def all_came():
        for name, node in world.nodes.items():
            node.say("say")
            time.sleep(0.2)
            for line in node.told("got"):
                got.setdefault((line["peer"], name), {})[line["at"]] = line["ms"]
        return sum(len(ms) for each in got.values() for ms in each.values()) == 600

    wait_for(all_came, 60)
    world.lose(0.0)

    assert came > 1000
    assert abs(share - 0.3) <= 0.05
    assert not any(node.told("failed") for node in world.nodes.values())


@pytest.mark.slow
@pytest.mark.parametrize("how", ["silence", "stop", "kill"])
def test_a_node_that_is_lost_is_declared_dead_by_all_and_comes_back(world, how):
    world.settle()
    lost, others = world.nodes["gamma"], [world.nodes[name] for name in ("alpha", "beta")]
    began_ns = boot_ns()
    match how:
        case "silence":
            world.cut_off("gamma")
        case "stop":
            lost.signal(signal.SIGSTOP)
        case _:
            lost.signal(signal.SIGKILL)

    wait_for(
        lambda: all(node.told("changed", began_ns, peer="gamma", status="dead") for node in others)
    )
    match how:
        case "silence":
            world.heal("gamma")
        case "stop":
            lost.signal(signal.SIGCONT)
        case _:
            wait_for(lambda: all(node.told("broken", began_ns, peer="gamma") for node in others))
            broken = [node.told("broken", began_ns, peer="gamma") for node in others]
            assert all(one[0]["at"] - began_ns < SECOND for one in broken)
            lost.end()
            world.start("gamma", (world.address("alpha"),))
    world.settle()

    assert not any(
        one["peer"] != "gamma"
        for node in others
        for one in node.told("changed", began_ns, status="dead")
    )
