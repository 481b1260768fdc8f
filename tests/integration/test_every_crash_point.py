"""Each executor of the catalogue under a real enforcer process that is killed at each step.

No effect outlives its lease by more than a second where an enforcer runs when the lease ends, be it
the same or one started since; for one that died around that time the second counts from its start,
which takes as long as the machine is busy. What was there before is there after.
"""

import time

import pytest
from tests.integration.crashing import (
    BEFORE_ANSWER,
    GRACE_S,
    RENEWING,
    UNDOING,
    machine_of,
)
from tests.integration.test_foreign_crashes import POINTS
from tests.integration.worlds import WORLDS
from tests.unit.respond.stage import apply, renew, undo

from cronos.catalog import CATALOG
from cronos.front.plugins import load
from cronos.types import Outcomes, decode, encode

pytestmark = [pytest.mark.net, pytest.mark.slow]
LEASE_S = 1.5
REVERSIBLE = [one for one in WORLDS if not one.final]
FINAL = [one for one in WORLDS if one.final]
every_reversible = pytest.mark.parametrize("world", REVERSIBLE, ids=lambda one: one.__name__)
every_final = pytest.mark.parametrize("world", FINAL, ids=lambda one: one.__name__)


def ask(client, order):
    """Send an order and give the answers to it, whatever news come between."""
    client.send(encode(order))
    answers = []
    until = time.monotonic() + 20
    while len(answers) < len(order.actions):
        assert time.monotonic() < until
        told = decode(client.receive(20))
        if isinstance(told, Outcomes) and told.order_id == order.order_id:
            answers += told.outcomes
    return answers


def done(client, order):
    answers = ask(client, order)
    assert all(one.ok for one in answers), answers


def send_and_lose(machine, client, order):
    """Send an order that is the last the enforcer hears."""
    client.send(encode(order))
    assert machine.killed()
    client.close()


def settle(machine, lease_end, before):
    """See that nothing is left a second after the lease, or after an enforcer is there again."""
    assert machine.empty_by(max(lease_end, time.monotonic()) + GRACE_S), machine.effects()
    if machine.world.settles_at_start:
        machine.kill()
        machine.start().close()
    until = time.monotonic() + GRACE_S  # a workload's group goes a moment after its effect
    while machine.world.state() != before and time.monotonic() < until:
        pass
    assert machine.world.state() == before


@every_reversible
@pytest.mark.parametrize("step", BEFORE_ANSWER)
def test_killed_before_the_answer_nothing_is_left_by_the_end_of_the_lease(tmp_path, world, step):
    with machine_of(world, tmp_path) as machine:
        client = machine.start(step)
        before = machine.world.state()
        assert machine.effects() == set()
        begun = time.monotonic()
        send_and_lose(machine, client, apply(*machine.world.actions(LEASE_S)))
        machine.start().close()
        settle(machine, begun + LEASE_S, before)


@every_reversible
@pytest.mark.parametrize("step", RENEWING)
def test_killed_while_renewing_it_ends_with_the_lease_at_the_latest(tmp_path, world, step):
    with machine_of(world, tmp_path) as machine:
        client = machine.start(step)
        before = machine.world.state()
        actions = machine.world.actions(LEASE_S)
        done(client, apply(*actions))
        begun = time.monotonic()
        send_and_lose(machine, client, renew(*actions))
        machine.start().close()
        settle(machine, begun + LEASE_S, before)


@every_reversible
@pytest.mark.parametrize("step", UNDOING)
def test_killed_while_undoing_what_has_ended_it_is_ended_after_the_restart(tmp_path, world, step):
    with machine_of(world, tmp_path) as machine:
        client = machine.start(step)
        before = machine.world.state()
        begun = time.monotonic()
        done(client, apply(*machine.world.actions(LEASE_S)))
        until = time.monotonic() + LEASE_S
        assert machine.killed()  # by its own hand, when the leases ended
        assert time.monotonic() > begun + LEASE_S - 0.1
        client.close()
        machine.start().close()
        settle(machine, until, before)


