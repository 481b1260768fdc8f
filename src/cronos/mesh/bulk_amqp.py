"""RabbitMQ quorum queues as the engine of bulk streams: one queue for each subject.

A quorum queue keeps a message until it is acknowledged, and tells its publisher no position. So:

Rule 1: one node publishes under a subject, as each does under its own. It numbers the messages; the
number to go on from is kept in a queue of its own and reserved 256 at a time, so that after a
restart numbers go on rising, and skip those that were reserved.
Rule 2: fetching after a position lets go of what is before it, for good. What was fetched and not
let go is given again, also to another reader, when the one that holds it is gone.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, ClassVar, Final, TypeVar

from msgspec import Meta

from cronos.config import Section
from cronos.errors import InputError
from cronos.link.rest import private_text
from cronos.mesh.bulk import (
    Servers,
    away,
    library,
    places_of,
    require_message,
    require_subject,
    tls_of,
)
from cronos.ports import Egress
from cronos.types import Manifest

_RESERVED: Final = 256
_MOST_HELD: Final = 1_000
_MOST_COUNTERS: Final = 8

ValueT = TypeVar("ValueT")


class AmqpConfig(Section, frozen=True):
    """Where the broker is, and how much a queue keeps.

    Attributes:
        servers: `host:port` of each node of the cluster, tried in turn.
        username: the broker's user.
        password_file: holds its password; of mode 0600.
        vhost: the virtual host.
        max_bytes: of one queue; then no more is taken.
        timeout_s: for one call, connecting included.
        ca_file: who certifies the broker; with the other two, mutual TLS 1.3.
        cert_file: this client's certificate.
        key_file: its key.
    """

    servers: Servers = ("127.0.0.1:5672",)
    username: Annotated[str, Meta(min_length=1, max_length=255)] = "cronos"
    password_file: str = ""
    vhost: str = "/"
    max_bytes: Annotated[int, Meta(ge=1 << 20)] = 1 << 30
    timeout_s: Annotated[int, Meta(ge=1, le=300)] = 15
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""


class _Reader:
    """What was taken out of a subject's queue and is not let go yet."""

    def __init__(self) -> None:
        self.held: deque[tuple[int, Any]] = deque()
        self.released = 0


