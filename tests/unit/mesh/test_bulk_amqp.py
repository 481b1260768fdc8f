"""The RabbitMQ engine without a broker; with a real one: tests/integration/test_amqp_stream.py."""

import asyncio

import pytest

from cronos.errors import DeniedError, InputError
from cronos.link.egress import EgressGate
from cronos.mesh.bulk_amqp import AmqpConfig, AmqpStream, _Reader

pytest.importorskip("aio_pika", reason="needs the extra `amqp`")


class Message:
    """A message of the broker, with the position that its publisher gave it."""

    def __init__(self, position):
        self.headers, self.body, self.acked = {"position": position}, b"%d" % position, False

    async def ack(self):
        self.acked = True


class Queue:
    """What is ready at the broker."""

    def __init__(self, *positions):
        self.ready = [Message(position) for position in positions]

    async def get(self, **_):
        return self.ready.pop(0) if self.ready else None


def stream_of(*servers):
    return AmqpStream(AmqpConfig(servers=servers), egress=EgressGate())


def test_what_came_twice_is_let_go_and_the_rest_is_held():
    async def story():
        stream, reader = stream_of("127.0.0.1:1"), _Reader()
        queue = Queue(1, 2, 2, 1, 3)
        every = list(queue.ready)
        await stream._take(queue, reader, 10)
        assert [position for position, _ in reader.held] == [1, 2, 3]
        assert [message.acked for message in every] == [False, False, True, True, False]
        await stream._let_go(reader, 2)
        assert [message.acked for message in every] == [True, True, True, True, False]
        assert reader.released == 2

    asyncio.run(story())


def test_a_far_broker_without_tls_is_refused_at_once():
    with pytest.raises(InputError):
        stream_of("broker.example:5672")


def test_each_connection_passes_the_gate():
    async def story():
        stream = stream_of("127.0.0.1:1")
        stream._places[0] = ("broker.example", 5672)
        with pytest.raises(DeniedError) as closed:
            await stream.publish("a", b"x")
        assert closed.value.code == "link.egress_closed"

    asyncio.run(story())
