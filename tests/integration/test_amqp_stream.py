"""Bulk streams on a real RabbitMQ broker: quorum queues, kept over a restart of either end."""

import asyncio

import msgspec
import pytest
from tests.integration.broker_tls import Authority
from tests.integration.doubles.broker import (
    ADMIN,
    HAS_BROKER,
    PASSWORD,
    broker,
    brokers,
    clustered,
)
from tests.integration.key_services import secret_file
from tests.unit.mesh.engines import over_grpc

from cronos.errors import InputError, UnreachableError
from cronos.link.egress import EgressGate
from cronos.link.freeports import free_ports
from cronos.mesh.bulk_amqp import AmqpConfig, AmqpStream
from cronos.testing.conformance.mesh import MeshConformance
from cronos.testing.conformance.stream import StreamConformance

pytestmark = [
    pytest.mark.net,
    pytest.mark.slow,
    pytest.mark.skipif(not HAS_BROKER, reason="needs the package rabbitmq-server"),
]


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    return Authority(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def secure_port():
    (port,) = free_ports(1)
    return port


@pytest.fixture(scope="module")
def real(authority, secure_port):
    certificate, key = authority.issue("server")
    tls = (
        f"listeners.ssl.1 = 127.0.0.1:{secure_port}\n"
        f"ssl_options.cacertfile = {authority.ca}\n"
        f"ssl_options.certfile = {certificate}\nssl_options.keyfile = {key}\n"
        "ssl_options.verify = verify_peer\nssl_options.fail_if_no_peer_cert = true\n"
        "ssl_options.versions.1 = tlsv1.3\n"
    )
    with broker(lambda _folder, _names: tls) as running:
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


class TestMeshWithBulkByRabbitMQ(MeshConformance):
    """Streams of gRPC, bulk by a real broker."""

    @pytest.fixture(autouse=True)
    def _broker(self, real, tmp_path):
        self.real, self.folder = real, tmp_path

    async def make(self):
        return over_grpc(lambda: stream_of(self.real, self.folder))

    def address(self, instance, mesh):
        return mesh._mesh.address


def test_by_tls_the_broker_must_be_certified_and_so_must_this_client(
    real, authority, secure_port, tmp_path
):
    strangers = Authority(tmp_path / "strangers")

    async def story():
        servers = [f"127.0.0.1:{secure_port}"]
        stream = stream_of(real, tmp_path, servers=servers, **authority.client("north"))
        assert await stream.publish("a", b"1") == 1
        assert list(await stream.fetch("a", 0, 9)) == [b"1"]
        await stream.close()
        unknown = {**strangers.client("mallory"), "ca_file": authority.ca}
        elsewhere = {**authority.client("east"), "ca_file": strangers.ca}
        for given in (unknown, elsewhere, {}):
            refused = stream_of(real, tmp_path, servers=servers, timeout_s=3, **given)
            with pytest.raises(UnreachableError):
                await refused.publish("a", b"2")
            await refused.close()

    asyncio.run(story())


def test_a_cluster_of_three_loses_nothing_confirmed_when_the_queues_leader_is_killed(tmp_path):
    names = [f"cronos-{n}@localhost" for n in range(3)]

    async def story():
        with brokers(names, clustered) as servers:
            await until(lambda: len(servers[0].broker.call("GET", "/api/nodes")) == 3)
            places = [f"127.0.0.1:{one.broker.amqp}" for one in servers]
            stream = stream_of(servers[0].broker, tmp_path, servers=places, timeout_s=10)
            confirmed = {}
            for n in range(40):
                confirmed[await stream.publish("records.alpha", b"%d" % n)] = b"%d" % n
            queue = servers[0].broker.call("GET", "/api/queues/%2F/cronos.records.alpha")
            assert sorted(queue["members"]) == names
            leader = names.index(queue["leader"])
            servers[leader].kill()
            for n in range(40, 60):
                confirmed[await again(stream, b"%d" % n)] = b"%d" % n
            held = await fetched(stream, len(confirmed))
            assert set(confirmed.values()) <= set(held)
            order = [int(one) for one in dict.fromkeys(held)]
            assert order == sorted(order)
            await stream.close()

    asyncio.run(story())


async def until(holds):
    for _ in range(600):
        if holds():
            return
        await asyncio.sleep(0.1)
    raise AssertionError("it never came to hold")


async def again(stream, data):
    """Publish until it is confirmed: what was not is to be sent again."""
    for _ in range(30):
        try:
            return await stream.publish("records.alpha", data)
        except UnreachableError:
            await asyncio.sleep(0.2)
    raise AssertionError("nothing is confirmed any more")


async def fetched(stream, count):
    for _ in range(30):
        try:
            found = list(await stream.fetch("records.alpha", 0, 1_000))
        except UnreachableError:
            found = []
        if len(found) >= count:
            return found
        await asyncio.sleep(0.2)
    return found


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
