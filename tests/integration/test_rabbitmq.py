"""The real RabbitMQ: permissions really go, connections really close, and all comes back."""

import select

import msgspec
import pytest
from tests.integration.doubles.broker import ADMIN, HAS_BROKER, PASSWORD, Client, broker
from tests.integration.key_services import Gate, secret_file
from tests.integration.test_foreign_stories import action, planned

from cronos.respond.rabbitmq import RabbitmqConfig, RabbitmqExecutor
from cronos.testing.conformance.executor import ReversibleExecutorConformance
from cronos.types import EntityKind, Verb

pytestmark = [
    pytest.mark.net,
    pytest.mark.slow,
    pytest.mark.skipif(not HAS_BROKER, reason="needs the package rabbitmq-server"),
]


@pytest.fixture(scope="module")
def real():
    with broker() as running:
        yield running


def deny(name):
    return action("rabbitmq", Verb.DENY, EntityKind.USER, name)


def executor_of(real, folder):
    file = secret_file(folder / "password", PASSWORD)
    given = {"url": real.url(), "username": ADMIN, "password_file": file}
    return RabbitmqExecutor(msgspec.convert(given, RabbitmqConfig), Gate())


class TestConformance(ReversibleExecutorConformance):
    @pytest.fixture(autouse=True)
    def _broker(self, real, tmp_path):
        self.real, self.folder = real, tmp_path

    def make(self):
        self.real.add_user("tank", plant=("^tank", "^tank", ".*"), spare=("", "", "^x"))
        self.real.add_user("pump", plant=("", ".*", ""))
        return executor_of(self.real, self.folder)

    def actions(self):
        return [deny("tank"), deny("pump")]

    def impossible(self):
        return deny("nobody")


def test_a_client_is_cut_off_cannot_return_and_can_after_the_undo(real, tmp_path):
    real.add_user("valve", plant=("^valve", "", "^valve"), spare=("a", "b", "c"))
    before = real.permissions("valve")
    executor = executor_of(real, tmp_path)
    client = Client(real.amqp, "valve", "plant")
    assert client.opened
    plans = planned(executor, deny("valve"))
    (outcome,) = executor.apply(plans)
    assert outcome.ok, outcome.detail
    assert client.closed()
    client.close()
    assert executor.verify(plans) == [True]
    assert real.permissions("valve") == []
    again = Client(real.amqp, "valve", "plant")
    assert not again.opened
    again.close()
    assert executor.undo(plans)[0].ok
    assert real.permissions("valve") == before
    returned = Client(real.amqp, "valve", "plant")
    assert returned.opened
    returned.close()


def test_a_client_that_ignores_being_closed_is_closed_all_the_same(real, tmp_path):
    real.add_user("stubborn", plant=(".*", ".*", ".*"))
    executor = executor_of(real, tmp_path)
    client = Client(real.amqp, "stubborn", "plant")
    assert client.opened
    plans = planned(executor, deny("stubborn"))
    (outcome,) = executor.apply(plans)
    until = 100
    while not executor.verify(plans)[0] and until:
        select.select([], [], [], 0.1)
        until -= 1
    assert until, outcome.detail
    assert outcome.ok, f"{outcome.detail}; gone after {100 - until} looks"
    client.close()
    assert executor.undo(plans)[0].ok
