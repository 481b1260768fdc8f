"""The hook of Airflow, against a double of its REST interface."""

import msgspec
import pytest
from tests.integration.doubles.schedulers import TOKEN, AirflowDouble
from tests.integration.doubles.service import MOODS
from tests.integration.key_services import Gate, secret_file
from tests.integration.test_foreign_stories import action

from cronos.errors import CronosError, DeniedError, InputError
from cronos.respond.airflow import AirflowConfig, AirflowWorkflow
from cronos.respond.workflow import Watching, WorkflowExecutor, WorkflowExecutorConfig
from cronos.testing.conformance.executor import ReversibleExecutorConformance
from cronos.testing.conformance.workflow import WorkflowConformance
from cronos.types import EntityKind, Outcome, Verb


class Scheduler:
    """Airflow's double with three DAGs, one of them paused by its people."""

    @pytest.fixture(autouse=True)
    def _scheduler(self, tmp_path):
        self.file = secret_file(tmp_path / "token", TOKEN)
        self.double = AirflowDouble(load=False, sums=False, old=True, spare=True)
        with self.double.serving():
            yield

    def hook(self, egress=None, **settings):
        given = {"url": self.double.url(), "token_file": self.file,
                 "workload": {"billing": {"dags": ["load", "sums", "old"], "instead": ["spare"]},
                              "batch": {"dags": ["sums"]}},
                 **settings}  # fmt: skip
        return AirflowWorkflow(msgspec.convert(given, AirflowConfig), egress or Gate())


class TestHook(Scheduler, WorkflowConformance):
    def make(self):
        return self.hook()

    def workload(self):
        return "billing"

    def unknown(self):
        return "nobody"


class TestConformance(Scheduler, ReversibleExecutorConformance):
    """What a restart forgets the scheduler still knows; `observe` is the executor's memory."""

    def make(self):
        self.double.dags.update(load=False, sums=False, old=True)
        hook = self.hook(
            workload={"billing": {"dags": ["load", "old"]}, "batch": {"dags": ["sums"]}}
        )
        return WorkflowExecutor(WorkflowExecutorConfig(hook="airflow"), {"airflow": hook})

    def actions(self):
        return [pause("billing"), pause("batch")]

    def impossible(self):
        return pause("nobody")


def pause(name):
    return action("workflow", Verb.PAUSE, EntityKind.WORKLOAD, name)


class TestStories(Scheduler):
    def executor(self):
        return WorkflowExecutor(WorkflowExecutorConfig(hook="airflow"), {"airflow": self.hook()})

    def test_what_was_paused_before_stays_paused_after_also_over_a_restart(self):
        assert isinstance(self.hook(), Watching)
        before = dict(self.double.dags)
        (plan,) = self.executor().plan([pause("billing")])
        assert self.double.dags == before
        assert self.executor().apply([plan])[0].ok
        assert self.double.dags == {"load": True, "sums": True, "old": True, "spare": True}
        after_restart = self.executor()
        assert after_restart.verify([plan]) == [True]
        assert after_restart.undo([plan])[0].ok
        assert self.double.dags == before
        assert after_restart.verify([plan]) == [False]

    def test_a_workload_that_is_paused_already_holds_nothing(self):
        self.double.dags.update(load=True, sums=True)
        (answer,) = self.executor().plan([pause("billing")])
        assert isinstance(answer, Outcome)
        assert "so already" in answer.detail

    def test_a_promise_is_not_believed(self):
        executor = self.executor()
        (plan,) = executor.plan([pause("billing")])
        self.double.mood = "lies"
        (outcome,) = executor.apply([plan])
        assert not outcome.ok
        assert executor.verify([plan]) == [False]

    def test_a_dag_that_somebody_resumed_is_paused_again(self):
        executor = self.executor()
        (plan,) = executor.plan([pause("billing")])
        executor.apply([plan])
        self.double.dags["load"] = False
        assert executor.verify([plan]) == [False]
        assert executor.renew([plan])[0].ok
        assert self.double.dags["load"]

    @pytest.mark.parametrize("mood", MOODS)
    def test_whatever_it_answers_becomes_a_sentence(self, mood):
        (plan,) = self.executor().plan([pause("billing")])
        executor = WorkflowExecutor(
            WorkflowExecutorConfig(hook="airflow"), {"airflow": self.hook(timeout_ms=300)}
        )
        self.double.mood = mood
        (refused,) = executor.plan([pause("billing")])
        for outcome in (refused, *executor.apply([plan]), *executor.undo([plan]),
                        *executor.renew([plan])):  # fmt: skip
            assert isinstance(outcome, Outcome)
            assert not outcome.ok
            assert TOKEN not in outcome.detail
        with pytest.raises(CronosError):
            executor.verify([plan])

    def test_a_wrong_token_and_a_closed_gate_are_sentences(self, tmp_path):
        wrong = secret_file(tmp_path / "wrong", "wrong-one")
        with pytest.raises(DeniedError) as refused:
            self.hook(token_file=wrong).adjust("billing", "pause")
        assert "credentials" in refused.value.sentence
        closed = Gate(DeniedError("link.egress_closed", "Closed.", "Leave it."))
        with pytest.raises(DeniedError):
            self.hook(closed).adjust("billing", "pause")

    def test_a_workload_that_is_moved_has_others_run_instead_and_comes_back(self):
        before = dict(self.double.dags)
        executor = self.executor()
        (plan,) = executor.plan([action("workflow", Verb.REDIRECT, EntityKind.WORKLOAD, "billing")])
        assert executor.apply([plan])[0].ok
        assert self.double.dags == {"load": True, "sums": True, "old": True, "spare": False}
        assert executor.undo([plan])[0].ok
        assert self.double.dags == before

    def test_without_others_it_moves_nothing_elsewhere(self):
        with pytest.raises(InputError):
            self.hook().adjust("batch", "reroute")

    @pytest.mark.parametrize("former", ["", "{", "[1]", "[" * 5000])
    def test_a_damaged_recipe_is_a_sentence(self, former):
        with pytest.raises(InputError):
            self.hook().put_back("billing", former)
