"""The executor of a broker's users, against a double; the real broker is an integration test."""

import msgspec
import pytest
from tests.integration.doubles.rabbitmq import PASSWORD, RabbitmqDouble
from tests.integration.key_services import Gate, secret_file
from tests.integration.test_foreign_stories import (
    ForeignStories,
    TlsStories,
    action,
    forks,
    planned,
    refused,
)

from cronos.respond.rabbitmq import RabbitmqConfig, RabbitmqExecutor
from cronos.testing.conformance.executor import ReversibleExecutorConformance
from cronos.types import EntityKind, Verb


def deny(name, **more):
    return action("rabbitmq", Verb.DENY, EntityKind.USER, name, **more)


class Broker:
    """A broker's double with two users, and executors for it."""

    secrets = (PASSWORD,)

    @pytest.fixture(autouse=True)
    def _broker(self, tmp_path):
        self.folder = tmp_path
        self.file = secret_file(tmp_path / "password", PASSWORD)
        self.double = self.new_double()
        with self.double.serving():
            yield

    def new_double(self):
        double = RabbitmqDouble()
        double.add_user("tank", plant=("^tank", "^tank", ".*"), spare=("", "", "^x"))
        double.add_user("pump", plant=("", ".*", ""))
        return double

    def make(self, egress=None, **settings):
        given = {"url": self.double.url(), "username": "cronos", "password_file": self.file,
                 **settings}  # fmt: skip
        return RabbitmqExecutor(msgspec.convert(given, RabbitmqConfig), egress or Gate())

    def sample(self):
        return deny("tank")

    def wrong_secret(self, tmp_path):
        return {"password_file": secret_file(tmp_path / "wrong", "wrong-one")}


@forks
class TestConformance(Broker, ReversibleExecutorConformance):
    def make(self, **settings):
        new = self.new_double()
        self.double.held, self.double.connections = new.held, new.connections
        return super().make(**settings)

    def again(self):
        return super().make(at_once=1)

    def actions(self):
        return [deny("tank"), deny("pump")]

    def impossible(self):
        return deny("nobody")


class TestStories(Broker, ForeignStories, TlsStories):
    def test_all_permissions_go_and_come_back_to_the_letter(self):
        before = self.double.state()
        executor = self.make()
        plans = planned(executor, self.sample())
        assert self.double.state() == before
        assert "1 connections were closed" in executor.apply(plans)[0].detail
        assert {user for _, user in self.double.held} == {"cronos", "pump"}
        assert "tank" not in self.double.connections.values()
        executor.undo(plans)
        assert self.double.state() == before

    def test_what_an_administrator_has_narrowed_meanwhile_is_not_widened_again(self):
        executor = self.make()
        plans = planned(executor, self.sample())
        executor.apply(plans)
        self.double.held["plant", "tank"] = narrow = {"configure": "", "write": "", "read": "^x$"}
        (outcome,) = executor.undo(plans)
        assert outcome.ok
        assert "on 1 somebody has given others" in outcome.detail
        assert self.double.held["plant", "tank"] == narrow
        assert ("spare", "tank") in self.double.held

    def test_a_connection_that_comes_after_is_seen_and_closed(self):
        executor = self.make()
        plans = planned(executor, self.sample())
        executor.apply(plans)
        self.double.connections["late"] = "tank"
        assert executor.verify(plans) == [False]
        assert executor.renew(plans)[0].ok
        assert executor.verify(plans) == [True]

    def test_a_permission_that_somebody_gives_meanwhile_is_seen_and_taken(self):
        executor = self.make()
        plans = planned(executor, self.sample())
        executor.apply(plans)
        self.double.held["/", "tank"] = (".*", ".*", ".*")
        assert executor.verify(plans) == [False]
        executor.renew(plans)
        assert ("/", "tank") not in self.double.held

    def test_a_user_without_permissions_holds_nothing_to_take(self):
        self.double.add_user("idle")
        assert "permissions on 0" in refused(self.make(), deny("idle"))

    def test_the_administrator_and_the_protected_are_refused_before_anything_is_asked(self):
        executor = self.make(protected_users=["pump"])
        assert "protected" in refused(executor, deny("cronos"))
        assert "protected" in refused(executor, deny("pump"))
        assert not self.double.seen

    def test_a_virtual_host_that_is_gone_is_told_and_keeps_nobody_from_the_others(self):
        executor = self.make()
        plans = planned(executor, self.sample())
        executor.apply(plans)
        self.double.vhosts.discard("spare")
        (outcome,) = executor.undo(plans)
        assert outcome.ok
        assert "1 virtual hosts are gone" in outcome.detail
        assert self.double.held["plant", "tank"] == ("^tank", "^tank", ".*")
        assert executor.verify(plans) == [False]

    def test_a_user_that_is_gone_is_nothing_to_take_back(self):
        executor = self.make()
        plans = planned(executor, self.sample())
        executor.apply(plans)
        self.double.users.discard("tank")
        assert "is gone" in executor.undo(plans)[0].detail
        assert executor.verify(plans) == [False]

    def test_a_connection_that_does_not_close_is_no_success(self, monkeypatch):
        executor = self.make()
        plans = planned(executor, self.sample())
        monkeypatch.setattr("cronos.respond.rabbitmq._POLL_S", 0.001)
        stays = self.double.answer

        def answer(method, path, headers, body):
            if method == "DELETE" and "/connections/" in path:
                return None
            return stays(method, path, headers, body)

        monkeypatch.setattr(self.double, "answer", answer)
        (outcome,) = executor.apply(plans)
        assert not outcome.ok
        assert "still has connections" in outcome.detail

    def test_names_with_slashes_stay_names(self):
        self.double.vhosts.add("a/b")
        self.double.users.add("x/y")
        self.double.held["a/b", "x/y"] = ("", "", "r")
        executor = self.make()
        plans = planned(executor, deny("x/y"))
        executor.apply(plans)
        assert ("a/b", "x/y") not in self.double.held
        executor.undo(plans)
        assert self.double.held["a/b", "x/y"] == ("", "", "r")
