"""The executor of a site's own receiver, against a double that checks every signature."""

import msgspec
import pytest
from tests.integration.doubles.receiver import SECRET, ReceiverDouble
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

from cronos.errors import InputError
from cronos.respond.webhookaction import WebhookActionConfig, WebhookActionExecutor
from cronos.testing.conformance.executor import ReversibleExecutorConformance
from cronos.types import EntityKind, Verb


def act(verb, kind, name, **more):
    return action("webhook-action", verb, kind, name, **more)


def deny(address):
    return act(Verb.DENY, EntityKind.ADDRESS, address)


class Receiver:
    secrets = (SECRET,)

    @pytest.fixture(autouse=True)
    def _receiver(self, tmp_path):
        self.file = secret_file(tmp_path / "secret", SECRET)
        self.double = self.new_double()
        with self.double.serving():
            yield

    def new_double(self):
        return ReceiverDouble()

    def make(self, egress=None, **settings):
        given = {"url": self.double.url(), "secret_file": self.file,
                 "accepts": ["deny:address", "contain:host", "contain:user"],
                 **settings}  # fmt: skip
        config = msgspec.convert(given, WebhookActionConfig)
        return WebhookActionExecutor(config, TurnedClock(), egress or Gate())

    def sample(self):
        return deny("192.0.2.7")

    def wrong_secret(self, tmp_path):
        return {"secret_file": secret_file(tmp_path / "wrong", "wrong-one")}


@forks
class TestConformance(Receiver, ReversibleExecutorConformance):
    def make(self, **settings):
        self.double.in_force.clear()
        return super().make(**settings)

    def again(self):
        return super().make(at_once=1)

    def actions(self):
        return [deny("192.0.2.7"), act(Verb.CONTAIN, EntityKind.HOST, "pump-1")]

    def impossible(self):
        return act(Verb.DENY, EntityKind.NETWORK, "192.0.2.0/24")


class TestStories(Receiver, ForeignStories, TlsStories):
    def test_a_command_is_openc2_with_the_lease_as_its_duration(self):
        executor = self.make()
        plans = planned(executor, self.sample())
        executor.apply(plans)
        executor.undo(plans)
        name = plans[0].action.action_id
        first, second = self.double.commands
        assert first == {"action": "deny", "target": {"ipv4_net": "192.0.2.7"},
                         "args": {"duration": 300_000}, "command_id": name,
                         "time_ns": first["time_ns"]}  # fmt: skip
        assert second == {"action": "cancel", "target": {"command": name},
                          "time_ns": second["time_ns"]}  # fmt: skip

    def test_a_renewal_tells_the_receiver_of_the_new_lease(self):
        """It ends by itself what nobody renews, though all of us were gone."""
        executor = self.make()
        plans = planned(executor, self.sample())
        executor.apply(plans)
        begun = self.double.commands[0]["time_ns"]
        executor._clock.turn(200)
        assert executor.renew(plans)[0].ok
        self.double.now_ns = lambda: begun + 400_000_000_000
        assert executor.verify(plans) == [True]
        self.double.now_ns = lambda: begun + 600_000_000_000
        assert executor.verify(plans) == [False]

    def test_only_what_the_site_says_it_accepts_is_sent(self):
        assert "accepts" in refused(self.make(accepts=[]), self.sample())
        assert not self.double.seen
        with pytest.raises(InputError):
            self.make(accepts=["delete:pod"])

    def test_names_that_are_no_effects_are_not_taken_for_some(self):
        self.double.in_force = {"x": 1, "A" * 32: 1, "0" * 32: 1}
        assert self.make().observe() == {"0" * 32}