class AmqpStream:
    """A `Stream` on quorum queues; connects when it is first used.

    Args:
        config: see `AmqpConfig`.
        egress: the gate that each connection passes.
    """

    manifest: ClassVar[Manifest] = Manifest(
        "amqp", "Bulk streams on RabbitMQ quorum queues.", capabilities=("stream",)
    )
    config_type: ClassVar[type[Section]] = AmqpConfig

    def __init__(self, config: AmqpConfig, *, egress: Egress) -> None:
        self._aio = library("aio_pika", "amqp", "Bulk streams on RabbitMQ")
        self._config = config
        self._egress = egress
        self._tls = tls_of(config.ca_file, config.cert_file, config.key_file)
        secure = self._tls is not None
        self._places = deque(places_of(config.servers, secure=secure, table="[plugin.amqp]"))
        self._connection: Any = None
        self._channel: Any = None
        self._queues: dict[str, Any] = {}
        self._numbers: dict[str, tuple[int, int]] = {}
        self._readers: dict[str, _Reader] = {}
        self._turn = asyncio.Lock()

    async def publish(self, subject: str, data: bytes) -> int:
        """Append; see `Stream.publish`. Confirmed by a majority of the queue's replicas.

        Raises:
            UnreachableError: it was not confirmed in time, or the queue is full.
        """
        name = f"cronos.{require_subject(subject)}"
        require_message(data)

        async def work() -> int:
            position = await self._number(name)
            await self._sent(name, data, {"position": position})
            return position

        return await self._call(work)

    async def fetch(self, subject: str, after: int, count: int) -> Sequence[bytes]:
        """Give messages after a position, and let go of those before; see `Stream.fetch`.

        Raises:
            InputError: what follows `after` was let go before.
            UnreachableError: the broker does not answer.
        """
        name = f"cronos.{require_subject(subject)}"

        async def work() -> Sequence[bytes]:
            queue = await self._queue(name)
            reader = self._readers.setdefault(name, _Reader())
            if after < reader.released:
                raise InputError(
                    "mesh.let_go",
                    f"Up to position {reader.released} of {subject} all was let go.",
                    "Fetch after that position.",
                )
            await self._let_go(reader, after)
            await self._take(queue, reader, min(count, _MOST_HELD))
            return [message.body for _, message in list(reader.held)[: max(0, count)]]

        return await self._call(work)

    async def close(self) -> None:
        """End the connection; what is held is given to whoever fetches next."""
        connection, self._connection = self._connection, None
        self._channel = None
        self._queues.clear()
        for reader in self._readers.values():
            reader.held.clear()
        if connection is not None:
            await connection.close()

    async def _call(self, work: Callable[[], Awaitable[ValueT]]) -> ValueT:
        """Do one thing at a time, within the time limit; begin anew after a failure."""
        errors = (self._aio.exceptions.AMQPError, OSError, TimeoutError, RuntimeError)
        async with self._turn:
            try:
                async with asyncio.timeout(self._config.timeout_s):
                    await self._connect()
                    return await work()
            except errors as error:
                self._numbers.clear()  # what was reserved may have been used
                await self._abandon()
                raise away("RabbitMQ", error) from error

    async def _abandon(self) -> None:
        try:
            async with asyncio.timeout(1):
                await self.close()
        except (self._aio.exceptions.AMQPError, OSError, TimeoutError, RuntimeError):
            self._connection = self._channel = None

    async def _connect(self) -> None:
        if self._channel is not None and not self._channel.is_closed:
            return
        await self.close()
        host, port = self._places[0]
        self._places.rotate(-1)
        self._egress.permit(host, port, "amqp")
        password = private_text(self._config.password_file, "password_file", "amqp")
        self._connection = await self._aio.connect(
            host=host,
            port=port,
            login=self._config.username,
            password=password,
            virtualhost=self._config.vhost,
            ssl=self._tls is not None,
            ssl_context=self._tls,
            timeout=self._config.timeout_s,
        )
        self._channel = await self._connection.channel(publisher_confirms=True)

    async def _queue(self, name: str, **more: object) -> Any:
        queue = self._queues.get(name)
        if queue is None:
            limits = more or {
                "x-max-length-bytes": self._config.max_bytes,
                "x-overflow": "reject-publish",
            }
            arguments = {"x-queue-type": "quorum", **limits}
            queue = await self._channel.declare_queue(name, durable=True, arguments=arguments)
            self._queues[name] = queue
        return queue

    async def _sent(self, name: str, data: bytes, headers: dict[str, int]) -> None:
        await self._queue(name)
        message = self._aio.Message(
            data, headers=headers, delivery_mode=self._aio.DeliveryMode.PERSISTENT
        )
        await self._channel.default_exchange.publish(message, name, mandatory=True)

    async def _number(self, name: str) -> int:
        """Give the next number of a queue, reserving more where none is left."""
        last, reserved = self._numbers.get(name, (0, 0))
        if last == reserved:
            last, reserved = await self._reserve(name, last)
        self._numbers[name] = (last + 1, reserved)
        return last + 1

    async def _reserve(self, name: str, last: int) -> tuple[int, int]:
        counter = f"{name}.position"
        queue = await self._queue(counter, **{"x-max-length": _MOST_COUNTERS})
        found: list[Any] = []
        while (message := await queue.get(fail=False, timeout=None)) is not None:
            found.append(message)
            last = max(last, int.from_bytes(message.body[:8], "big"))
        reserved = last + _RESERVED
        await self._sent(counter, reserved.to_bytes(8, "big"), {})
        for message in found:
            await message.ack()
        return last, reserved

    async def _take(self, queue: Any, reader: _Reader, count: int) -> None:
        """Take messages until as many are held as are wanted; one that came twice is let go."""
        while len(reader.held) < count:
            message = await queue.get(fail=False, timeout=None)
            if message is None:
                return
            position = int(message.headers.get("position", 0))
            newest = reader.held[-1][0] if reader.held else reader.released
            if position <= newest:
                await message.ack()
            else:
                reader.held.append((position, message))

    async def _let_go(self, reader: _Reader, after: int) -> None:
        last = None
        while reader.held and reader.held[0][0] <= after:
            last = reader.held.popleft()[1]
            await last.ack()
        reader.released = max(reader.released, after)
