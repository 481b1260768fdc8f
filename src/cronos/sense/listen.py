r"""Listen for syslog by UDP and TCP, and spool every message before it is parsed.

Each message becomes one line: ``@<peer address> <message>``. Newlines within a message are
written as ``\n``, so that nobody can write a second record in another's name. The sensor takes
the prefix off again for sources whose name begins with ``syslog-``.

UDP is SPOOFABLE: anyone can write any sender. TCP is BIDIRECTIONAL: the peer's address answered;
what its messages say is still only text. When the spool is full nothing is read until
something is acknowledged: TCP peers wait, the kernel drops datagrams.
"""

import contextlib
import errno
import select
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, ClassVar, Final

from msgspec import Meta

from cronos.config import Positive, Section
from cronos.errors import CronosError, DeniedError, InputError, UnreachableError
from cronos.ports import Clock, Sealer
from cronos.sense.spool import Spool
from cronos.sense.syslog_framing import Framing
from cronos.types import Manifest, Provenance

_DATAGRAM_BYTES: Final = 1 << 16
# Small: a message of one byte becomes a line of up to 44, and a batch must fit its room.
_READ_BYTES: Final = 1 << 14
_BATCH_BYTES: Final = 1 << 18
_ROOM_BYTES: Final = 1 << 21
_BUFFER_BYTES: Final = 1 << 22
_ESCAPES: Final = ((b"\r", b"\\r"), (b"\n", b"\\n"), (b"\0", b"\\0"))
_SECOND_NS: Final = 1_000_000_000


class SyslogListenConfig(Section, frozen=True):
    """Options of the `syslog-udp` and `syslog-tcp` sources."""

    host: str = "127.0.0.1"
    port: Annotated[int, Meta(ge=0, le=65535)] = 5514
    # Several times the room that one batch may take.
    spool_bytes: Annotated[int, Meta(ge=8 << 20)] = 64 << 20
    max_message_bytes: Annotated[int, Meta(ge=480, le=1 << 18)] = 1 << 16
    wait_ms: Annotated[int, Meta(ge=1, le=1000)] = 5
    connections: Annotated[int, Meta(ge=1, le=512)] = 64
    connections_per_peer: Positive = 16
    # A peer that begins a message must end it within this time; a silent one may stay longer.
    message_timeout_s: Positive = 30
    idle_timeout_s: Positive = 3600


class _Inbox:
    """The spool, and the lines that could not be sealed a moment ago.

    They wait here, at most one batch, until whoever holds the key answers again; nothing more is
    received meanwhile. The socket is closed when the spool cannot be opened at all.
    """

    def __init__(
        self, bound: socket.socket, folder: Path, max_bytes: int, sealer: Sealer | None
    ) -> None:
        self._held = b""
        try:
            self._spool = Spool(folder, max_bytes, sealer)
        except CronosError:
            bound.close()
            raise
        self.first_line = self._spool.first_line
        self.acknowledge = self._spool.acknowledge
        self.close = self._spool.close

    @property
    def open(self) -> bool:
        """Whether another batch can be taken."""
        return not self._held and self._spool.room >= _ROOM_BYTES

    def put(self, lines: bytearray) -> None:
        self._held += lines
        if self._held:
            with contextlib.suppress(UnreachableError):
                self._spool.append(self._held)
                self._held = b""

    def read(self, size: int) -> bytes | None:
        if self._held:
            self.put(bytearray())
        return self._spool.read(size)


