"""A forwarding TCP tap that needs no privilege: sees what passes, and can cut it.

Clients connect to the tap, the tap to the server behind it. Three rules. The plant comes first:
bytes are forwarded before they are recorded, and recording never waits. Observation fails open
(a reader that is away costs old frames, never a stalled plant); blocks fail closed until their
lease ends, which the tap counts itself, so that no other process is needed to end one. And an
outcome is said to be verified only once the connections are really gone.

The server sees the tap's address instead of the client's; rules of the server that depend on
who calls must move to the tap. The tap lies in the path: while it is down, nothing passes.
"""

import asyncio
import contextlib
import functools
import socket
from pathlib import Path
from typing import Annotated, ClassVar, Final

from msgspec import Meta

from cronos.config import Positive, Section
from cronos.errors import InputError
from cronos.gateway.blocks import BlockTable, Ends, canonical_address
from cronos.gateway.control import Control
from cronos.gateway.feed import Feed, FeedReader
from cronos.gateway.orders import Orders, until_gone
from cronos.gateway.relay import Relay, Side
from cronos.link.frames import listen
from cronos.link.tapfeed import MAX_PIECE_BYTES, Direction, Kind, TapFrame, TapHello
from cronos.ports import Clock, Metrics, Tasks
from cronos.types import Manifest

_NS_PER_S: Final = 1_000_000_000
_SWEEP_S: Final = 0.1
_BACKLOG: Final = 512

Port = Annotated[int, Meta(ge=0, le=65535)]


class TapConfig(Section, frozen=True):
    """What the tap stands in front of, where its sockets are, and its bounds."""

    upstream_host: str
    upstream_port: Port
    feed: str  # path of the Unix socket on which the sensor reads
    control: str  # path of the Unix socket on which orders come
    listen_host: str = "127.0.0.1"
    listen_port: Port = 0
    # Addresses or networks (CIDR) that no order can block here.
    protected: tuple[str, ...] = ()
    max_connections: Positive = 1024
    # One client cannot use up what the operators need.
    max_connections_per_client: Positive = 128
    max_blocks: Annotated[int, Meta(ge=1, le=4096)] = 4096  # all fit into one frame
    max_lease_s: Positive = 86_400
    buffer_bytes: Positive = 1 << 18  # of each side, before its peer is read no further
    ring_bytes: Positive = 1 << 24  # frames that no reader has acknowledged
    connect_timeout_s: Positive = 5
    idle_s: Positive = 7200
    half_closed_s: Positive = 120
    max_control_connections: Positive = 16


