import threading

import pytest
from tests.unit.respond.stage import Stage, apply, deny, undo

from cronos.errors import CronosError, InputError
from cronos.respond.workflow import WorkflowExecutor, WorkflowExecutorConfig
from cronos.testing.conformance.executor import ReversibleExecutorConformance
from cronos.types import EntityKind, Plan, Verb


class Board:
    """A hook with a memory: what each workload was told last."""

    manifest = None

    def __init__(self):
        self.state = {}
        self.broken = False
        self.together = None

    def adjust(self, workload, verb):
        if self.together is not None:
            self.together.wait(10)
        if self.broken:
            raise CronosError("x.broken", "The scheduler is down.", "Start it.", "peer")
        self.state[workload] = verb
        return f"{workload}: {verb}"


def work(name, verb=Verb.PAUSE):
    return deny(name, point="workflow", kind=EntityKind.WORKLOAD, verb=verb)


def test_workloads_are_paused_rerouted_and_restored_by_their_own_hooks():
    ours, theirs = Board(), Board()
    config = WorkflowExecutorConfig(hook="command", hooks={"billing": "webhook"})
    executor = WorkflowExecutor(config, {"command": ours, "webhook": theirs})
    plans = executor.plan([work("tank"), work("billing", Verb.REDIRECT)])
    assert all(isinstance(plan, Plan) and not plan.kernel_timeout for plan in plans)
    assert plans[1].undo_summary == "restore billing by the hook webhook"
    assert not ours.state
    assert all(o.ok for o in executor.apply(plans))
    assert executor.verify(plans) == [True, True]
    assert (ours.state, theirs.state) == ({"tank": "pause"}, {"billing": "reroute"})
    assert all(o.ok for o in executor.renew(plans))
    assert all(o.ok for o in executor.undo(plans))
    assert executor.observe() == frozenset()
    assert (ours.state, theirs.state) == ({"tank": "restore"}, {"billing": "restore"})
    assert all(o.ok for o in executor.undo(plans))


def test_a_hook_that_fails_is_an_outcome_and_the_workload_stays_held():
    board = Board()
    executor = WorkflowExecutor(WorkflowExecutorConfig(), {"command": board})
    plans = executor.plan([work("tank")])
    executor.apply(plans)
    board.broken = True
    (failed,) = executor.undo(plans)
    assert not failed.ok
    assert "The scheduler is down." in failed.detail
    assert executor.verify(plans) == [True]


def test_what_is_no_workload_or_no_step_is_refused():
    executor = WorkflowExecutor(WorkflowExecutorConfig(), {"command": Board()})
    outcomes = executor.plan([work("tank", Verb.DENY), deny("192.0.2.7", verb=Verb.PAUSE)])
    assert [o.ok for o in outcomes] == [False, False]


def test_a_hook_that_is_not_configured_is_refused_at_once():
    with pytest.raises(InputError, match="'webhook'"):
        WorkflowExecutor(WorkflowExecutorConfig(hooks={"a": "webhook"}), {"command": Board()})


def test_slow_hooks_of_one_batch_run_side_by_side():
    board = Board()
    board.together = threading.Barrier(4)
    executor = WorkflowExecutor(WorkflowExecutorConfig(), {"command": board})
    plans = executor.plan([work(f"w{i}") for i in range(4)])
    assert all(o.ok for o in executor.apply(plans))
    executor.renew(plans)


def test_under_the_enforcer_a_pause_ends_with_its_lease_and_survives_a_restart(tmp_path):
    board = Board()
    stage = Stage(tmp_path)

    def begin():
        hooked = WorkflowExecutor(WorkflowExecutorConfig(), {"command": board})
        stage.enforcer._points._executors["workflow"] = hooked

    begin()
    assert stage.one(apply(work("tank"))).verified
    board.state.clear()
    stage.crash_and_restart()
    begin()
    stage.enforcer.recover()
    assert board.state == {"tank": "pause"}
    assert stage.one(undo(work("tank"))).verified
    assert board.state == {"tank": "restore"}
    stage.book.close()


def test_a_restore_goes_to_the_hook_that_paused_whatever_is_configured_since():
    theirs, ours = Board(), Board()
    before = WorkflowExecutor(
        WorkflowExecutorConfig(hooks={"tank": "webhook"}), {"command": ours, "webhook": theirs}
    )
    plans = before.plan([work("tank")])
    before.apply(plans)
    after = WorkflowExecutor(WorkflowExecutorConfig(), {"command": ours, "webhook": theirs})
    assert all(outcome.ok for outcome in after.undo(plans))
    assert theirs.state == {"tank": "restore"}
    assert not ours.state


def test_a_restore_by_a_hook_that_is_gone_fails_until_it_is_back(tmp_path):
    board, stage = Board(), Stage(tmp_path)
    points = stage.enforcer._points._executors
    both = WorkflowExecutorConfig(hook="webhook")
    points["workflow"] = WorkflowExecutor(both, {"webhook": board})
    stage.one(apply(work("tank")))
    points["workflow"] = WorkflowExecutor(WorkflowExecutorConfig(), {"command": Board()})
    failed = stage.one(undo(work("tank")))
    assert not failed.ok
    assert "[plugin.webhook]" in failed.detail
    assert stage.enforcer.next_expiry_ns() is not None
    points["workflow"] = WorkflowExecutor(both, {"webhook": board})
    stage.clock.turn(5)
    assert stage.enforcer.expire().outcomes[0].ok
    assert board.state == {"tank": "restore"}
    stage.book.close()


def test_a_recipe_that_cannot_be_read_is_an_outcome():
    executor = WorkflowExecutor(WorkflowExecutorConfig(), {"command": Board()})
    (plan,) = executor.plan([work("tank")])
    for recipe in (b"", b"{}", b"\xff", b"[" * 100_000):
        (failed,) = executor.undo([Plan(plan.action, recipe, "pause", "restore")])
        assert not failed.ok
        assert "recipe" in failed.detail


class TestConformance(ReversibleExecutorConformance):
    def make(self):
        return WorkflowExecutor(WorkflowExecutorConfig(), {"command": Board()})

    def actions(self):
        return [work("tank"), work("billing", Verb.REDIRECT)]

    def impossible(self):
        return deny("192.0.2.7", point="workflow")


class Watcher(Board):
    """A hook that looks, and that takes its time."""

    def former(self, workload, verb):
        self.together.wait(10)
        return "running"

    def put_back(self, workload, former):
        return self.adjust(workload, "restore")

    def sees(self, workload, verb):
        self.together.wait(10)
        return self.state.get(workload) == verb


def test_hooks_that_look_do_so_side_by_side():
    """One after the other, slow systems would use up the time of the whole batch."""
    board = Watcher()
    board.together = threading.Barrier(4)
    executor = WorkflowExecutor(WorkflowExecutorConfig(), {"command": board})
    plans = executor.plan([work(f"tank-{n}") for n in range(4)])
    assert all(isinstance(plan, Plan) for plan in plans)
    executor.apply(plans)
    assert executor.verify(plans) == [True] * 4
