"""The hook of Temporal, against a double of its HTTP interface."""

import msgspec
import pytest
from tests.integration.doubles.schedulers import TOKEN, TemporalDouble
from tests.integration.doubles.service import MOODS
from tests.integration.key_services import Gate, secret_file
from tests.integration.test_foreign_stories import action

from cronos.errors import CronosError, DeniedError, InputError
from cronos.respond.temporal import TemporalConfig, TemporalWorkflow
from cronos.respond.workflow import WorkflowExecutor, WorkflowExecutorConfig
from cronos.testing.conformance.workflow import WorkflowConformance
from cronos.types import EntityKind, Outcome, Plan, Verb


def adjust(name, verb=Verb.PAUSE):
    return action("workflow", verb, EntityKind.WORKLOAD, name)


class Server:
    """Temporal's double with one workflow."""

    @pytest.fixture(autouse=True)
    def _server(self, tmp_path):
        self.file = secret_file(tmp_path / "token", TOKEN)
        self.double = TemporalDouble()
        with self.double.serving():
            yield

    def hook(self, egress=None, query="state", **settings):
        billing = {"workflow_id": "billing-1", "reroute": "move", "query": query}
        given = {"url": self.double.url(), "namespace": "plant", "token_file": self.file,
                 "workload": {"billing": billing}, **settings}  # fmt: skip
        return TemporalWorkflow(msgspec.convert(given, TemporalConfig), egress or Gate())

    def executor(self, **settings):
        hooks = {"temporal": self.hook(**settings)}
        return WorkflowExecutor(WorkflowExecutorConfig(hook="temporal"), hooks)


class TestHook(Server, WorkflowConformance):
    def make(self):
        return self.hook()

    def workload(self):
        return "billing"

    def unknown(self):
        return "nobody"


class TestStories(Server):
    @pytest.mark.parametrize("plain", [True, False])
    @pytest.mark.parametrize(("verb", "state"), [(Verb.PAUSE, "paused"),
                                                 (Verb.REDIRECT, "rerouted")])  # fmt: skip
    def test_it_is_signalled_asked_and_signalled_back_also_over_a_restart(self, plain, verb, state):
        self.double.plain = plain
        (plan,) = self.executor().plan([adjust("billing", verb)])
        assert self.double.signals == []
        assert self.executor().apply([plan])[0].ok
        assert self.double.state == state
        after_restart = self.executor()
        assert after_restart.verify([plan]) == [True]
        assert after_restart.undo([plan])[0].ok
        assert self.double.state == "running"
        assert after_restart.verify([plan]) == [False]
        signals = list(self.double.signals)
        assert after_restart.undo([plan])[0].ok
        assert self.double.signals == signals

    def test_what_was_elsewhere_before_goes_there_again(self):
        self.double.state = "rerouted"
        executor = self.executor()
        (plan,) = executor.plan([adjust("billing")])
        executor.apply([plan])
        assert self.double.state == "paused"
        executor.undo([plan])
        assert self.double.state == "rerouted"

    def test_a_workflow_that_is_paused_already_holds_nothing(self):
        self.double.state = "paused"
        (answer,) = self.executor().plan([adjust("billing")])
        assert isinstance(answer, Outcome)
        assert "paused already" in answer.detail

    def test_without_a_query_its_effect_is_not_confirmed_and_it_says_so(self):
        executor = self.executor(query="")
        (plan,) = executor.plan([adjust("billing")])
        (outcome,) = executor.apply([plan])
        assert outcome.ok
        assert "not confirmed" in outcome.detail
        assert executor.undo([plan])[0].ok
        assert self.double.signals == ["pause", "resume"]

    def test_a_promise_is_not_believed(self):
        executor = self.executor()
        (plan,) = executor.plan([adjust("billing")])
        self.double.mood = "lies"
        assert not executor.apply([plan])[0].ok
        assert executor.verify([plan]) == [False]

    @pytest.mark.parametrize("mood", MOODS)
    def test_whatever_it_answers_becomes_a_sentence_or_no_state(self, mood):
        (plan,) = self.executor().plan([adjust("billing")])
        executor = self.executor(timeout_ms=300)
        self.double.mood = mood
        for outcome in (*executor.apply([plan]), *executor.undo([plan])):
            assert not outcome.ok
            assert TOKEN not in outcome.detail
        for answer in executor.plan([adjust("billing")]):
            assert isinstance(answer, Outcome | Plan)

    @pytest.mark.parametrize("result", [7, "paused", {"payloads": [{"data": None}]}])
    def test_a_result_of_another_form_is_a_sentence(self, result):
        self.double.answer = lambda *_: {"queryResult": result}
        with pytest.raises(CronosError):
            self.hook().sees("billing", "pause")

    @pytest.mark.parametrize("result", [None, [], [7], {}, {"payloads": []},
                                        {"payloads": [{"data": "%%%"}]},
                                        {"payloads": [{"data": "e30="}]}])  # fmt: skip
    def test_a_state_that_is_none_is_no_state(self, result):
        self.double.answer = lambda *_: {"queryResult": result}
        assert not self.hook().sees("billing", "pause")

    def test_a_wrong_token_a_closed_gate_and_another_workload_are_sentences(self, tmp_path):
        wrong = secret_file(tmp_path / "wrong", "wrong-one")
        with pytest.raises(DeniedError) as refused:
            self.hook(token_file=wrong).adjust("billing", "pause")
        assert "credentials" in refused.value.sentence
        closed = Gate(DeniedError("link.egress_closed", "Closed.", "Leave it."))
        with pytest.raises(DeniedError):
            self.hook(closed).adjust("billing", "pause")
        with pytest.raises(InputError):
            self.hook().adjust("nobody", "pause")
        with pytest.raises(CronosError):
            self.hook(namespace="other").adjust("billing", "pause")
