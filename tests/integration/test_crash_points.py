"""The enforcer killed at every step: no effect outlives its lease, none acknowledged is lost."""

import contextlib
import select
import shutil
import time

import pytest
from tests.integration.crashing import GRACE_S, Machine
from tests.unit.respond.stage import apply, deny, undo

from cronos.errors import UnreachableError
from cronos.types import Outcomes, decode, encode

LEASE_S = 2.0


@pytest.fixture
def machine(tmp_path):
    (tmp_path / "world").mkdir()
    machine = Machine(tmp_path)
    yield machine
    machine.kill()


ORDER = apply(*(deny(f"192.0.2.{i}", lease_s=LEASE_S) for i in range(1, 6)))


@pytest.mark.parametrize("step", ["before-book", "after-book", "within-apply", "after-apply"])
def test_killed_before_the_answer_leaves_nothing_behind(machine, step):
    client = machine.start(crash_at=step)
    begun = time.monotonic()
    client.send(encode(ORDER))
    assert machine.killed()
    with pytest.raises(UnreachableError):
        client.receive(10)
    client.close()
    client = machine.start()
    if step != "before-book":
        told = decode(client.receive(10))
        assert {o.action_id for o in told.outcomes} == {a.action_id for a in ORDER.actions}
    client.close()
    # Nobody was told that these hold, so they end with the restart, well within their lease.
    assert machine.empty_by(begun + LEASE_S + GRACE_S)


def test_killed_after_the_answer_the_isolation_goes_on_and_ends_with_its_lease(machine):
    client = machine.start()
    client.send(encode(ORDER))
    answered = decode(client.receive(10))
    until = time.monotonic() + LEASE_S
    assert all(outcome.verified for outcome in answered.outcomes)
    machine.kill()
    client.close()
    client = machine.start()
    if time.monotonic() < until - 0.2:
        assert len(machine.effects()) == 5
    assert machine.empty_by(until + GRACE_S)
    news = decode(client.receive(10))
    assert isinstance(news, Outcomes)
    client.close()


@pytest.mark.parametrize("step", ["before-undo", "within-undo", "after-undo"])
def test_killed_while_undoing_it_finishes_after_the_restart(machine, step):
    client = machine.start(crash_at=step)
    client.send(encode(ORDER))
    assert decode(client.receive(10)).outcomes[0].ok
    until = time.monotonic() + LEASE_S
    assert machine.killed()  # by its own hand, when the leases ended
    client.close()
    machine.start().close()
    assert machine.empty_by(until + GRACE_S)


@pytest.mark.parametrize("step", ["before-undo", "within-undo", "after-undo"])
def test_a_release_cut_short_is_finished_and_never_taken_back(machine, step):
    long = apply(*(deny(f"192.0.2.{i}", lease_s=600) for i in range(1, 6)))
    client = machine.start(crash_at=step)
    client.send(encode(long))
    assert decode(client.receive(10)).outcomes[0].ok
    client.send(encode(undo(*long.actions)))
    assert machine.killed()
    client.close()
    machine.start().close()
    assert machine.empty_by(time.monotonic() + GRACE_S)


@pytest.mark.slow
def test_killed_again_and_again_at_any_moment_nothing_outlives_its_lease(machine):
    last = 0.0
    for i in range(8):
        client = machine.start()
        order = apply(*(deny(f"198.51.{i}.{j}", f"inc-{i}", lease_s=1) for j in range(1, 50)))
        client.send(encode(order))
        last = time.monotonic()
        select.select([], [], [], 0.002 * i)
        machine.kill()
        with contextlib.suppress(UnreachableError):
            client.receive(5)
        client.close()
    machine.start().close()
    assert machine.empty_by(last + 1 + GRACE_S + 1)


def test_sigterm_leaves_the_leases_to_the_next_start(machine):
    client = machine.start()
    client.send(encode(ORDER))
    until = time.monotonic() + LEASE_S
    assert decode(client.receive(10)).outcomes[0].ok
    machine.process.terminate()
    assert machine.process.wait(10) == 0
    client.close()
    machine.start().close()
    assert machine.empty_by(until + GRACE_S)


LONG = apply(*(deny(f"192.0.2.{i}", lease_s=600) for i in range(1, 4)))


def isolated(machine):
    client = machine.start()
    client.send(encode(LONG))
    assert all(outcome.ok for outcome in decode(client.receive(10)).outcomes)
    client.close()
    machine.kill()
    assert b"192.0.2" not in (machine.folder / "state" / "leases.sealed").read_bytes()


def test_with_its_book_and_key_lost_it_names_what_is_there_and_undoes_what_it_is_told(machine):
    isolated(machine)
    for name in ("keys", "epochs", "epochs.bak"):
        path = machine.folder / "state" / name
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    client = machine.start()
    assert "does not open with our key" in machine.said()
    assert "No lease in the book holds 3 effects that are there" in machine.said()
    assert len(machine.effects()) == 3
    client.send(encode(undo(*LONG.actions)))
    assert all(outcome.ok for outcome in decode(client.receive(10)).outcomes)
    assert machine.effects() == set()
    client.close()


def test_with_its_book_deleted_it_names_what_is_there(machine):
    isolated(machine)
    (machine.folder / "state" / "leases.sealed").unlink()
    machine.start().close()
    assert "No lease in the book holds 3 effects that are there" in machine.said()


def test_without_its_key_it_applies_nothing_that_it_could_not_undo_and_takes_up_again_with_it(
    machine,
):
    isolated(machine)
    keystore = machine.folder / "state" / "keys" / "keystore"
    kept = {path: path.read_bytes() for path in keystore.parent.glob("keystore*")}
    for path in kept:
        path.write_bytes(b"damaged")
    client = machine.start()
    assert len(machine.effects()) == 3
    client.send(encode(ORDER))
    answered = decode(client.receive(10)).outcomes
    assert not any(outcome.ok for outcome in answered)
    assert "no key" in answered[0].detail
    client.send(encode(undo(LONG.actions[0])))
    assert decode(client.receive(10)).outcomes[0].ok
    assert len(machine.effects()) == 2
    client.close()
    machine.kill()
    for path, data in kept.items():
        path.write_bytes(data)
    client = machine.start()
    client.send(encode(undo(*LONG.actions)))
    answered = decode(client.receive(10))
    if answered.order_id == 0:  # the one that was released without the key was put back
        answered = decode(client.receive(10))
    assert all(outcome.ok for outcome in answered.outcomes)
    assert machine.effects() == set()
    client.close()
