"""Bulk streams on a real RabbitMQ broker: quorum queues, kept over a restart of either end."""

import asyncio

import msgspec
import pytest
from tests.integration.doubles.broker import ADMIN, HAS_BROKER, PASSWORD, broker
from tests.integration.key_services import secret_file

from cronos.errors import InputError, UnreachableError
from cronos.link.egress import EgressGate
from cronos.mesh.bulk_amqp import AmqpConfig, AmqpStream
from cronos.testing.conformance.stream import StreamConformance

pytestmark = [
    pytest.mark.net,
    pytest.mark.slow,
    pytest.mark.skipif(not HAS_BROKER, reason="needs the package rabbitmq-server"),
]


@pytest.fixture(scope="module")
def real():
    with broker() as running:
        yield running


@pytest.fixture(autouse=True)
def _empty(real):
    yield
    for queue in real.call("GET", "/api/queues/%2F"):
        real.call("DELETE", f"/api/queues/%2F/{queue['name']}")


def stream_of(real, folder, **settings):
    file = secret_file(folder / "password", PASSWORD)
    given = {"servers": [f"127.0.0.1:{real.amqp}"], "username": ADMIN, "password_file": file}
    return AmqpStream(msgspec.convert({**given, **settings}, AmqpConfig), egress=EgressGate())


class TestConformance(StreamConformance):
    @pytest.fixture(autouse=True)
    def _broker(self, real, tmp_path):
        self.real, self.folder = real, tmp_path

    async def make(self):
        return stream_of(self.real, self.folder)

    async def done(self, stream):
        await stream.close()


def test_the_queues_are_quorum_queues(real, tmp_path):
    async def story():
        stream = stream_of(real, tmp_path)
        await stream.publish("a", b"x")
        await stream.close()

    asyncio.run(story())
    kinds = {queue["name"]: queue["type"] for queue in real.call("GET", "/api/queues/%2F")}
    assert kinds == {"cronos.a": "quorum", "cronos.a.position": "quorum"}


def test_numbers_go_on_rising_after_the_publisher_was_restarted(real, tmp_path):
    async def story():
        for expected in (1, 257, 513):
            stream = stream_of(real, tmp_path)
            assert await stream.publish("a", b"%d" % expected) == expected
            await stream.close()

    asyncio.run(story())


def test_what_was_not_let_go_is_given_to_the_next_reader(real, tmp_path):
    async def story():
        one = stream_of(real, tmp_path)
        for n in range(6):
            await one.publish("a", b"%d" % n)
        assert list(await one.fetch("a", 0, 6)) == [b"%d" % n for n in range(6)]
        assert list(await one.fetch("a", 2, 2)) == [b"2", b"3"]
        with pytest.raises(InputError) as gone:
            await one.fetch("a", 1, 1)
        assert gone.value.code == "mesh.let_go"
        await one.close()
        two = stream_of(real, tmp_path)
        assert list(await two.fetch("a", 0, 10)) == [b"2", b"3", b"4", b"5"]
        await two.close()

    asyncio.run(story())


def test_a_connection_that_breaks_is_told_and_made_anew(real, tmp_path):
    async def story():
        stream = stream_of(real, tmp_path)
        await stream.publish("a", b"1")
        await stream.fetch("a", 0, 1)
        for link in real.call("GET", "/api/connections"):
            real.call("DELETE", f"/api/connections/{link['name'].replace(' ', '%20')}")
        await stream._connection.close()
        position = await stream.publish("a", b"2")
        assert position > 1
        assert list(await stream.fetch("a", 0, 5)) == [b"1", b"2"]
        await stream.close()

    asyncio.run(story())


def test_nobody_there_is_unreachable_and_a_far_broker_needs_tls(real, tmp_path):
    async def story():
        stream = stream_of(real, tmp_path, servers=["127.0.0.1:1"], timeout_s=2)
        with pytest.raises(UnreachableError) as away:
            await stream.publish("a", b"1")
        assert away.value.code == "mesh.engine_away"
        with pytest.raises(InputError) as plain:
            stream_of(real, tmp_path, servers=["broker.example:5672"])
        assert plain.value.code == "mesh.plain_broker"

    asyncio.run(story())