class SyslogUdpSource:
    """Messages by UDP, one a datagram (RFC 5426).

    Args:
        config: where to listen, and the bounds.
        folder: where messages wait until they are acknowledged; one source to a folder.
        descriptor: a bound socket inherited from the parent process, in place of binding.
        sealer: hides what is spooled.
    """

    config_type: ClassVar[type[Section]] = SyslogListenConfig
    manifest = Manifest("syslog-udp", "syslog by UDP, RFC 5426", ("live",))
    provenance = Provenance.SPOOFABLE

    def __init__(
        self,
        config: SyslogListenConfig,
        folder: Path,
        descriptor: int | None = None,
        sealer: Sealer | None = None,
    ) -> None:
        self._config = config
        self._socket = _bind(config, socket.SOCK_DGRAM, descriptor)
        self.port = _port(self._socket)
        self.name = f"syslog-udp@{config.host}:{self.port}"
        self._inbox = _Inbox(self._socket, folder, config.spool_bytes, sealer)
        self.first = self._inbox.first_line

    @staticmethod
    def bind(config: SyslogListenConfig) -> socket.socket:
        """Bind the socket, for a parent that keeps it while its children come and go."""
        return _bind(config, socket.SOCK_DGRAM, None)

    def fileno(self) -> int:
        """Give the socket's descriptor, so that a child process may inherit it."""
        return self._socket.fileno()

    def read(self, size: int) -> bytes | None:
        """Give spooled lines; see `Source.read`."""
        data = self._inbox.read(size)
        if _wait([self._socket], self._inbox, 0 if data else self._config.wait_ms):
            self._receive()
        return data or self._inbox.read(size)

    def _receive(self) -> None:
        lines = bytearray()
        while len(lines) < _BATCH_BYTES:
            try:
                message, peer = self._socket.recvfrom(_DATAGRAM_BYTES)
            except OSError:  # nothing left, or an ICMP error of an earlier datagram
                break
            lines += _line(peer[0], message[: self._config.max_message_bytes])
        self._inbox.put(lines)

    def acknowledge(self, seq: int) -> None:
        """Forget the lines up to number `seq`."""
        self._inbox.acknowledge(seq)

    def close(self) -> None:
        """Stop listening; what is spooled stays."""
        self._socket.close()
        self._inbox.close()


class _Connection:
    """One TCP peer and the message it has begun."""

    def __init__(self, connected: socket.socket, peer: str, now_ns: int, max_bytes: int) -> None:
        self.socket = connected
        self.peer = peer
        self.framing = Framing(max_bytes)
        self.heard_ns = now_ns
        self.begun_ns = now_ns  # when nothing was unfinished for the last time

    def fileno(self) -> int:
        return self.socket.fileno()


