"""NATS JetStream as the engine of bulk streams: a `Stream` for each subject, kept on disk.

A position is the sequence number of the subject's own JetStream stream. What is published carries
an id, so that a message whose acknowledgement was lost is not stored twice when it is sent again.
The servers should run with ``jetstream { sync_interval: always }``: by default they sync once in
two minutes, and a power cut takes what was acknowledged since.
"""

import asyncio
import contextlib
import hashlib
import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import Annotated, Any, ClassVar, Final, TypeVar

from msgspec import Meta

from cronos.config import Section
from cronos.errors import UnreachableError
from cronos.mesh.bulk import (
    Servers,
    away,
    library,
    places_of,
    require_message,
    require_subject,
    tls_of,
)
from cronos.mesh.streams_dial import parse_address
from cronos.ports import Egress, Ids
from cronos.types import Manifest

_T = TypeVar("_T")

_RETRY_S: Final = 0.25
_MOST_FETCHED: Final = 1_000
_EXISTS: Final = 10058


class NatsConfig(Section, frozen=True):
    """Where the servers are, and how often a message is kept.

    Attributes:
        servers: `host:port` of each; no other is ever connected to.
        replicas: servers that keep each message; 3 of a cluster of three survive the loss of one.
        max_bytes: of one subject; the oldest messages go first.
        timeout_s: for publishing one message or fetching some, retries included.
        ca_file: who certifies the servers; with the other two, mutual TLS 1.3.
        cert_file: this client's certificate.
        key_file: its key.
    """

    servers: Servers = ("127.0.0.1:4222",)
    replicas: Annotated[int, Meta(ge=1, le=5)] = 1
    max_bytes: Annotated[int, Meta(ge=1 << 20)] = 1 << 30
    timeout_s: Annotated[int, Meta(ge=1, le=300)] = 15
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""


