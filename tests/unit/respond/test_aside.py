import contextlib
import select
import threading

import pytest
from tests.unit.respond.stage import BootClock, S, Stage, WorldExecutor, apply, deny, undo

from cronos.respond.aside import Aside
from cronos.respond.enforcer import Enforcer
from cronos.respond.guards import EnforcerConfig
from cronos.respond.leasebook import LeaseBook
from cronos.types import EntityKind, Operation


def work(name="tank", **terms):
    return deny(name, point="workflow", kind=EntityKind.WORKLOAD, **terms)


class Slow(WorldExecutor):
    """A hook that answers when it is let go."""

    def __init__(self):
        super().__init__({})
        self.begun = threading.Event()
        self.let_go = threading.Event()

    def apply(self, plans):
        self.begun.set()
        assert self.let_go.wait(20)
        return super().apply(plans)


@contextlib.contextmanager
def aside(folder, executor, lost=None, **terms):
    book = LeaseBook(folder)
    config = EnforcerConfig(**terms)
    enforcer = Enforcer(config, {"workflow": executor}, book, BootClock(), dict)
    lane = Aside(enforcer, BootClock(), lost)
    try:
        yield lane
    finally:
        if isinstance(executor, Slow):
            executor.let_go.set()
        lane.close()
        book.close()


def heard(lane):
    while True:
        assert select.select([lane.woken], [], [], 20)[0]
        if taken := lane.take():
            return taken


def test_an_order_is_carried_out_elsewhere_and_its_answer_kept_for_its_caller(tmp_path):
    with aside(tmp_path, WorldExecutor({})) as lane:
        assert lane.idle()
        assert lane.submit("me", apply(work(), order_id=7))
        assert not lane.idle()
        ((caller, answer),) = heard(lane)
        assert (caller, answer.order_id, answer.outcomes[0].ok) == ("me", 7, True)
        assert [lease.plan.action.target.value for lease in lane.held()] == ["tank"]
        assert not lane.idle()
        lane.submit("me", undo(work()))
        heard(lane)
        assert lane.idle()


def test_what_expires_aside_is_news(tmp_path):
    with aside(tmp_path, WorldExecutor({})) as lane:
        lane.submit("me", apply(work(lease_s=0.05)))
        taken = heard(lane)
        while len(taken) < 2:
            taken += heard(lane)
        caller, news = taken[1]
        assert caller is None
        assert news.outcomes[0].operation is Operation.UNDO


def test_what_no_lease_holds_is_named_once_and_delays_no_order(tmp_path):
    left, told, looked = work("left behind"), [], threading.Event()

    def lost(names):
        told.append(names)
        looked.set()
        raise OSError(28, "No space left on device")

    world = {left.action_id: left}
    with aside(tmp_path, WorldExecutor(world), lost, reconcile_ms=50) as lane:
        lane.submit("me", apply(work(), order_id=7))
        assert heard(lane)[0][1].outcomes[0].ok
        assert looked.wait(20)
        lane.submit("me", undo(work(), left))
        assert all(one.ok for one in heard(lane)[0][1].outcomes)
    assert told == [(left.action_id,)]


def test_orders_that_wait_are_bounded(tmp_path):
    slow = Slow()
    with aside(tmp_path, slow) as lane:
        lane.submit(0, apply(work()))
        assert slow.begun.wait(20)
        taken = [lane.submit(i, undo(work())) for i in range(300)]
        assert taken.count(True) == 256
        assert not taken[-1]


def test_closing_lets_the_order_under_way_end_and_drops_the_rest(tmp_path):
    slow = Slow()
    with aside(tmp_path, slow) as lane:
        lane.submit(0, apply(work()))
        assert slow.begun.wait(20)
        lane.submit(0, undo(work()))
    book = LeaseBook(tmp_path)
    assert [lease.applied for lease in book.leases.values()] == [True]
    book.close()


def test_a_fault_of_our_own_reaches_the_serving_thread(tmp_path):
    class Broken(WorldExecutor):
        def plan(self, actions):
            raise KeyboardInterrupt

    with aside(tmp_path, Broken({})) as lane:
        lane.submit(0, apply(work()))
        with pytest.raises(KeyboardInterrupt):
            heard(lane)


def test_two_enforcers_of_one_process_spend_one_budget_and_a_crash_refills_it_for_neither(tmp_path):
    one = Stage(tmp_path / "one", actions_per_minute=3)
    two = Stage(tmp_path / "two", actions_per_minute=3)
    two.enforcer.share_budget(one.enforcer)
    assert one.one(apply(deny("192.0.2.1"))).ok
    assert two.one(apply(deny("192.0.2.2"))).ok
    for stage in (one, two):
        stage.crash_and_restart()
    two.enforcer.share_budget(one.enforcer)
    assert two.one(apply(deny("192.0.2.3"))).ok
    assert not one.one(apply(deny("192.0.2.4"))).ok
    one.clock.turn(20)
    assert one.clock.boot_ns > 20 * S
    assert one.one(apply(deny("192.0.2.4"))).ok
    one.book.close()
    two.book.close()