class Tap:
    """Forwards, records and blocks; a `Service`.

    `port` is where clients connect once `start` has returned.
    """

    manifest = Manifest(
        name="forwarding-tap",
        summary="Forwards TCP to one server, copies what passes and cuts what is blocked.",
        capabilities=("forward", "observe", "deny"),
    )
    config_type: ClassVar[type[Section]] = TapConfig

    def __init__(
        self, config: TapConfig, *, clock: Clock, tasks: Tasks, metrics: Metrics | None = None
    ) -> None:
        self._config = config
        self._clock = clock
        self._tasks = tasks
        self._metrics = metrics
        self._relays: dict[int, Relay] = {}
        self._per_client: dict[str, int] = {}
        self._count = 0
        self._servers: list[asyncio.Server] = []
        # `start` begins a session: these stand for one that is over.
        self._feed = Feed(TapHello("", "", ""), config.ring_bytes)
        self._blocks = BlockTable(config.protected, config.max_blocks, config.max_lease_s)
        self._control = self._new_orders()
        self._upstream = config.upstream_host
        self._stopping = asyncio.Event()
        self._dropped = 0
        self.port = 0

    # --- the service -----------------------------------------------------------------------

    async def start(self) -> None:
        """Listen for clients, for the reader and for orders.

        Raises:
            InputError: the server's name does not resolve, or a socket cannot be made.
        """
        config = self._config
        loop = asyncio.get_running_loop()
        self._stopping.clear()
        self._upstream = await _resolve(config.upstream_host)
        protected = (*config.protected, self._upstream)
        self._blocks = BlockTable(protected, config.max_blocks, config.max_lease_s)
        self._control = self._new_orders()
        try:
            server = await loop.create_server(
                self._new_client, config.listen_host, config.listen_port, backlog=_BACKLOG
            )
        except OSError as error:
            raise _cannot_listen(config, error) from error
        self._servers.append(server)
        self.port = int(server.sockets[0].getsockname()[1])
        self._feed = Feed(self._hello(), config.ring_bytes)
        make_reader = functools.partial(FeedReader, self._feed)
        feed = await loop.create_unix_server(make_reader, sock=listen(Path(config.feed)))
        control = await asyncio.start_unix_server(
            self._new_control, sock=listen(Path(config.control))
        )
        self._servers += [feed, control]
        self._tasks.spawn(self._sweep(), "tap-sweep")

    async def stop(self) -> None:
        """Take no more clients, end every connection and remove the sockets."""
        self._stopping.set()
        for server in self._servers:
            server.close()
        self._servers.clear()
        for relay in list(self._relays.values()):
            relay.cut("the tap stopped")
        await until_gone(list(self._relays.values()))
        self._control.close()
        self._feed.close()
        _remove(self._config.feed, self._config.control)

    async def health(self) -> str:
        """Give ``ok``, or a sentence on what is wrong."""
        if not self._servers:
            return "The tap does not run."
        if self._feed.ring.dropped and not self._feed.watched:
            return "Nobody reads the tap's feed: what passes is lost unexamined."
        return "ok"

    # --- connections: the relay's watcher --------------------------------------------------

    def admit(self, relay: Relay) -> bool:
        """Let a new client in unless it is blocked or there are too many."""
        transport = relay.client.transport
        peer = transport.get_extra_info("peername") if transport else None
        door = transport.get_extra_info("sockname") if transport else None
        if not peer or not door:
            return False  # gone before we looked
        client = canonical_address(peer[0])
        relay.ends = Ends(
            client,
            peer[1],
            self._upstream,
            self._config.upstream_port,
            canonical_address(door[0]),
            door[1],
        )
        relay.names = relay.ends.names()
        relay.last_boot_ns = self._clock.now().boot_ns
        self._relays[relay.number] = relay
        self._per_client[client] = self._per_client.get(client, 0) + 1
        block = self._blocks.barring(relay.names, relay.last_boot_ns)
        if block is not None:
            relay.reason, relay.cut_by = "blocked", block.action.action_id
            return False
        if self._full(client):
            relay.reason = "too many connections"
            self._tell("tap_refused_full")
            return False
        self._tasks.spawn(self._connect(relay), "tap-connect")
        return True

    def carried(self, relay: Relay, direction: Direction, data: bytes) -> None:
        """Copy forwarded bytes to the feed."""
        for at in range(0, len(data), MAX_PIECE_BYTES):
            self._record(relay, "data", direction, data[at : at + MAX_PIECE_BYTES])

    def ended(self, relay: Relay) -> None:
        """Forget a connection and record how it ended."""
        if self._relays.pop(relay.number, None) is None:
            return
        left = self._per_client[relay.ends.client] - 1
        if left:
            self._per_client[relay.ends.client] = left
        else:
            del self._per_client[relay.ends.client]
        kind: Kind = "refused"
        if relay.opened:
            kind = "cut" if relay.cut_by else "close"
        self._record(relay, kind, "request", relay.reason.encode())

    def _new_client(self) -> Side:
        self._count += 1
        return Relay(self, self._count, self._config.buffer_bytes).client

    def _full(self, client: str) -> bool:
        config = self._config
        return (
            len(self._relays) > config.max_connections
            or self._per_client[client] > config.max_connections_per_client
        )

    async def _connect(self, relay: Relay) -> None:
        """Connect to the server for a client, then let the bytes flow."""
        config = self._config
        loop = asyncio.get_running_loop()
        try:
            await asyncio.wait_for(
                loop.create_connection(lambda: relay.server, self._upstream, config.upstream_port),
                config.connect_timeout_s,
            )
        except (OSError, TimeoutError):
            self._tell("tap_upstream_unreachable")
            relay.cut("the server does not answer")
            return
        if relay.cut_by or self._stopping.is_set():
            relay.cut("blocked")
            return
        self._record(relay, "open", "request", b"")
        relay.open()

    def _record(self, relay: Relay, kind: Kind, direction: Direction, data: bytes) -> None:
        now = self._clock.now()
        relay.last_boot_ns = now.boot_ns
        ends = relay.ends
        self._feed.record(
            TapFrame(
                seq=0,
                boot_ns=now.boot_ns,
                wall_ns=now.wall_ns,
                kind=kind,
                connection=relay.number,
                client=ends.client,
                client_port=ends.client_port,
                server=ends.server,
                server_port=ends.server_port,
                direction=direction,
                data=data,
                bytes_out=0 if kind == "data" else relay.bytes_out,
                bytes_in=0 if kind == "data" else relay.bytes_in,
            )
        )

    # --- housekeeping ----------------------------------------------------------------------

    async def _sweep(self) -> None:
        """End leases and idle connections, and tell what was dropped, until the tap stops."""
        while not self._stopping.is_set():
            now_ns = self._clock.now().boot_ns
            self._blocks.expire(now_ns)
            for relay in list(self._relays.values()):
                allowed_s = self._config.half_closed_s if relay.half_closed else self._config.idle_s
                if now_ns - relay.last_boot_ns > allowed_s * _NS_PER_S:
                    relay.cut("idle")
            self._tell_dropped()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), _SWEEP_S)

    def _tell_dropped(self) -> None:
        dropped = self._feed.ring.dropped
        if dropped > self._dropped:
            self._tell("tap_frames_dropped", dropped - self._dropped)
            self._dropped = dropped

    def _tell(self, name: str, amount: int = 1) -> None:
        if self._metrics is not None:
            self._metrics.count(name, amount)

    def _hello(self) -> TapHello:
        now = self._clock.now()
        config = self._config
        session = f"{self._clock.boot_id()}-{now.boot_ns:x}"
        return TapHello(
            session=session[-128:],
            listen=f"{config.listen_host}:{self.port}",
            upstream=f"{config.upstream_host}:{config.upstream_port}",
        )

    def _new_orders(self) -> Control:
        orders = Orders(self._blocks, self._relays, self._clock)
        return Control(orders.obey, self._config.max_control_connections)

    def _new_control(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._tasks.spawn(self._control.serve(reader, writer), "tap-control")


def _remove(*paths: str) -> None:
    for path in paths:
        Path(path).unlink(missing_ok=True)


async def _resolve(host: str) -> str:
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:  # the name's labels may be none
        raise InputError(
            "gateway.unknown_upstream",
            f"The server behind the tap, {host}, does not resolve: {error}.",
            "Give its address in `upstream_host`.",
        ) from error
    return canonical_address(str(found[0][4][0]))


def _cannot_listen(config: TapConfig, error: OSError) -> InputError:
    return InputError(
        "gateway.cannot_listen",
        f"The tap cannot listen on {config.listen_host}:{config.listen_port}: {error.strerror}.",
        "Choose a free port above 1023 with `listen_port`, or an address of this machine.",
    )
