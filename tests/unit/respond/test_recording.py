from tests.unit.respond.stage import deny

from cronos.respond.recording import RecordingConfig, RecordingExecutor
from cronos.testing.conformance.executor import ReversibleExecutorConformance


def test_a_dry_run_shows_its_effects_and_says_that_it_is_one():
    executor = RecordingExecutor(RecordingConfig())
    plans = executor.plan([deny("192.0.2.7"), deny("192.0.2.8")])
    assert executor.observe() == frozenset()
    assert all(o.ok and o.dry_run for o in executor.apply(plans))
    assert executor.verify(plans) == [True, True]
    assert executor.observe() == {p.action.action_id for p in plans}
    assert all(o.ok for o in executor.renew(plans))
    assert all(o.ok and o.dry_run for o in executor.undo(plans[:1]))
    assert executor.verify(plans) == [False, True]
    assert all(o.ok for o in executor.undo(plans[:1]))


def test_its_memory_is_bounded():
    executor = RecordingExecutor(RecordingConfig(max_effects=1))
    outcomes = executor.apply(executor.plan([deny("192.0.2.7"), deny("192.0.2.8")]))
    assert [o.ok for o in outcomes] == [True, False]


class TestConformance(ReversibleExecutorConformance):
    def make(self):
        return RecordingExecutor(RecordingConfig())

    def actions(self):
        return [deny("192.0.2.7", point="recording"), deny("192.0.2.8", point="recording")]
