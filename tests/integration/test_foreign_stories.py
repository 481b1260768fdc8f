"""Stories that every executor of a foreign system must pass, whatever its system."""

import logging
import ssl
import threading

import pytest
from tests.integration.doubles.service import MOODS
from tests.integration.key_services import Gate, tls_server

from cronos.errors import CronosError, DeniedError
from cronos.types import Action, Entity, Outcome, Plan, action_id

S = 1_000_000_000
# A process is killed at lines of its own; the double answers from another thread.
forks = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")


def action(point, verb, kind, value, incident="inc-1", lease_s=300):
    target = Entity(kind, value)
    return Action(action_id(point, verb, target), point, verb, target, incident, int(lease_s * S))


def planned(executor, *actions):
    plans = executor.plan(actions)
    assert all(isinstance(plan, Plan) for plan in plans), plans
    return plans


def refused(executor, one):
    (answer,) = executor.plan([one])
    assert isinstance(answer, Outcome), answer
    assert not answer.ok
    return answer.detail


class ForeignStories:
    """Subclass it: `make`, `double`, `sample` and the secrets that no sentence may show.

    `make(**settings)` gives an executor at `self.double`, whose settings may be overridden.
    """

    secrets: tuple[str, ...] = ()

    def make(self, **settings):
        raise NotImplementedError

    def sample(self):
        raise NotImplementedError

    def wrong_secret(self, tmp_path):
        """Give settings that name a secret which the system does not know."""
        raise NotImplementedError

    without: tuple[str, ...] = ()  # moods that only the time for a call ends

    @pytest.mark.parametrize("mood", MOODS)
    def test_whatever_the_system_answers_it_becomes_a_sentence(self, mood):
        if mood in self.without:
            return
        (plan,) = planned(self.make(), self.sample())
        executor = self.make(timeout_ms=300)
        self.double.mood = mood
        for outcomes in (executor.plan([self.sample()]), executor.apply([plan]),
                         executor.undo([plan])):  # fmt: skip
            (outcome,) = outcomes
            assert isinstance(outcome, Outcome), mood
            assert not outcome.ok
            assert outcome.detail
            assert not [s for s in self.secrets if s in outcome.detail]
            assert outcome.detail.isprintable()
        for look in (lambda: executor.verify([plan]), executor.observe):
            with pytest.raises(CronosError):
                look()

    def test_a_system_that_says_yes_and_does_nothing_is_found_out(self):
        executor = self.make()
        (plan,) = planned(executor, self.sample())
        self.double.mood = "lies"
        executor.apply([plan])
        assert executor.verify([plan]) == [False]
        self.double.mood = "well"
        assert executor.apply([plan])[0].ok
        assert executor.verify([plan]) == [True]
        self.double.mood = "lies"
        (undone,) = executor.undo([plan])
        assert not undone.ok or executor.verify([plan]) == [True]
        self.double.mood = "well"
        assert executor.undo([plan])[0].ok
        assert executor.verify([plan]) == [False]

    def test_a_secret_that_is_not_known_there_is_a_sentence(self, tmp_path):
        executor = self.make(**self.wrong_secret(tmp_path))
        detail = refused(executor, self.sample())
        assert "secret file" in detail
        assert "wrong-one" not in detail

    def test_the_gate_is_asked_before_anything_is_sent(self):
        closed = DeniedError("link.egress_closed", "The gate is closed.", "Leave it.")
        executor = self.make(egress=Gate(closed))
        before = len(self.double.seen)
        assert "The gate is closed" in refused(executor, self.sample())
        assert len(self.double.seen) == before

    def test_what_it_does_twice_side_by_side_is_one_effect(self):
        executor = self.make()
        (plan,) = planned(executor, self.sample())
        outcomes = []
        threads = [
            threading.Thread(target=lambda: outcomes.extend(executor.apply([plan])))
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert [one.ok for one in outcomes] == [True] * 4, outcomes
        assert executor.observe() == {plan.action.action_id}
        executor.undo([plan])
        assert executor.observe() == frozenset()

    def test_a_damaged_recipe_is_a_sentence(self):
        executor = self.make()
        (plan,) = planned(executor, self.sample())
        for recipe in (b"{", b"[" * 5000, b'{"x":"\xff"}', b"null", b"7"):
            broken = Plan(plan.action, recipe, plan.summary, plan.undo_summary)
            (outcome,) = executor.undo([broken])
            assert not outcome.ok
            assert "damaged" in outcome.detail

    def test_it_logs_no_secret(self, caplog):
        caplog.set_level(logging.DEBUG)
        executor = self.make()
        plans = planned(executor, self.sample())
        executor.apply(plans)
        executor.undo(plans)
        assert not [s for s in self.secrets if s in caplog.text]


class TlsStories:
    """For those that speak through `cronos.link.rest`; `make` takes `url` and `ca_file`."""

    def test_a_certificate_of_nobody_known_is_refused_and_one_that_is_vouched_for_taken(
        self, tmp_path
    ):
        folder = tmp_path / "tls"
        folder.mkdir()
        context = tls_server(folder)
        other = self.new_double()
        with other.serving(context):
            self.double = other
            url = f"https://127.0.0.1:{other.port}"
            detail = refused(self.make(url=url), self.sample())
            assert "certificate is not trusted" in detail
            assert not other.seen
            planned(self.make(url=url, ca_file=str(folder / "ca.pem")), self.sample())

    def test_old_tls_is_refused(self, tmp_path):
        folder = tmp_path / "tls"
        folder.mkdir()
        context = tls_server(folder, ssl.TLSVersion.TLSv1_2)
        other = self.new_double()
        with other.serving(context):
            self.double = other
            settings = {"url": f"https://127.0.0.1:{other.port}"}
            executor = self.make(**settings, ca_file=str(folder / "ca.pem"))
            refused(executor, self.sample())
            assert not other.seen

    def test_a_conflict_is_tried_again_and_not_for_ever(self):
        executor = self.make()
        (plan,) = planned(executor, self.sample())
        self.double.conflicts = 2
        (outcome,) = executor.apply([plan])
        again = executor.apply([plan])[0] if not outcome.ok else outcome
        if not again.ok:
            again = executor.apply([plan])[0]
        assert again.ok
        self.double.conflicts = 1000
        (outcome,) = executor.undo([plan])
        assert not outcome.ok
        self.double.conflicts = 0
        assert executor.undo([plan])[0].ok
