from msgspec.structs import replace
from tests.unit.respond.stage import S, TurnedClock, WorldExecutor, deny

from cronos.respond.guards import EnforcerConfig
from cronos.respond.leasebook import LeaseBook, key_of
from cronos.respond.points import Points
from cronos.respond.reaper import Reaper, remaining
from cronos.types import Lease


def test_leases_end_in_their_order_and_a_longer_one_is_only_looked_at_again(tmp_path):
    clock, world = TurnedClock(), {}
    points = Points({"world": WorldExecutor(world)}, clock)
    book = LeaseBook(tmp_path)
    plans = points.plan([deny(f"192.0.2.{i}", lease_s=i) for i in (3, 1, 2)])
    points.apply(plans)
    start = clock.boot_ns
    book.write(
        [Lease(p, "boot-1", start, start + p.action.lease_ns, applied=True) for p in plans],
        durable=True,
    )
    reaper = Reaper(EnforcerConfig(), points, book, clock)
    assert reaper.next_due_ns() == start + S
    one = book.leases[key_of(plans[1].action)]
    longer = Lease(one.plan, "boot-1", start, start + 10 * S, applied=True)
    book.write([longer], durable=False)
    clock.turn(1)
    assert reaper.expire() == []
    clock.turn(2)
    assert [o.action_id for o in reaper.expire()] == [
        plans[2].action.action_id,
        plans[0].action.action_id,
    ]
    assert list(world) == [plans[1].action.action_id]
    assert reaper.next_due_ns() == start + 10 * S
    book.close()


def test_a_plan_is_never_left_less_than_a_moment():
    points = Points({"world": WorldExecutor({})}, TurnedClock())
    (plan,) = points.plan([deny("192.0.2.7")])
    assert remaining(plan, -5).action.lease_ns == 1


def test_renewals_without_end_leave_nothing_behind(tmp_path):
    book = LeaseBook(tmp_path)
    reaper = Reaper(EnforcerConfig(), Points({}, TurnedClock()), book, TurnedClock())
    keys = [(f"{i:032x}", "inc-1") for i in range(10)]
    for due in range(20_000):
        reaper.watch(keys[due % 10], due)
    assert len(reaper._heap) < 2000
    assert reaper.next_due_ns() == 19_990
    book.close()


def held_world(tmp_path, count):
    """Give a reaper, its clock and what is there, with `count` leases that are applied."""
    clock, world = TurnedClock(), {}
    points = Points({"world": WorldExecutor(world)}, clock)
    book = LeaseBook(tmp_path)
    plans = points.plan([deny(f"192.0.2.{i}", lease_s=100) for i in range(count)])
    points.apply(plans)
    now = clock.boot_ns
    book.write([Lease(p, "boot-1", now, now + 100 * S, applied=True) for p in plans], durable=True)
    return Reaper(EnforcerConfig(), points, book, clock), world, plans, book


def test_a_pass_over_many_goes_on_where_it_was_and_begins_anew_at_its_end(tmp_path):
    reaper, world, plans, book = held_world(tmp_path, 5)
    last = plans[4].action.action_id
    del world[last]

    assert reaper.reconcile(2) == []
    assert reaper.looking
    assert reaper.reconcile(2) == []
    (back,) = reaper.reconcile(2)
    assert (back.action_id, back.ok, reaper.looking) == (last, True, False)
    del world[plans[0].action.action_id]
    assert len(reaper.reconcile(2)) == 1
    book.close()


def test_a_pass_looks_at_nothing_that_has_ended_since_it_began(tmp_path):
    reaper, world, plans, book = held_world(tmp_path, 3)
    reaper.reconcile(1)
    now = reaper._clock.now().boot_ns
    ended = [replace(book.leases[key_of(plan.action)], expires_boot_ns=now) for plan in plans[1:]]
    book.note(ended)
    world.clear()

    assert reaper.reconcile(5) == []
    reaper.tidy()
    assert not reaper.looking
    book.close()