class SyslogTcpSource:
    """Messages by TCP (RFC 6587), from a bounded number of peers.

    Args:
        config: where to listen, and the bounds.
        folder: where messages wait until they are acknowledged; one source to a folder.
        clock: the time, for timeouts.
        descriptor: a listening socket inherited from the parent process, in place of binding.
        sealer: hides what is spooled.
    """

    config_type: ClassVar[type[Section]] = SyslogListenConfig
    manifest = Manifest("syslog-tcp", "syslog by TCP, RFC 6587", ("live",))
    provenance = Provenance.BIDIRECTIONAL

    def __init__(
        self,
        config: SyslogListenConfig,
        folder: Path,
        clock: Clock,
        descriptor: int | None = None,
        sealer: Sealer | None = None,
    ) -> None:
        self._config = config
        self._clock = clock
        self._listener = _bind(config, socket.SOCK_STREAM, descriptor)
        self.port = _port(self._listener)
        self.name = f"syslog-tcp@{config.host}:{self.port}"
        self._inbox = _Inbox(self._listener, folder, config.spool_bytes, sealer)
        self.first = self._inbox.first_line
        self._connections: list[_Connection] = []

    @staticmethod
    def bind(config: SyslogListenConfig) -> socket.socket:
        """Bind the socket, for a parent that keeps it while its children come and go."""
        return _bind(config, socket.SOCK_STREAM, None)

    def fileno(self) -> int:
        """Give the listener's descriptor, so that a child process may inherit it."""
        return self._listener.fileno()

    def read(self, size: int) -> bytes | None:
        """Give spooled lines; see `Source.read`."""
        data = self._inbox.read(size)
        sockets: list[_Socket] = [self._listener, *self._connections]
        ready = _wait(sockets, self._inbox, 0 if data else self._config.wait_ms)
        now_ns = self._clock.now().boot_ns
        lines = bytearray()
        for item in ready:
            if isinstance(item, _Connection):
                if len(lines) < _BATCH_BYTES:
                    self._receive(item, now_ns, lines)
            else:
                self._accept(now_ns)
        if self._inbox.open:
            self._expire(now_ns, lines)
        self._inbox.put(lines)
        return data or self._inbox.read(size)

    def _accept(self, now_ns: int) -> None:
        try:
            connected, peer = self._listener.accept()
        except OSError:  # gone again before it was taken
            return
        host = peer[0]
        same = sum(other.peer == host for other in self._connections)
        full = len(self._connections) >= self._config.connections
        if full or same >= self._config.connections_per_peer:
            connected.close()
            return
        connected.setblocking(False)
        self._connections.append(
            _Connection(connected, host, now_ns, self._config.max_message_bytes)
        )

    def _receive(self, connection: _Connection, now_ns: int, lines: bytearray) -> None:
        try:
            data = connection.socket.recv(_READ_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        connection.heard_ns = now_ns
        if not data:
            self._drop(connection, lines)
            return
        messages = connection.framing.feed(data)
        for message in messages:
            lines += _line(connection.peer, message)
        if messages or not connection.framing.unfinished:
            connection.begun_ns = now_ns

    def _expire(self, now_ns: int, lines: bytearray) -> None:
        idle_ns = self._config.idle_timeout_s * _SECOND_NS
        slow_ns = self._config.message_timeout_s * _SECOND_NS
        for connection in tuple(self._connections):
            if not connection.framing.unfinished:
                connection.begun_ns = now_ns
            late = now_ns - connection.begun_ns > slow_ns
            if len(lines) >= _BATCH_BYTES:
                return
            if late or now_ns - connection.heard_ns > idle_ns:
                self._drop(connection, lines)

    def _drop(self, connection: _Connection, lines: bytearray) -> None:
        for message in connection.framing.end():
            lines += _line(connection.peer, message)
        connection.socket.close()
        self._connections.remove(connection)

    def acknowledge(self, seq: int) -> None:
        """Forget the lines up to number `seq`."""
        self._inbox.acknowledge(seq)

    def close(self) -> None:
        """Stop listening and hang up; what is spooled stays."""
        for connection in self._connections:
            connection.socket.close()
        self._connections.clear()
        self._listener.close()
        self._inbox.close()


_Socket = socket.socket | _Connection


def _wait(sockets: Sequence[_Socket], inbox: _Inbox, wait_ms: int) -> list[_Socket]:
    """Give the sockets that have something, none while the spool cannot take a batch."""
    poller = select.poll()
    by_descriptor = {item.fileno(): item for item in sockets}
    if inbox.open:
        for descriptor in by_descriptor:
            poller.register(descriptor, select.POLLIN)
    return [by_descriptor[descriptor] for descriptor, _ in poller.poll(wait_ms)]


def _line(peer: str, message: bytes) -> bytes:
    """Give the spool's line for one message, or nothing for an empty one."""
    text = message.rstrip(b"\r\n\0")
    if not text:
        return b""
    for raw, escaped in _ESCAPES:
        text = text.replace(raw, escaped)
    return b"@%s %s\n" % (peer.partition("%")[0].encode(), text)


def _bind(config: SyslogListenConfig, kind: int, descriptor: int | None) -> socket.socket:
    if descriptor is not None:
        bound = socket.socket(fileno=descriptor)
    else:
        family = socket.AF_INET6 if ":" in config.host else socket.AF_INET
        bound = socket.socket(family, kind)
        try:
            if kind == socket.SOCK_STREAM:
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            else:
                bound.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _BUFFER_BYTES)
            bound.bind((config.host, config.port))
            if kind == socket.SOCK_STREAM:
                bound.listen(config.connections)
        except OSError as error:
            bound.close()
            raise _refused(config, error) from error
    bound.setblocking(False)
    return bound


def _refused(config: SyslogListenConfig, error: OSError) -> CronosError:
    sentence = f"Cannot listen for syslog on {config.host}:{config.port}: {error.strerror}."
    if error.errno in (errno.EACCES, errno.EPERM):
        return DeniedError("sense.listen_denied", sentence, "Use a port above 1023, such as 5514.")
    return InputError(
        "sense.cannot_listen", sentence, "Choose a free port and an address of this machine."
    )


def _port(bound: socket.socket) -> int:
    return int(bound.getsockname()[1])