class NatsStream:
    """A `Stream` on JetStream; connects when it is first used.

    Args:
        config: see `NatsConfig`.
        egress: the gate that each connection passes.
        ids: name each message.
    """

    manifest: ClassVar[Manifest] = Manifest(
        "nats", "Bulk streams on NATS JetStream.", capabilities=("stream",)
    )
    config_type: ClassVar[type[Section]] = NatsConfig

    def __init__(self, config: NatsConfig, *, egress: Egress, ids: Ids) -> None:
        purpose = "Bulk streams on NATS"
        self._nats = library("nats", "nats", purpose)
        self._api = library("nats.js.api", "nats", purpose)
        self._errors = library("nats.js.errors", "nats", purpose)
        self._config = config
        self._egress = egress
        self._ids = ids
        self._tls = tls_of(config.ca_file, config.cert_file, config.key_file)
        secure = self._tls is not None
        self._places = places_of(config.servers, secure=secure, table="[plugin.nats]")
        self._turns = itertools.cycle(config.servers)
        self._client: Any = None
        self._made: set[str] = set()
        self._connecting = asyncio.Lock()

    async def publish(self, subject: str, data: bytes) -> int:
        """Append; see `Stream.publish`. Durable on as many servers as make a majority.

        Raises:
            UnreachableError: it was not acknowledged in time.
        """
        name = _name_of(require_subject(subject))
        headers = {"Nats-Msg-Id": self._ids.next("bulk")}
        require_message(data)

        async def send() -> int:
            jetstream = await self._stream(name, subject)
            sent = await jetstream.publish(f"cronos.{subject}", data, timeout=2.0, headers=headers)
            return int(sent.seq)

        return await self._answered(send)

    async def fetch(self, subject: str, after: int, count: int) -> Sequence[bytes]:
        """Give messages after a position; see `Stream.fetch`. At most 1,000 at once.

        Raises:
            UnreachableError: the servers do not answer.
        """
        name = _name_of(require_subject(subject))

        async def read() -> list[bytes]:
            jetstream = await self._stream(name, subject)
            return await self._fetched(jetstream, name, max(0, after), count)

        return await self._answered(read)

    async def _answered(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Do what may be done twice until it is answered: servers that choose a leader are silent.

        Raises:
            UnreachableError: it was not answered in time.
        """
        last: BaseException = TimeoutError("no answer in time")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._config.timeout_s):
                while True:
                    try:
                        return await work()
                    except (self._nats.errors.Error, OSError) as error:
                        last = error
                        await asyncio.sleep(_RETRY_S)
        raise away("NATS", last)

    async def _fetched(self, jetstream: Any, name: str, after: int, count: int) -> list[bytes]:
        state = (await jetstream.stream_info(name)).state
        first = max(after + 1, state.first_seq)
        wanted = min(count, _MOST_FETCHED, state.last_seq - first + 1)
        if wanted < 1:
            return []
        consumer = self._api.ConsumerConfig(
            deliver_policy=self._api.DeliverPolicy.BY_START_SEQUENCE,
            opt_start_seq=first,
            ack_policy=self._api.AckPolicy.NONE,
            inactive_threshold=30.0,
            num_replicas=1,
            mem_storage=True,
        )
        reading = await jetstream.pull_subscribe("", stream=name, config=consumer)
        try:
            found: list[bytes] = []
            while len(found) < wanted:
                found += [one.data for one in await reading.fetch(wanted - len(found), timeout=2.0)]
            return found
        finally:
            await reading.unsubscribe()

    async def close(self) -> None:
        """End the connection; more than once is harmless."""
        client, self._client = self._client, None
        if client is not None:
            await client.close()

    async def _stream(self, name: str, subject: str) -> Any:
        """Give the connection, with the subject's stream made if need be."""
        async with self._connecting:
            if self._client is None or self._client.is_closed:
                self._client = await self._connected()
            jetstream = self._client.jetstream(timeout=5.0)
            if name not in self._made:
                await self._make(jetstream, name, subject)
                self._made.add(name)
        return jetstream

    async def _make(self, jetstream: Any, name: str, subject: str) -> None:
        wanted = self._api.StreamConfig(
            name=name,
            subjects=[f"cronos.{subject}"],
            storage=self._api.StorageType.FILE,
            num_replicas=self._config.replicas,
            max_bytes=self._config.max_bytes,
            duplicate_window=120.0,
            discard=self._api.DiscardPolicy.OLD,
        )
        try:
            await jetstream.add_stream(wanted)
        except self._errors.BadRequestError as error:
            if error.err_code != _EXISTS:  # made by another, with other settings: theirs stand
                raise

    async def _connected(self) -> Any:
        for host, port in self._places:
            self._egress.permit(host, port, "nats")
        scheme = "tls" if self._tls else "nats"
        return await self._nats.connect(
            [f"{scheme}://{server}" for server in self._config.servers],
            tls=self._tls,
            connect_timeout=2,
            reconnect_time_wait=0,
            # Without a bound its first connection is tried for ever and without a pause, whatever
            # is wrong with it, and takes no notice of being cancelled.
            max_reconnect_attempts=2,
            reconnect_to_server_handler=self._next_server,
            ping_interval=5,
            error_cb=_unheard,
        )

    def _next_server(self, pool: list[Any], _info: Any) -> tuple[Any, float]:
        """Choose whom to connect to again: a server may tell of others, which are not believed."""
        known = {server: one for one in pool for server in self._config.servers if _is(one, server)}
        for _ in self._config.servers:
            turn = next(self._turns)
            if turn in known:
                return known[turn], _RETRY_S
        raise UnreachableError("mesh.no_server", "No configured server is left.", "Restart.")


async def _unheard(_error: BaseException) -> None:
    """Leave a connection's error to the call that meets it."""


def _is(one: Any, server: str) -> bool:
    host, port = parse_address(server)
    return bool(one.uri.hostname == host.lower() and one.uri.port == port)


def _name_of(subject: str) -> str:
    """Name the subject's stream: JetStream allows no dots, and two must never share a name."""
    return f"CRONOS-{hashlib.sha256(subject.encode()).hexdigest()[:24]}"
