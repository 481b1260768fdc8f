"""The NATS engine without a server; with real ones: tests/integration/test_nats_stream.py."""

import asyncio

import pytest

from cronos.config import EgressRule
from cronos.errors import DeniedError, InputError
from cronos.link.egress import EgressGate
from cronos.mesh.bulk_nats import NatsConfig, NatsStream, _name_of
from cronos.testing.clock import SequenceIds

pytest.importorskip("nats", reason="needs the extra `nats`")


class Server:
    """One entry of the client's pool."""

    def __init__(self, host, port):
        self.uri = type("Uri", (), {"hostname": host, "port": port})


def stream_of(*servers, rules=()):
    return NatsStream(NatsConfig(servers=servers), egress=EgressGate(rules), ids=SequenceIds())


def test_two_subjects_never_share_a_name():
    names = {_name_of(subject) for subject in ("a.b", "a-b", "a_b", "ab")}
    assert len(names) == 4
    assert all(name.replace("-", "").isalnum() for name in names)


def test_a_server_that_others_tell_of_is_never_connected_to():
    stream = stream_of("127.0.0.1:1", "127.0.0.1:2")
    pool = [Server("10.0.0.1", 4222), Server("127.0.0.1", 2), Server("127.0.0.1", 1)]
    chosen = [stream._next_server(pool, {})[0].uri.port for _ in range(4)]
    assert chosen == [1, 2, 1, 2]


def test_a_far_server_without_tls_is_refused_at_once():
    with pytest.raises(InputError):
        stream_of("nats.example:4222", rules=[EgressRule("nats.example", 4222)])


def test_each_connection_passes_the_gate(monkeypatch):
    async def story():
        stream = stream_of("127.0.0.1:1")
        stream._places = [("nats.example", 4222)]
        with pytest.raises(DeniedError) as closed:
            await stream.publish("a", b"x")
        assert closed.value.code == "link.egress_closed"

    asyncio.run(story())