@every_reversible
@pytest.mark.parametrize("step", UNDOING)
def test_a_release_that_was_cut_short_is_ended_and_not_taken_back(tmp_path, world, step):
    with machine_of(world, tmp_path) as machine:
        client = machine.start(step)
        before = machine.world.state()
        actions = machine.world.actions(600)
        done(client, apply(*actions))
        send_and_lose(machine, client, undo(*actions))
        machine.start().close()
        settle(machine, time.monotonic(), before)


@every_reversible
def test_killed_after_the_answer_the_effect_lasts_and_ends_with_its_lease(tmp_path, world):
    with machine_of(world, tmp_path) as machine:
        client = machine.start()
        before = machine.world.state()
        actions = machine.world.actions(LEASE_S * 2)
        done(client, apply(*actions))
        until = time.monotonic() + LEASE_S * 2
        there = machine.effects()
        assert world.point == "recording" or len(there) >= len(actions)
        machine.kill()
        client.close()
        client = machine.start()
        if time.monotonic() < until - 0.3:
            assert machine.effects() == there
        settle(machine, until, before)
        client.close()


@every_reversible
def test_with_the_enforcer_never_dead_the_effect_is_gone_a_second_after_its_lease(tmp_path, world):
    with machine_of(world, tmp_path) as machine:
        client = machine.start()
        before = machine.world.state()
        done(client, apply(*machine.world.actions(LEASE_S)))
        until = time.monotonic() + LEASE_S
        strictly(machine, until, before)
        client.close()


@every_reversible
@pytest.mark.parametrize("step", ["after-verify", "after-answer"])
def test_restarted_within_the_lease_the_effect_is_gone_a_second_after_it(tmp_path, world, step):
    # A busy machine takes its time to start a process: then the lease is longer, not the grace.
    for lease_s in (3.0, 9.0, 27.0):
        folder = tmp_path / str(lease_s)
        folder.mkdir()
        with machine_of(world, folder) as machine:
            client = machine.start("never" if step == "after-answer" else step)
            before = machine.world.state()
            order = apply(*machine.world.actions(lease_s))
            until = time.monotonic() + lease_s
            if step == "after-answer":
                done(client, order)
                until = time.monotonic() + lease_s
                machine.kill()
                client.close()
            else:
                send_and_lose(machine, client, order)
            machine.start().close()
            if time.monotonic() < until:
                strictly(machine, until, before)
                return
    pytest.fail("no enforcer was there again within its lease, so nothing was shown")


def strictly(machine, lease_end, before):
    """See that a second after the lease nothing is left, whatever the machine is busy with."""
    assert machine.empty_by(lease_end + GRACE_S), machine.effects()
    settle(machine, lease_end, before)


@every_final
@pytest.mark.parametrize("step", BEFORE_ANSWER)
def test_what_cannot_be_taken_back_is_done_once_when_the_order_comes_again(tmp_path, world, step):
    with machine_of(world, tmp_path) as machine:
        client = machine.start(step)
        before = machine.world.state()
        actions = machine.world.actions(60)
        send_and_lose(machine, client, apply(*actions))
        client = machine.start()
        done(client, apply(*actions))
        assert machine.effects() == {action.target.value for action in actions}
        assert machine.world.state() == before  # of everyone else
        assert not any(answer.ok for answer in ask(client, renew(*actions)))
        client.close()


@every_final
def test_without_two_persons_what_cannot_be_taken_back_is_refused(tmp_path, world):
    class Lonely(world):
        final = False

    with machine_of(Lonely, tmp_path) as machine:
        client = machine.start()
        before = machine.world.state()
        answers = ask(client, apply(*machine.world.actions(60)))
        assert not any(answer.ok for answer in answers)
        assert "two persons" in answers[0].detail
        assert machine.effects() == set()
        assert machine.world.state() == before
        client.close()


def test_every_executor_of_the_catalogue_has_a_world():
    """Those of foreign systems, which outlive any of us, are killed at each request instead.

    See `tests.integration.test_foreign_crashes`: the process that speaks, and the enforcer, before
    and after each request of an isolation, its end and its release.
    """
    assert set(CATALOG["executor"]) == {one.point for one in WORLDS} | set(POINTS.values())
    for name in set(POINTS.values()):
        assert load("executor", name).foreign
