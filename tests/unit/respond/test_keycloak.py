"""The executor of accounts and sessions, against a double of Keycloak."""

import msgspec
import pytest
from tests.integration.doubles.keycloak import SECRET, KeycloakDouble
from tests.integration.key_services import Gate, secret_file
from tests.integration.test_foreign_stories import (
    ForeignStories,
    TlsStories,
    action,
    forks,
    planned,
    refused,
)
from tests.unit.respond.stage import TurnedClock

from cronos.errors import CronosError, InputError
from cronos.respond.keycloak import KeycloakConfig, KeycloakExecutor
from cronos.testing.conformance.executor import ReversibleExecutorConformance
from cronos.testing.conformance.irreversible import IrreversibleExecutorConformance
from cronos.types import EntityKind, Verb


def contain(name, **more):
    return action("keycloak", Verb.CONTAIN, EntityKind.USER, name, **more)


def stop(name):
    return action("keycloak", Verb.STOP, EntityKind.SESSION, name)


class Realm:
    """A realm's double with two users, and executors for it."""

    secrets = (SECRET, "token-")

    @pytest.fixture(autouse=True)
    def _realm(self, tmp_path):
        self.folder = tmp_path
        self.file = secret_file(tmp_path / "secret", SECRET)
        self.clock = TurnedClock()
        self.double = self.new_double()
        with self.double.serving():
            yield

    def new_double(self):
        double = KeycloakDouble()
        double.add_user("alice", "s-1", "s-2")
        double.add_user("bob", "s-3")
        return double

    def make(self, egress=None, **settings):
        given = {"url": self.double.url(), "realm": "plant", "client_id": "cronos",
                 "client_secret_file": self.file, **settings}  # fmt: skip
        config = msgspec.convert(given, KeycloakConfig)
        return KeycloakExecutor(config, self.clock, egress or Gate())

    def sample(self):
        return contain("alice")

    def wrong_secret(self, tmp_path):
        return {"client_secret_file": secret_file(tmp_path / "wrong", "wrong-one")}


@forks
class TestConformance(Realm, ReversibleExecutorConformance):
    def make(self, **settings):
        new = self.new_double()
        self.double.users, self.double.sessions = new.users, new.sessions
        return super().make(**settings)

    def again(self):
        return super().make(at_once=1)

    def actions(self):
        return [contain("alice"), contain("bob")]

    def impossible(self):
        return contain("nobody")


@forks
class TestSessionConformance(Realm, IrreversibleExecutorConformance):
    def make(self, **settings):
        new = self.new_double()
        self.double.users, self.double.sessions = new.users, new.sessions
        return super().make(**settings)

    def again(self):
        return super().make(at_once=1)

    def actions(self):
        return [stop("alice/s-1"), stop("bob/s-3")]

    def is_done(self, action):
        return action.target.value.partition("/")[2] not in self.double.sessions

    def bystanders(self):
        return dict(self.double.users), "s-2" in self.double.sessions

    def impossible(self):
        return stop("nobody/s-1")


class TestStories(Realm, ForeignStories, TlsStories):
    def test_an_account_is_disabled_and_logged_out_and_comes_back_as_it_was(self):
        before, _ = self.double.state()
        executor = self.make()
        plans = planned(executor, self.sample())
        assert self.double.state()[0] == before
        executor.apply(plans)
        user = self.double.user("alice")
        assert not user["enabled"]
        assert user["notBefore"] > 1000
        assert self.double.sessions == {"s-3": "id-bob"}
        executor.undo(plans)
        after, _ = self.double.state()
        # What was issued before stays refused; all else is as it was.
        assert after.pop("id-alice") == {**before.pop("id-alice"), "notBefore": 1001}
        assert after == before

    def test_an_account_that_somebody_else_disabled_is_left_alone(self):
        self.double.add_user("carol", enabled=False)
        executor = self.make()
        assert "disabled already" in refused(executor, contain("carol"))

    def test_a_session_that_was_opened_meanwhile_is_seen_and_ended(self):
        executor = self.make()
        plans = planned(executor, self.sample())
        executor.apply(plans)
        self.double.sessions["s-9"] = "id-alice"
        assert executor.verify(plans) == [False]
        assert executor.renew(plans)[0].ok
        assert executor.verify(plans) == [True]

    def test_an_account_that_is_gone_is_nothing_to_take_back(self):
        executor = self.make()
        plans = planned(executor, self.sample())
        executor.apply(plans)
        del self.double.users["id-alice"]
        assert "is gone" in executor.undo(plans)[0].detail
        assert executor.verify(plans) == [False]

    def test_a_token_is_used_until_it_ends_and_replaced_when_it_is_refused(self):
        executor = self.make()
        planned(executor, self.sample())
        planned(executor, self.sample())
        assert self.double.tokens == 1
        self.clock.turn(60)
        planned(executor, self.sample())
        assert self.double.tokens == 2
        self.double.valid.clear()  # the server was restarted
        planned(executor, self.sample())
        assert self.double.tokens == 3

    @pytest.mark.parametrize("name", ["alice&enabled=true", "ALICE", "*", "../../master", ""])
    def test_no_name_means_another_account(self, name):
        refused(self.make(), contain(name))

    def test_many_disabled_accounts_are_read_page_by_page(self):
        names = [f"user-{i:03}" for i in range(250)]
        for name in names:
            self.double.add_user(name, enabled=False)
        assert self.make().observe() == {contain(name).action_id for name in names}

    @pytest.mark.parametrize("realm", ["", "..", "."])
    def test_a_realm_that_is_no_name_is_refused(self, realm):
        with pytest.raises(InputError):
            self.make(realm=realm)


class TestSessions(Realm):
    def test_a_session_is_ended_for_good_and_seen_to_be_gone(self):
        executor = self.make()
        (plan,) = planned(executor, stop("alice/s-1"))
        assert plan.recipe == b""
        assert executor.verify([plan]) == [False]
        for _ in range(2):
            assert executor.apply([plan])[0].ok
            assert executor.verify([plan]) == [True]
        assert set(self.double.sessions) == {"s-2", "s-3"}
        assert "cannot be taken back" in executor.undo([plan])[0].detail

    @pytest.mark.parametrize("name", ["s-1", "/s-1", "alice/", "x/s-1"])
    def test_what_names_no_session_of_an_account_is_refused(self, name):
        refused(self.make(), stop(name))
        assert len(self.double.sessions) == 3

    @pytest.mark.parametrize("name", ["alice/s-3", "alice/none"])
    def test_only_a_session_of_the_account_that_is_named_is_ended(self, name):
        executor = self.make()
        plans = planned(executor, stop(name))
        assert "alice has no session" in executor.apply(plans)[0].detail
        assert not [one for one in self.double.seen if one[0] == "DELETE"]
        assert len(self.double.sessions) == 3

    def test_a_promise_is_not_believed(self):
        executor = self.make()
        (plan,) = planned(executor, stop("alice/s-1"))
        self.double.mood = "lies"
        executor.apply([plan])
        assert executor.verify([plan]) == [False]
        self.double.mood = "broken"
        with pytest.raises(CronosError):
            executor.verify([plan])
