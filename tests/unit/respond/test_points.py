import pytest
from tests.unit.respond.stage import TurnedClock, WorldExecutor, deny

from cronos.respond.points import Points
from cronos.types import Operation, Outcome


@pytest.fixture
def points():
    return Points(
        {"a": WorldExecutor({}), "b": WorldExecutor({})},
        TurnedClock(),
    )


def test_each_executor_gets_one_batch_and_the_answers_keep_their_order(points):
    actions = [deny(f"192.0.2.{i}", point="ab"[i % 2]) for i in range(6)]
    plans = points.plan(actions)
    assert [p.action for p in plans] == actions
    outcomes = points.apply(plans)
    assert [o.action_id for o in outcomes] == [a.action_id for a in actions]
    assert all(o.ok and o.verified and o.at_boot_ns for o in outcomes)
    assert points._executors["a"].calls == [("apply", ("192.0.2.0", "192.0.2.2", "192.0.2.4"))]


def test_an_executor_that_answers_too_little_has_failed_for_all(points):
    points._executors["a"].plan = lambda actions: []
    (outcome,) = points.plan([deny("192.0.2.7", point="a")])
    assert isinstance(outcome, Outcome)
    assert outcome.operation is Operation.APPLY
    assert "0 answers to 1 actions" in outcome.detail


def test_what_nobody_can_look_at_is_not_applied_and_not_undone(points):
    plans = points.plan([deny("192.0.2.7", point="a")])

    def blind(_):
        raise ValueError("blind")

    points._executors["a"].verify = blind
    assert not points.apply(plans)[0].ok
    assert not points.undo(plans)[0].ok


def test_what_is_there_is_listed_once_for_each_point_and_not_through_a_broken_one(points):
    actions = [deny(f"192.0.2.{i}", point="ab"[i % 2]) for i in range(4)]
    points.apply(points.plan(actions[:3]))
    assert points.held(actions) == {action.action_id for action in actions[:3]}
    assert points.held([deny("192.0.2.0", point="nowhere")]) == set()

    def broken():
        raise RuntimeError

    points._executors["a"].observe = broken
    # What nobody can look at may be there.
    assert points.held(actions) == {actions[n].action_id for n in (0, 1, 2)}
    assert points.held([actions[3]]) == set()
